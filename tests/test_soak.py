"""Kept data is bounded: four times as much work leaves no more, in memory or in a file."""

from __future__ import annotations

import gc
import sqlite3
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from trio_jobs import JobContext, JobRegistry, Retention, Retry, RetryAfter, handler, open_registry

KEPT = Retention(events=200, bytes=200_000, finished=20)
N = 300  # more than any of these bounds


@handler
async def save(job: JobContext[str], times: int) -> None:
    """Save and send a lot."""
    for number in range(times):
        await job.save([number, "x" * 5_000])
        await job.send("y" * 500)
        await job.progress(number, times)


@handler(retry=Retry(attempts=2))
async def snooze(job: JobContext[str], times: int) -> int:
    """Run again several times."""
    if job.attempt <= times:
        raise RetryAfter(0.0, "z" * 500)
    return job.attempt


@handler
async def answer(job: JobContext[str], size: int) -> str:
    """Return a large result."""
    return "r" * size


@handler
async def wait(job: JobContext[str]) -> None:
    """Send a value, and then none while there is a reader."""
    await job.send("begun")
    await job.cancel_requested.wait()


async def saves(jobs: JobRegistry, times: int) -> None:
    await (await jobs.submit(save, times)).result()


async def snoozes(jobs: JobRegistry, times: int) -> None:
    assert await (await jobs.submit(snooze, times)).result() == times + 1


async def ended_jobs(jobs: JobRegistry, times: int) -> None:
    for number in range(times):
        options: dict[str, Any] = {"metadata": {"m": "m" * 5_000}, "tags": {"t": str(number)}}
        await (await jobs.submit(answer, 5_000, key=f"{number}", owner=f"o{number}", **options)).result()


async def followers(jobs: JobRegistry, times: int) -> None:
    handle = await jobs.submit(wait)
    for _ in range(times):
        async with handle.stream() as tokens:
            assert await tokens.receive() == "begun"
    await handle.cancel(grace=1)


WORK = [saves, snoozes, ended_jobs, followers]


@pytest.mark.deep
@pytest.mark.parametrize("work", WORK)
async def test_in_memory(work: Callable[[JobRegistry, int], Awaitable[None]]) -> None:
    """The memory that a registry holds after the work does not grow with it."""

    async def left(times: int) -> int:
        gc.collect()
        tracemalloc.start()
        try:
            async with open_registry(retention=KEPT) as jobs:
                await work(jobs, times)
                gc.collect()
                return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    await left(N)  # what is made once
    assert await left(4 * N) <= 1.2 * await left(N) + 20_000


@pytest.mark.deep
@pytest.mark.parametrize("work", WORK)
async def test_in_a_file(work: Callable[[JobRegistry, int], Awaitable[None]], tmp_path: Path) -> None:
    """The used pages of a file do not grow with the work."""

    async def left(times: int) -> int:
        path = tmp_path / f"{times}.db"
        address = f"sqlite:///{path}?synchronous=normal"
        async with open_registry(address, handlers=[save, snooze, answer, wait], retention=KEPT) as jobs:
            await work(jobs, times)
        db = sqlite3.connect(path)
        (pages,), (free,) = (
            db.execute("PRAGMA page_count").fetchone(),
            db.execute("PRAGMA freelist_count").fetchone(),
        )
        db.close()
        return int(pages - free)

    assert await left(4 * N) <= 1.2 * await left(N) + 5
