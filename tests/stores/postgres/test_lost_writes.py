"""After a fail-over to a standby that lacks the last writes nothing is mixed up: attempts, readers and
inboxes that know of what was lost are told so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import psycopg
import pytest
import trio
import trio.testing

from tests.serving.served import served
from tests.stores.postgres.load import PATIENCE
from trio_jobs import JobContext, Kind, LeaseLost, Reason, State, Step, StreamGap, handler, open_registry
from trio_jobs.client import connect
from trio_jobs.stores.postgres import open_postgres
from trio_jobs.stores.retrying import retry_until_answered
from trio_jobs.testing.checks import kit

_NAMES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'trio_jobs'::regnamespace"


def keep(url: str) -> None:
    """Keep a copy of all rows: what has arrived at the standby."""
    with psycopg.connect(url) as db:
        db.execute("CREATE SCHEMA arrived")
        for (name,) in db.execute(_NAMES).fetchall():
            db.execute(f"CREATE TABLE arrived.{name} AS TABLE trio_jobs.{name}".encode())


def go_back(url: str, *, disconnect: bool = False) -> None:
    """Put the rows back that were kept, as a fail-over does, and end connections, if no pooler holds them."""
    with psycopg.connect(url) as db:
        names = [name for (name,) in db.execute(_NAMES).fetchall()]
        db.execute("SET LOCAL session_replication_role = replica")  # no triggers
        db.execute(f"TRUNCATE {', '.join(f'trio_jobs.{name}' for name in names)}".encode())
        for name in names:
            db.execute(f"INSERT INTO trio_jobs.{name} OVERRIDING SYSTEM VALUE TABLE arrived.{name}".encode())
        db.commit()
        if disconnect:
            db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


def opened(url: str) -> Any:
    return open_postgres(url, handlers=[kit.work])


@asynccontextmanager
async def kept_job(url: str) -> AsyncIterator[tuple[Any, str]]:
    """Give a store and a job that runs in it; what is written from then on can be lost."""
    async with opened(url) as store:
        job = await kit.started(store)
        keep(url)
        yield store, job


async def gap_of(read: Awaitable[object]) -> tuple[int, int, int]:
    """Return which events are lost to a reader that is ahead, and which is the oldest left."""
    with pytest.raises(StreamGap) as gap:
        await read
    return gap.value.first, gap.value.last, gap.value.oldest


async def refused(store: Any, job_id: str, *calls: Any) -> None:
    """Check that calls of an attempt are refused as those of another one, and change nothing."""

    async def call() -> None:
        for one in calls:
            with pytest.raises(LeaseLost):
                await one

    await kit.unchanged("a write of an attempt that is ahead", store, job_id, call)


# ------------------------------------------------------------ the store


async def test_an_attempt_that_is_ahead_cannot_append(postgres_url: str) -> None:
    """Behind a hole nothing is written, of whatever kind; what the store lacks may be sent again."""
    async with opened(postgres_url) as store:
        job = await kit.started(store)
        await store.append(job, 1, Kind.TOKEN, ["a"], 0)
        keep(postgres_url)
        await store.append(job, 1, Kind.TOKEN, ["b"], 1)
        await store.append(job, 1, Kind.STEP, [Step("c", "", 1)], 2)
        go_back(postgres_url)
        await refused(
            store,
            job,
            store.append(job, 1, Kind.TOKEN, ["d"], 3),
            store.append(job, 1, Kind.TOKEN, ["d", "e", "f"], 2),
            store.append(job, 1, Kind.SAVED, ["d"], 3, received=0),
            store.append(job, 1, Kind.STEP, [Step("d", "", 1)], 2),
        )
        await store.append(job, 1, Kind.TOKEN, ["a", "b"], 0)
        assert [event.data for event in await kit.whole(store, job)][2:] == ["a", "b"]


async def test_an_attempt_that_is_ahead_cannot_end(postgres_url: str) -> None:
    """An attempt does not complete, and does not end otherwise, with a log that lacks what it wrote."""
    async with kept_job(postgres_url) as (store, job):
        await store.append(job, 1, Kind.TOKEN, ["a"], 0)
        go_back(postgres_url)
        ends = [kit.completed(), kit.failed(), kit.retried()]
        await refused(store, job, *(store.finish(job, 1, attrs.evolve(end, appended=1)) for end in ends))
        assert await store.finish(job, 1, kit.completed()) is State.COMPLETED


async def test_an_attempt_that_received_what_was_lost(postgres_url: str) -> None:
    """Inputs that were lost cannot be consumed, lest those that come instead were; who waits is told."""
    async with opened(postgres_url) as store:
        job = await kit.started(store)
        first = await store.send(job, "1", ["a"])
        keep(postgres_url)
        lost = await store.send(job, "2", ["b"])
        heard: list[str] = []

        async def listen() -> None:
            with trio.fail_after(PATIENCE):
                heard.extend(await store.listening({job: lost}))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await trio.testing.wait_all_tasks_blocked()
            go_back(postgres_url)
        assert heard == [job]
        assert await gap_of(store.inputs(job, lost, 1)) == (lost, lost, first)
        await refused(
            store,
            job,
            store.append(job, 1, Kind.SAVED, ["s"], 0, received=lost),
            store.finish(job, 1, attrs.evolve(kit.completed(), received=lost)),
            store.finish(job, 1, kit.awaiting(received=lost)),
        )
        await store.append(job, 1, Kind.SAVED, ["s"], 0, received=first)


@pytest.mark.parametrize("disconnect", [False, True])
async def test_a_follower_that_is_ahead_is_told(postgres_url: str, *, disconnect: bool) -> None:
    """Who waits behind what was lost gets a gap and goes on with what comes instead, also if others wait."""
    async with kept_job(postgres_url) as (store, job):
        last = await store.append(job, 1, Kind.TOKEN, ["a", "b"], 0)
        gaps: list[tuple[int, int, int]] = []

        async def follow() -> None:
            gaps.append(gap := await gap_of(retry_until_answered(store.follow, job, last, 9)))
            (event,) = await retry_until_answered(store.follow, job, gap[-1], 9)
            assert (event.seq, event.data) == (3, "x")

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(follow)
                nursery.start_soon(follow)
                await trio.testing.wait_all_tasks_blocked()
                await store.read(job, 0, 1)  # which comes after what they read
                go_back(postgres_url, disconnect=disconnect)
                while len(gaps) < 2:
                    await trio.sleep(0.01)
                async with opened(postgres_url) as other:
                    await other.append(job, 1, Kind.TOKEN, ["x"], 0)
        assert gaps == [(3, 4, 2)] * 2


async def test_an_end_that_was_lost(postgres_url: str) -> None:
    """Who has read the end of a job that goes on gets a gap as well; and who is ahead of another end does."""
    async with kept_job(postgres_url) as (store, job):
        await store.append(job, 1, Kind.TOKEN, ["a"], 0)
        await store.finish(job, 1, kit.completed())
        go_back(postgres_url)
        await gap_of(store.follow(job, 4, 9))
        await store.finish(job, 1, kit.completed())
        await gap_of(store.follow(job, 4, 9))
        assert await store.follow(job, 3, 9) == []


# ------------------------------------------------------------ programs


LEASE = 4.0
"""Seconds: readers look many times before a lease lapses, and nobody waits long."""


async def test_another_attempt_starts_over(postgres_url: str) -> None:
    """The attempt that knows of what was lost ends as a lost one, and the next one sends all anew."""
    kept, gone = trio.Event(), trio.Event()
    ended: list[int] = []

    async def work(job: JobContext[str]) -> str:
        """Send tokens, of which some are lost at first."""
        try:
            await job.send("a")
            if job.attempt == 1:
                await kept.wait()
            await job.save(1)
            if job.attempt == 1:
                await gone.wait()
            await job.send_many(["b", "c"])
            await job.save(2)
        except trio.Cancelled:
            ended.append(job.attempt)
            raise
        return "done"

    with trio.fail_after(PATIENCE):
        async with open_registry(postgres_url, handlers=[work], lease=LEASE) as jobs:
            handle = await jobs.submit(work)
            async with handle.events(after=2) as events:
                await events.receive()
                keep(postgres_url)
                kept.set()
                assert (await events.receive()).kind is Kind.SAVED
                go_back(postgres_url)
                gone.set()
                assert await gap_of(events.receive()) == (4, 4, 3)
                rest = [event async for event in events]
            assert await handle.result() == "done"
            async with handle.events() as events:
                log = [event async for event in events]
    assert ended == [1]
    assert [event.seq for event in log] == [*range(1, 12)]
    assert rest == log[3:]
    assert [event.data for event in log if event.kind is Kind.TOKEN] == ["a", "a", "b", "c"]
    assert log[3].kind is Kind.RETRIED
    assert log[3].data.reason is Reason.WORKER_LOST


async def test_an_attempt_that_waits_for_inputs_is_told(postgres_url: str) -> None:
    """An attempt that received what was lost does not wait for ever for what has an earlier number."""
    received, lost = trio.Event(), trio.Event()

    @handler(inputs=str)
    async def talk(job: JobContext[str]) -> list[str]:
        """Return two inputs."""
        try:
            first = await job.receive()
            received.set()
            return [first, await job.receive()]
        except LeaseLost:
            lost.set()
            raise

    with trio.fail_after(PATIENCE):
        async with open_registry(postgres_url, handlers=[talk], lease=LEASE) as jobs:
            handle = await jobs.submit(talk)
            async with handle.events(after=1) as events:
                await events.receive()
            keep(postgres_url)
            await handle.send("a")
            await received.wait()
            go_back(postgres_url, disconnect=True)
            await lost.wait()
            await handle.send("b")
            await handle.send("c")
            assert await handle.result() == ["b", "c"]


async def test_a_client_that_is_ahead_is_told(postgres_url: str) -> None:
    """Clients of a server get the gap that a reader beside the store gets, and go on behind it."""
    async with kept_job(postgres_url) as (store, job), AsyncExitStack() as stack:
        await store.append(job, 1, Kind.TOKEN, ["a", "b"], 0)
        registry = {"store": postgres_url, "capacity": 0}
        site = await stack.enter_async_context(served([kit.work], registry=registry))
        remote = await stack.enter_async_context(connect(site.url))
        clients = [(await remote.get(job)).events(after=after) for after in (0, 4, 4)]
        streams = [await stack.enter_async_context(one) for one in clients]
        assert [(await streams[0].receive()).seq for _ in range(4)] == [1, 2, 3, 4]
        told: list[tuple[int, int, int]] = []

        async def read(stream: Any) -> None:
            told.append(await gap_of(stream.receive()))
            event = await stream.receive()
            assert (event.seq, event.data) == (3, "x")

        async with trio.open_nursery() as nursery:
            for stream in streams:
                nursery.start_soon(read, stream)
            await trio.testing.wait_all_tasks_blocked()
            go_back(postgres_url)
            while len(told) < len(streams):
                await trio.sleep(0.01)
            await store.append(job, 1, Kind.TOKEN, ["x"], 0)
        assert told == [(3, 4, 2)] * len(streams)
