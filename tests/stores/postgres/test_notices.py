"""Processes tell each other what they did, and notice if what is told does not arrive."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import takewhile
from typing import Any

import psycopg
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.stores.postgres.lockstep import open_in_lockstep
from trio_jobs import Kind, State
from trio_jobs.stores import Claimant, Where
from trio_jobs.stores.postgres import PostgresStore, notices, open_postgres
from trio_jobs.stores.postgres.answers import Changes
from trio_jobs.stores.postgres.connection import Connection
from trio_jobs.stores.postgres.notices import Notice
from trio_jobs.stores.postgres.opening import migrated
from trio_jobs.testing.checks.kit import completed, make, work

WORKER = Claimant("worker", 60.0)
NEVER = 1e6  # seconds


@asynccontextmanager
async def two(url: str, **options: Any) -> AsyncGenerator[tuple[PostgresStore, PostgresStore]]:
    async with (
        open_postgres(url, handlers=[work], **options) as one,
        open_postgres(url, handlers=[work], **options) as other,
    ):
        yield one, other


async def listeners(url: str, count: int) -> list[int]:
    """Return the server's processes that listen, once there are so many."""
    with psycopg.connect(url, autocommit=True) as db, trio.fail_after(20):
        while True:
            found = db.execute(
                "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
            ).fetchall()
            if len(found) == count:
                return [pid for (pid,) in found]
            await trio.sleep(0.01)


async def started(store: PostgresStore) -> str:
    _, (claim,) = await store.submit([make()], 1, WORKER)
    return claim.submission.id


async def answered(waits: Callable[[], Awaitable[Any]], does: Callable[[], Awaitable[Any]]) -> Any:
    """Return what a verb gives that waits, once another one was called."""
    answers: list[Any] = []

    async def wait() -> None:
        answers.append(await waits())

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert not answers
            await does()
    return answers[0]


@pytest.mark.parametrize("verb", ["follow", "ended", "due", "listening", "cancelling", "overdue"])
async def test_who_waits_hears_of_other_processes(verb: str, postgres_url: str) -> None:
    """A task that waits is told at once what another process did, without looking for it."""
    async with two(postgres_url, poll=NEVER) as (one, other):
        await listeners(postgres_url, 2)
        job = await started(one)
        pairs: dict[str, tuple[Callable[[], Awaitable[Any]], Callable[[], Awaitable[Any]]]] = {
            "follow": (lambda: other.follow(job, 2, 9), lambda: one.append(job, 1, Kind.TOKEN, ["a"], 0)),
            "ended": (lambda: other.ended(job), lambda: one.finish(job, 1, completed())),
            "due": (other.due, lambda: one.submit([make()], 0, WORKER)),
            "listening": (lambda: other.listening({job: 0}), lambda: one.send(job, "a", ["hello"])),
            "cancelling": (lambda: other.cancelling({}), lambda: one.request_cancel(job, None)),
            "overdue": (other.overdue, lambda: one.heartbeat({job: 1}, 0.01)),
        }
        await answered(*pairs[verb])


async def test_hints_in_a_row_go_out_at_once(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens in a row after a pause, as when a job starts and ends, is told without a rest between."""
    monkeypatch.setattr(notices, "_REST", NEVER)
    async with two(postgres_url, poll=NEVER) as (one, other):
        await listeners(postgres_url, 2)
        job = await started(one)
        for seq in range(2):
            await answered(
                partial(other.follow, job, 2 + seq, 9), partial(one.append, job, 1, Kind.TOKEN, ["a"], seq)
            )


def test_hints_are_few_under_load(postgres_url: str) -> None:
    """A process that commits 100 times in 100 ms sends a hint each 10 ms, and none more often."""
    jobs: list[str] = []

    async def load() -> None:
        async with open_in_lockstep(postgres_url, handlers=[work]) as store:
            jobs.append(await started(store))
            for seq in range(100):
                await store.append(jobs[0], 1, Kind.TOKEN, ["a"], seq)
                await trio.sleep(0.001)  # in virtual time

    trio.run(migrated, postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as ear:
        ear.execute("LISTEN trio_jobs")
        trio.run(load, clock=MockClock(autojump_threshold=0))
        ear.execute("NOTIFY trio_jobs, 'the end'")
        told = ear.notifies(timeout=30)
        heard = [*takewhile(lambda text: text != "the end", (one.payload for one in told))]
        told.close()  # it holds the connection
    assert 10 <= len(heard) <= 14  # after a pause, some may follow each other
    assert all(jobs[0] in hint for hint in heard)


@pytest.mark.parametrize("query", ["", "?pooler=transaction"])
async def test_a_request_to_cancel_arrives_soon(query: str, postgres_url: str) -> None:
    """A worker elsewhere hears of a cancellation by a hint, or else by looking five times a second."""
    async with two(postgres_url + query, poll=None if query else NEVER) as (one, other):
        await listeners(postgres_url, 0 if query else 2)
        job = await started(one)
        await answered(lambda: other.cancelling({}), lambda: one.request_cancel(job, None))


async def test_hints_come_again_when_the_connection_was_lost(postgres_url: str) -> None:
    """Who listens connects again, and looks at what happened meanwhile."""
    async with two(postgres_url, poll=NEVER) as (one, other):
        (before, _) = await listeners(postgres_url, 2)
        job = await started(one)

        async def end() -> None:
            with psycopg.connect(postgres_url, autocommit=True) as db:
                for pid in await listeners(postgres_url, 2):
                    db.execute("SELECT pg_terminate_backend(%s)", [pid])
            await one.finish(job, 1, completed())

        assert (await answered(lambda: other.ended(job), end)).state is State.COMPLETED
        while before in await listeners(postgres_url, 2):
            await trio.sleep(0.01)


async def test_silence_is_noticed(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no hints come any more, also none of the process itself, it connects again."""
    monkeypatch.setattr(notices, "_QUIET", 0.05)
    monkeypatch.setattr(notices, "_SILENT", 0.5)
    listen, deaf = Connection.listen, list[Connection]()

    async def heard(connection: Connection) -> list[str]:
        deaf.append(connection)
        if connection is deaf[0]:
            monkeypatch.setattr(notices, "_SILENT", NEVER)  # the next one may be slow on a busy machine
            await trio.sleep_forever()
        return await listen(connection)

    monkeypatch.setattr(Connection, "listen", heard)
    async with open_postgres(postgres_url, handlers=[work]):
        with trio.fail_after(20):
            while len(deaf) < 5:  # the second one hears what this process says
                await trio.sleep(0.01)
        assert len(set(map(id, deaf[1:]))) == 1


async def test_counters_are_added_up(postgres_url: str) -> None:
    """What changed in the counters is added up soon, and they stay right."""
    async with open_postgres(postgres_url, handlers=[work]) as store:
        for _ in range(3):
            job = await started(store)
            await store.finish(job, 1, completed())
        with psycopg.connect(postgres_url, autocommit=True) as db, trio.fail_after(20):
            while db.execute("SELECT 1 FROM trio_jobs.news").fetchall():
                await trio.sleep(0.01)
            totals = db.execute("SELECT state, jobs FROM trio_jobs.total WHERE what = 'handler'").fetchall()
        assert totals == [("completed", 3)]
        assert await store.count(Where()) == {State.COMPLETED: 3}


def test_a_notice_has_an_end() -> None:
    """More jobs than a notification holds are told as all jobs, and so is what is not known."""
    few, many, unknown = Notice("me"), Notice("me"), Notice("me")
    few.add(Changes(grown=["a"], ended={"b": None}, heard={"c": float("inf"), "d": 3}, alarm=5.0))
    many.add(Changes(grown=[f"{place:0256}" for place in range(100)]))
    unknown.add(Changes(grown=["a"]))
    unknown.add(None)
    assert '"heard":{"c":null,"d":3}' in few.encoded()
    assert many.encoded() == unknown.encoded() == Notice("me", None).encoded()
