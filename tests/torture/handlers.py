"""The jobs of the torture. Each records its next step before it takes it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import trio
from journal import Journal

from trio_jobs import JobContext, Retry, handler

journal = Journal(Path(os.devnull))
"""The journal of the process; `process.py` opens it."""
calm = False
"""Whether nothing is to die; `process.py` says so."""


def _began(job: JobContext[Any]) -> None:
    journal.note("run", job=job.id, attempt=job.attempt)


async def _send(job: JobContext[str], place: int) -> None:
    value = f"{job.attempt}.{place}"
    journal.note("token", job=job.id, attempt=job.attempt, value=value)
    await job.send(value)


def _returns(job: JobContext[Any], value: int) -> int:
    journal.note("return", job=job.id, attempt=job.attempt, value=value)
    return value


@handler
async def quick(job: JobContext[str], number: int) -> int:
    """Return at once."""
    _began(job)
    return _returns(job, number)


@handler
async def stream(job: JobContext[str], count: int, pace: float) -> int:
    """Send tokens and save their number; the next attempt resumes there."""
    _began(job)
    for place in range(job.saved or 0, count):
        await _send(job, place)
        await trio.sleep(pace)
        if place % 3 == 0:
            await job.save(place + 1)
            await job.progress(place + 1, count)
    return _returns(job, count)


@handler
async def burst(job: JobContext[str], count: int) -> int:
    """Send tokens as fast as the window allows."""
    _began(job)
    for place in range(count):
        await _send(job, place)
    return _returns(job, count)


@handler(retry=Retry(attempts=3, initial=0.05, on=OSError))
async def flaky(job: JobContext[str], failures: int) -> int:
    """Fail a few times."""
    _began(job)
    await _send(job, 0)
    if job.attempt <= failures:
        raise OSError(f"attempt {job.attempt} fails")
    return _returns(job, failures)


@handler
async def child(job: JobContext[str], number: int) -> int:
    """Run as a child."""
    _began(job)
    await _send(job, 0)
    await trio.sleep(0.05)
    return _returns(job, number)


@handler
async def parent(job: JobContext[str], children: int) -> int:
    """Spawn, and wait."""
    _began(job)
    spawned = [await job.spawn(child, number) for number in range(children)]
    return _returns(job, sum([await one.result() for one in spawned]))


@handler
async def stubborn(job: JobContext[str], seconds: float) -> int:
    """Go on for a while after its cancellation."""
    _began(job)
    try:
        await trio.sleep(3 * seconds)
    finally:
        with trio.move_on_after(seconds, shield=True):
            await trio.sleep_forever()
    return _returns(job, 0)


@handler
async def deadly(job: JobContext[str]) -> int:
    """Kill the worker, unless no process is to be killed."""
    _began(job)
    if calm:
        return _returns(job, 0)
    journal.note("suicide", job=job.id)
    os._exit(9)


ALL = (quick, stream, burst, flaky, child, parent, stubborn, deadly)
