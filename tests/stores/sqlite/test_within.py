"""Submitting in a transaction of the program's own: the job exists exactly if that commits."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest
import trio

from trio_jobs import InvalidPayload, JobContext, KeyConflict, SchemaTooNew, State, handler, open_registry
from trio_jobs.stores.sqlite import submit_within


@handler
async def ship(job: JobContext[str], order: int) -> str:
    return f"order {order} is on its way"


@contextmanager
def connected(path: Path) -> Iterator[apsw.Connection]:
    db = apsw.Connection(str(path))
    try:
        yield db
    finally:
        db.close()


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A file with jobs, and a table of the program's."""
    async with open_registry(f"sqlite:///{tmp_path / 'shop.db'}", handlers=[ship]):
        pass
    with connected(tmp_path / "shop.db") as db:
        db.execute("CREATE TABLE orders (number INTEGER)")
    return tmp_path / "shop.db"


async def test_what_is_committed_runs(path: Path) -> None:
    """A worker that already waits claims the job, and the program's row is there too."""
    async with open_registry(f"sqlite:///{path}", handlers=[ship]) as jobs:
        with connected(path) as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO orders VALUES (7)")
            job_id = submit_within(db, ship, 7, tags={"order": "7"})
            assert await jobs.count() == 0
            db.execute("COMMIT")
            with trio.fail_after(30):
                assert await (await jobs.get(job_id)).result() == "order 7 is on its way"
            assert db.execute("SELECT number FROM orders").fetchall() == [(7,)]
            assert [job.id for job in await jobs.find(tags={"order": "7"})] == [job_id]


async def test_what_is_rolled_back_never_was(path: Path) -> None:
    """After a rollback neither the job nor its key exists."""
    with connected(path) as db:
        db.execute("BEGIN")
        first = submit_within(db, ship, 7, key="k")
        assert submit_within(db, ship, 7, key="k") == first
        with pytest.raises(KeyConflict):
            submit_within(db, ship, 8, key="k")
        db.execute("ROLLBACK")
        async with open_registry(f"sqlite:///{path}", handlers=[ship], capacity=0) as jobs:
            assert not await jobs.find()
            handle = await jobs.submit(ship, 8, key="k")
            assert (await handle.snapshot()).state is State.QUEUED


async def test_what_cannot_be_is_refused(path: Path) -> None:
    """Without a transaction, with wrong arguments, or in a newer file, nothing is written."""
    with connected(path) as db:
        with pytest.raises(ValueError, match="BEGIN IMMEDIATE first"):
            submit_within(db, ship, 7)
        db.execute("BEGIN")
        with pytest.raises(InvalidPayload, match="arguments of ship do not fit"):
            submit_within(db, ship, "seven")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="takes 1 arguments"):
            submit_within(db, ship)  # type: ignore[arg-type, call-arg]
        db.execute("UPDATE trio_jobs_meta SET value = 99 WHERE name = 'version'")
        with pytest.raises(SchemaTooNew):
            submit_within(db, ship, 7)
        assert db.execute("SELECT count(*) FROM trio_jobs_job").fetchone() == (0,)


async def test_a_file_of_an_older_version_is_refused(path: Path) -> None:
    """A file of an older version is refused, as its migration needs it alone."""
    with connected(path) as db:
        db.execute("UPDATE trio_jobs_meta SET value = 1 WHERE name = 'version'")
        db.execute("BEGIN")
        with pytest.raises(ValueError, match="of an older version: open it with open_registry"):
            submit_within(db, ship, 7)
        assert db.execute("SELECT count(*) FROM trio_jobs_job").fetchone() == (0,)


def test_a_file_without_jobs_is_refused(tmp_path: Path) -> None:
    """The error says how to make it a file of jobs."""
    with connected(tmp_path / "empty.db") as db:
        db.execute("BEGIN")
        with pytest.raises(ValueError, match="keeps no jobs yet"):
            submit_within(db, ship, 7)


def test_another_copy_of_sqlite_is_refused(tmp_path: Path) -> None:
    """A connection of Python's `sqlite3`, which would release the registry's locks, is refused."""
    with closing(sqlite3.connect(tmp_path / "shop.db")) as db, pytest.raises(TypeError, match="two copies"):
        submit_within(db, ship, 7)  # type: ignore[call-overload]
