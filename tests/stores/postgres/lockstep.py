"""A database in virtual time: while it works, the run stands still, and the clock with it."""

from __future__ import annotations

import math
import random
import select
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import psycopg
import trio
from psycopg.pq import PGconn
from psycopg.pq.abc import PGresult

from tests.stores.postgres.parts import rows_of
from trio_jobs import Retention
from trio_jobs.stores.postgres import PostgresStore
from trio_jobs.stores.postgres.connection import Answer, Connection, Statement
from trio_jobs.stores.postgres.opening import database_at
from trio_jobs.stores.serving import served

CLOCK = """CREATE OR REPLACE FUNCTION trio_jobs.clock() RETURNS double precision LANGUAGE sql VOLATILE
AS $$ SELECT current_setting('trio_jobs.now')::double precision $$"""
FOREVER = Retention(finished=2**62)
NOW = b"SELECT set_config('trio_jobs.now', $1, false)"


class InLockstep(Connection):
    """A connection that waits in the run's own thread, and tells the server Trio's time."""

    async def run(self, *batches: Sequence[Statement]) -> list[Answer]:
        for _ in range(random.randint(1, 3)):  # others get in before it, and before the answer, or not
            await trio.lowlevel.cancel_shielded_checkpoint()
        now = str(trio.current_time() + 1e9).encode()
        _, *answers = await super().run([(NOW, [now])], *batches)
        for _ in range(random.randint(0, 2)):
            await trio.lowlevel.cancel_shielded_checkpoint()
        return answers

    async def _flush(self) -> None:
        while self._pg.flush():
            select.select([self._pg.socket], [self._pg.socket], [])
            self._pg.consume_input()

    async def _result(self) -> PGresult | None:
        while self._pg.is_busy():
            select.select([self._pg.socket], [], [])
            self._pg.consume_input()
        return self._pg.get_result()


async def connected(url: str) -> Connection:
    return InLockstep(PGconn.connect(url.encode()))


@asynccontextmanager
async def open_in_lockstep(
    url: str, *, handlers: Any, queue_limit: int = 1_000_000, retention: Retention = FOREVER
) -> AsyncGenerator[PostgresStore]:
    """Open a store as `open_postgres` does, for a run in virtual time.

    The schema is to be there already. No task runs and no time passes while the server works, so the same
    seed takes the same course. What another store writes is not noticed.
    """
    with psycopg.connect(url) as db:
        db.execute(CLOCK)
    database = attrs.evolve(database_at(url), connect=partial(connected, url), listens=False)
    store = PostgresStore(
        database, rows_of(handlers), queue_limit=queue_limit, retention=retention, poll=math.inf
    )
    async with served(store, store.tasks()):
        yield store
