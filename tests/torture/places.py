"""Where the tortured jobs are kept: in a file, or on a server that is killed now and then."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Protocol

import apsw
import psycopg
import trio
from checker import AUDIT
from copying import AUDIT as AUDIT_OF_SCHEMA
from copying import copy, damage

from trio_jobs.stores.postgres.opening import open_postgres
from trio_jobs.stores.sqlite.files import create, prepare_writer

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.postgres import Server

_UNFINISHED = "state IN ('queued', 'running', 'retrying')"


class Place(Protocol):
    """A store that is tortured.

    Attributes:
        url: Its address.
        points: Places in its code at which a worker is killed, each as in `commit/before`.
        dies: Whether it may be killed as well.
    """

    url: str
    points: tuple[str, ...]
    dies: bool

    def prepare(self) -> None:
        """Make the store, with triggers that record every change."""

    def kill(self, seconds: float) -> bool:
        """Kill what keeps the store, for a while, and return whether it was there to be killed."""
        ...

    def tend(self) -> bool:
        """Start again what was killed, when its time has come, and return whether it has come back now."""
        ...

    def unfinished(self) -> int:
        """Return how many jobs have not ended."""
        ...

    def gather(self) -> list[str]:
        """Make the file that the checker reads, and return what the database finds wrong in itself."""
        ...

    def version(self) -> str:
        """Return what it is."""
        ...

    def remove(self) -> None:
        """Stop it, if it is anything that runs."""


class FilePlace:
    """A file."""

    points = tuple(f"{name}/{when}" for name in ("begin", "serve", "commit") for when in ("before", "after"))
    dies = False

    def __init__(self, folder: Path) -> None:
        self._path = folder / "jobs.db"
        self.url = f"sqlite:///{self._path}"

    def prepare(self) -> None:
        create(self._path)
        db = apsw.Connection(str(self._path))
        prepare_writer(db, self._path, "full")
        db.execute(AUDIT)
        db.close()

    def kill(self, seconds: float) -> bool:
        raise NotImplementedError

    def tend(self) -> bool:
        return False

    def unfinished(self) -> int:
        with closing(sqlite3.connect(self._path, timeout=30)) as db:
            query = f"SELECT count(*) FROM trio_jobs_job WHERE {_UNFINISHED}"  # noqa: S608
            return int(db.execute(query).fetchone()[0])

    def gather(self) -> list[str]:
        return []  # it is this file, and the checker has it looked through

    def version(self) -> str:
        return f"SQLite {apsw.sqlite_lib_version()}, apsw {apsw.apsw_version()}"

    def remove(self) -> None:
        pass


class ServerPlace:
    """A PostgreSQL server of its own, which writes to the disk as one in use does."""

    points = tuple(f"{name}/{when}" for name in ("_flush", "_answer") for when in ("before", "after"))
    dies = True

    def __init__(self, folder: Path) -> None:
        self._file = folder / "jobs.db"
        self._server = Server(durable=True)
        self._back_at: float | None = None
        self._answers = True
        self.url = self._server.url()

    def prepare(self) -> None:
        self._server.start()

        async def make() -> None:
            async with open_postgres(self.url):
                pass

        trio.run(make)
        self._server.query(AUDIT_OF_SCHEMA)

    def kill(self, seconds: float) -> bool:
        if self._back_at is not None:
            return False
        self._server.kill()
        self._back_at, self._answers = time.monotonic() + seconds, False
        return True

    def tend(self) -> bool:
        if self._back_at is not None and time.monotonic() > self._back_at:
            self._back_at = None
            self._server.spawn()
        if self._answers or self._back_at is not None:
            return False
        self._answers = self._server.answers()
        return self._answers

    def unfinished(self) -> int:
        try:
            ((count,),) = self._server.query(f"SELECT count(*) FROM trio_jobs.job WHERE {_UNFINISHED}")  # noqa: S608
        except psycopg.OperationalError:
            return 1  # it is not back
        return int(count)

    def gather(self) -> list[str]:
        copy(self.url, self._file)
        return damage(self.url)

    def version(self) -> str:
        ((version,),) = self._server.query("SHOW server_version")
        return f"PostgreSQL {version}, psycopg {psycopg.__version__}"

    def remove(self) -> None:
        self._server.remove()


PLACES: Mapping[str, Callable[[Path], Place]] = {"sqlite": FilePlace, "postgresql": ServerPlace}
