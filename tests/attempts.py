"""Handlers whose attempts end in each way, and an attempt that another worker takes over."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio

from trio_jobs import JobContext, JobRegistry, open_registry
from trio_jobs.stores import Store
from trio_jobs.testing import Connection


async def doubles(job: JobContext[Any], number: int) -> int:
    await trio.lowlevel.checkpoint()
    return 2 * number


async def fails(job: JobContext[Any]) -> None:
    raise ValueError("ouch")


async def fails_once(job: JobContext[Any]) -> int:
    if job.attempt == 1:
        raise ValueError("ouch")
    return job.attempt


async def sleeps(job: JobContext[Any]) -> None:
    await trio.sleep_forever()


async def spawns(job: JobContext[Any]) -> int:
    return await (await job.spawn(doubles, 4)).result()


@asynccontextmanager
async def taken_over(
    first: JobRegistry, connection: Connection, store: Store, fn: Any = sleeps
) -> AsyncGenerator[None]:
    """Start a job, cut its worker off, and yield once another one runs it; the job is cancelled at the end.

    Both have a lease of nine seconds. When the worker is let back, it hears of its loss within those.
    """
    handle = await first.submit(fn)
    await trio.sleep(1)
    async with open_registry(Connection(store), lease=9) as second:
        connection.severed = True
        there = await second.get(handle.id)
        while (await there.snapshot()).attempt == 1:
            await trio.sleep(1)
        yield
        await there.cancel()
