"""The PostgreSQL server on which everybody is measured, and an empty database in it for each measurement."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

import attrs
import psycopg

from benchmarks.durable.programs import ProgramFailed, free_port

_NAMES = count(1)
_ASKED = ("server_version", "fsync", "synchronous_commit", "shared_buffers")


@attrs.frozen
class Server:
    """A server that runs. It is as installed: fsync and synchronous_commit are on, shared_buffers 128 MB."""

    address: str

    def run(self, sql: str, address: str | None = None) -> list[tuple[object, ...]]:
        """Run a statement in a database; by default, in one that every server has."""
        with psycopg.connect(address or f"{self.address}/postgres", autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def ask(self, address: str, sql: str) -> int:
        """Return the one number that a query gives."""
        ((found,),) = self.run(sql, address)
        return int(str(found))

    @contextmanager
    def database(self) -> Iterator[str]:
        """Yield the address of an empty database, which is dropped at the end."""
        name = f"benchmark_{os.getpid()}_{next(_NAMES)}"
        self.run(f"CREATE DATABASE {name}")
        try:
            yield f"{self.address}/{name}"
        finally:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")
            self.run("CHECKPOINT")

    def facts(self) -> dict[str, object]:
        return {name: self.run(f"SHOW {name}")[0][0] for name in _ASKED}


def binaries() -> Path | None:
    """Return the folder with the server's programs: the newest that Debian installed, or that of the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    there = which("initdb")
    return None if there is None else Path(there).parent


def _as_user(command: Sequence[str | Path]) -> list[str]:
    """Return a command that no root runs, as PostgreSQL refuses that."""
    words = [str(word) for word in command]
    if os.geteuid() != 0:
        return words
    user = pwd.getpwnam("postgres")
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *words]


def _call(command: Sequence[str | Path]) -> None:
    ran = subprocess.run(_as_user(command), capture_output=True, text=True, check=False, timeout=120)  # noqa: S603
    if ran.returncode:
        raise ProgramFailed(f"{command[0]} failed: {ran.stderr.strip()}")


@contextmanager
def server() -> Iterator[Server]:
    """Run a server of its own on a free port of the loopback, its data on the disk, durable as by default.

    Raises:
        ProgramFailed: It is not installed, or does not start.
    """
    folder = binaries()
    if folder is None:
        raise ProgramFailed("there is no PostgreSQL here (Debian has it in the package postgresql)")
    with TemporaryDirectory(dir="/var/tmp") as name:  # /tmp may be in memory
        data = Path(name)
        if os.geteuid() == 0:
            os.chown(data, pwd.getpwnam("postgres").pw_uid, -1)
        _call([folder / "initdb", "-D", data / "data", "-A", "trust", "-U", "postgres", "-E", "UTF8"])
        port = free_port()
        options = f"-p {port} -k {data} -c listen_addresses=127.0.0.1 -c max_connections=300"
        control: list[str | Path] = [folder / "pg_ctl", "-D", data / "data", "-l", data / "log", "-w"]
        _call([*control, "-o", options, "start"])
        try:
            yield Server(f"postgresql://postgres@127.0.0.1:{port}")
        finally:
            _call([*control, "-m", "immediate", "stop"])
