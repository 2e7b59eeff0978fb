"""Values that are too large for an answer: a client gets each whole, or a gap if it is gone."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

import trio_jobs
from tests.inside import link_of
from tests.wire import Large
from trio_jobs import Event, JobContext, JobRegistry, Kind, Retention
from trio_jobs.client import RemoteRegistry, connect
from trio_jobs.client.values import with_data
from trio_jobs.serving import serve_http

SIZE = 2**20
LARGE = "é" * SIZE


@trio_jobs.handler
async def speak(job: JobContext[str], *_: str) -> str:
    """Send small and large values in every way there is."""
    await job.save("small")
    await job.send(LARGE)
    await job.save(LARGE + "!")
    await job.send("small")
    return LARGE


@trio_jobs.handler
async def flood(job: JobContext[str]) -> None:
    """Send more than is kept."""
    await job.send_many(["x" * SIZE] * 8)


@asynccontextmanager
async def both(**options: Any) -> AsyncGenerator[tuple[JobRegistry, RemoteRegistry]]:
    async with (
        trio_jobs.open_registry(handlers=[speak, flood], **options) as jobs,
        trio.open_nursery() as nursery,
    ):
        with trio.fail_after(30):  # noqa: ASYNC100  # no test waits for it; a hung one ends by it
            (url,) = await nursery.start(partial(serve_http, jobs, port=0, tracebacks=True))
            async with connect(url) as remote:
                yield jobs, remote
        nursery.cancel_scope.cancel()


async def test_what_is_large_is_whole() -> None:
    """A snapshot, an end, a result, a history and both streams are the same as in the process."""
    async with both() as (jobs, remote):
        here = await jobs.submit(speak, LARGE, metadata={"text": LARGE})
        there = await remote.get(here.id)
        assert await there.wait() == await here.wait()
        assert await there.snapshot() == await here.snapshot()
        assert (await there.snapshot()).args == (LARGE,)
        assert await there.result() == LARGE
        assert await there.history() == await here.history()
        async with here.events() as ours, there.events() as theirs:
            assert [event async for event in theirs] == [event async for event in ours]
        async with there.stream() as tokens:
            assert [token async for token in tokens] == [LARGE, "small"]


async def test_several_read_at_once() -> None:
    """Streams of one connection, and calls beside them, each get their own values."""
    async with both() as (jobs, remote):
        handles = [await jobs.submit(speak) for _ in range(3)]
        found: list[str] = []

        async def read(job_id: str) -> None:
            async with (await remote.get(job_id)).stream() as tokens:
                found.append("".join([token async for token in tokens]))

        async with trio.open_nursery() as nursery:
            for handle in handles * 2:
                nursery.start_soon(read, handle.id)
        assert found == [LARGE + "small"] * 6


async def test_a_reader_that_is_cancelled_while_it_gets_something_large_loses_nothing() -> None:
    """The value that was being read is returned by the next receive."""
    async with both() as (jobs, remote):
        here = await jobs.submit(speak)
        whole = [event.seq for event in await here.history()]
        await here.wait()
        there = await remote.get(here.id)
        seen: list[int] = []
        async with there.events(policy="gap") as events:
            for steps in range(200):
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(_cancel_after, steps, scope)
                        seen.append((await events.receive()).seq)
                        nursery.cancel_scope.cancel()
                if len(seen) == 6:
                    break
            seen += [event.seq async for event in events]
        assert seen == list(range(1, (await here.snapshot()).last_seq + 1))
        assert whole[0] == 1


async def _cancel_after(steps: int, scope: trio.CancelScope) -> None:
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def test_what_is_gone_before_it_was_got_is_left_out() -> None:
    """A large event that retention drops before its value is read is reported as a gap."""
    async with both(retention=Retention(bytes=3 * SIZE)) as (jobs, remote):
        here = await jobs.submit(flood)
        await here.wait()
        news = [Event(seq, 1, Kind.TOKEN, 0.0, Large(SIZE)) for seq in (3, 10)]
        link = link_of(remote)  # to ask as a stream would that was told before
        assert [event.seq for event in await with_data(link, here.id, news)] == [10]
