"""The limit of the parts: what a job in an SQLite file costs at least: Trio, a thread, apsw, and no more.

The same durability, and the same two commits per job, each shared by all that came meanwhile: one makes a job
that is running, one ends it. What is left out is everything that makes it a job: no states, no attempts, no
leases, no log, no handlers by name, no cancellation, and nobody else can look.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Condition, Thread
from uuid import uuid4

import apsw
import attrs
import trio

SCHEMA = """
CREATE TABLE job (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, handler TEXT NOT NULL, args TEXT NOT NULL,
    state TEXT NOT NULL, result TEXT
) STRICT;
"""
INSERT = "INSERT INTO job (id, handler, args, state) VALUES (?, ?, ?, 'running')"
FINISH = "UPDATE job SET state = 'completed', result = ? WHERE id = ? AND state = 'running'"

Statement = tuple[str, Sequence[str]]


@attrs.define(eq=False)
class Group:
    """A thread that executes what has come since it last looked, in one transaction."""

    path: Path
    token: trio.lowlevel.TrioToken
    waiting: list[tuple[Statement, trio.Event]] = attrs.field(factory=list)
    news: Condition = attrs.field(factory=Condition)
    closed: bool = False

    async def execute(self, sql: str, *values: str) -> None:
        done = trio.Event()
        with self.news:
            self.waiting.append(((sql, values), done))
            self.news.notify()
        await done.wait()

    def run(self) -> None:
        db = apsw.Connection(str(self.path))
        db.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;" + SCHEMA).fetchall()
        while batch := self.take():
            with db:
                for (sql, values), _ in batch:
                    db.execute(sql, values)
            self.token.run_sync_soon(wake, [done for _, done in batch])
        db.close()

    def take(self) -> list[tuple[Statement, trio.Event]]:
        with self.news:
            self.news.wait_for(lambda: self.waiting or self.closed)
            batch, self.waiting = self.waiting, []
            return batch

    def close(self) -> None:
        with self.news:
            self.closed = True
            self.news.notify()


def wake(events: Sequence[trio.Event]) -> None:
    for event in events:
        event.set()


@asynccontextmanager
async def open_group(path: Path) -> AsyncGenerator[Group]:
    group = Group(path, trio.lowlevel.current_trio_token())
    thread = Thread(target=group.run)
    thread.start()
    try:
        yield group
    finally:
        group.close()
        thread.join()


async def one_job(group: Group, work: Callable[[int], object], n: int) -> None:
    job_id = uuid4().hex
    await group.execute(INSERT, job_id, "work", str(n))
    result = work(n)
    await group.execute(FINISH, str(result), job_id)


def count_completed(path: Path) -> int:
    db = apsw.Connection(str(path))
    count = db.execute("SELECT count(*) FROM job WHERE state = 'completed'").get
    db.close()
    assert isinstance(count, int)
    return count
