"""The libraries that are compared. Each comes into an environment of its own, at its newest version."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from tempfile import NamedTemporaryFile
from typing import Final

import attrs

from benchmarks.durable import libraries
from benchmarks.durable.programs import ROOT, Program, ProgramFailed, python_of, running

from .peers.protocol import MOST_JOBS
from .servers import Server


@attrs.frozen
class Library(libraries.Library):
    """Something that runs jobs on PostgreSQL.

    Attributes:
        on_redis: Never.
        keeps: Whether it keeps results, which it has to read back for each job.
    """

    on_redis: bool = False
    keeps: bool = True

    @contextmanager
    def on(self, server: Server) -> Iterator[Place]:
        """Yield an empty database that is made ready for this library."""
        with server.database() as address, NamedTemporaryFile() as marks:
            marks.truncate(8 * MOST_JOBS)
            place = Place(self, address, marks.name)
            ran = subprocess.run(  # noqa: S603  # ours
                place.command("install", 1),
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
            if ran.returncode:
                raise ProgramFailed(f"{self.name} could not make its tables: {ran.stderr[-2000:]}")
            yield place


@attrs.frozen
class Place:
    """A database with the tables of a library."""

    library: Library
    address: str
    marks: str

    def command(self, role: str, at_once: int) -> list[str]:
        module = f"benchmarks.distributed.peers.{self.library.name}"
        python = python_of(self.library.environment)
        return [python, "-m", module, role, self.address, str(at_once), self.marks]

    @contextmanager
    def programs(self, role: str, at_once: int, number: int = 1) -> Iterator[list[Program]]:
        name = f"a {role} of {self.library.name}"
        with ExitStack() as stack:
            yield [stack.enter_context(running(name, self.command(role, at_once))) for _ in range(number)]


FAST: Final = ("uvloop", "attrs", "psycopg[binary]")
OURS: Final = Library("ours")
PEERS: Final = {
    peer.name: peer
    for peer in (
        Library("procrastinate", ["procrastinate", *FAST], keeps=False),
        Library("pgqueuer", ["pgqueuer[asyncpg]", *FAST], keeps=False),
        Library("saq", ["saq[postgres]", "typing-extensions", *FAST]),
        Library("dbos", ["dbos", *FAST]),
    )
}
