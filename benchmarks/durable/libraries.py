"""The libraries that are compared, and how each comes into an environment of its own."""

from __future__ import annotations

import subprocess
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Final

import attrs

from .programs import REDIS, Program, python_of, redis_server, running

FAST: Final = ("uvloop", "hiredis")  # what asyncio and its Redis client are documented to be fastest with


@attrs.frozen
class Library:
    """Something that runs jobs.

    Attributes:
        name: Also that of its module in `peers`.
        requirements: What pip installs for it; the newest, whatever that is.
        environment: Where it is installed; None for this one.
    """

    name: str
    requirements: Sequence[str] = ()
    on_redis: bool = True
    environment: Path | None = None

    @contextmanager
    def store(self) -> Iterator[str]:
        """Yield the address of an empty store."""
        with TemporaryDirectory() as folder:
            path = Path(folder)
            with redis_server(path) if self.on_redis else nullcontext(str(path / "jobs.db")) as address:
                yield address

    @contextmanager
    def program(self, role: str, address: str, at_once: int) -> Iterator[Program]:
        module = f"benchmarks.durable.peers.{self.name}"
        command = [python_of(self.environment), "-m", module, role, address, str(at_once)]
        with running(f"the {role} of {self.name}", command) as program:
            yield program


OURS = Library("ours", on_redis=False)
PEERS: Final = {
    peer.name: peer
    for peer in (
        Library("huey", ["huey", *FAST], on_redis=False),
        Library("arq", ["arq", *FAST]),
        Library("taskiq", ["taskiq[orjson]", "taskiq-redis", *FAST]),
        Library("saq", ["saq[redis]", "typing-extensions", *FAST]),
        Library("streaq", ["streaq", "trio"]),
    )
}


def install(peer: Library, cache: Path) -> Library | str:
    """Return the peer in its environment, made there if it was not, or why it cannot be had."""
    if peer.on_redis and which(REDIS) is None:
        return f"there is no {REDIS} here (Debian has it in the package redis-server)"
    folder = cache / peer.name
    done = folder / "installed.txt"
    if not done.exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [python_of(folder), "-m", "pip", "install", "--quiet", *peer.requirements]
        ran = subprocess.run(pip, capture_output=True, text=True, check=False, timeout=600)  # noqa: S603  # ours
        if ran.returncode:
            return f"pip could not install it: {ran.stderr.strip().splitlines()[-1:]}"
        done.write_text("\n".join(peer.requirements), "utf-8")
    return attrs.evolve(peer, environment=folder)


def version_of(peer: Library) -> str:
    """Return the version of an installed peer."""
    code = f"from importlib.metadata import version; print(version({peer.name!r}))"
    ran = subprocess.run(  # noqa: S603  # ours
        [python_of(peer.environment), "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return ran.stdout.strip()
