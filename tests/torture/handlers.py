"""The jobs of the torture. Each records its next step before it takes it."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any, TypeVar

import trio
from evidence import AT_ONCE, EVERY
from journal import Journal

from trio_jobs import AwaitInput, JobContext, Limit, Retry, Schedule, handler

T = TypeVar("T")
journal = Journal(Path(os.devnull))
"""The journal of the process; `process.py` opens it."""
calm = False
"""Whether nothing is to die; `process.py` says so."""


def _began(job: JobContext[Any]) -> None:
    journal.note("run", job=job.id, attempt=job.attempt)


async def _send(job: JobContext[str], place: int) -> None:
    await sends(job, f"{job.attempt}.{place}")


async def sends(job: JobContext[str], value: str) -> None:
    """Send a token, and record which."""
    journal.note("token", job=job.id, attempt=job.attempt, value=value)
    await job.send(value)


def returns(job: JobContext[Any], value: T) -> T:
    """Record what is about to be returned, and return it."""
    journal.note("return", job=job.id, attempt=job.attempt, value=value)
    return value


@handler
async def quick(job: JobContext[str], number: int) -> int:
    """Return at once."""
    _began(job)
    return returns(job, number)


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
    return returns(job, count)


@handler
async def burst(job: JobContext[str], count: int) -> int:
    """Send tokens as fast as the window allows."""
    _began(job)
    for place in range(count):
        await _send(job, place)
    return returns(job, count)


@handler(retry=Retry(attempts=3, initial=0.05, on=OSError))
async def flaky(job: JobContext[str], failures: int) -> int:
    """Fail a few times."""
    _began(job)
    await _send(job, 0)
    if job.attempt <= failures:
        raise OSError(f"attempt {job.attempt} fails")
    return returns(job, failures)


@handler
async def child(job: JobContext[str], number: int) -> int:
    """Run as a child."""
    _began(job)
    await _send(job, 0)
    await trio.sleep(0.05)
    return returns(job, number)


@handler
async def parent(job: JobContext[str], children: int) -> int:
    """Spawn, and wait."""
    _began(job)
    spawned = [await job.spawn(child, number) for number in range(children)]
    return returns(job, sum([await one.result() for one in spawned]))


@handler
async def stubborn(job: JobContext[str], seconds: float) -> int:
    """Go on for a while after its cancellation."""
    _began(job)
    try:
        await trio.sleep(3 * seconds)
    finally:
        with trio.move_on_after(seconds, shield=True):
            await trio.sleep_forever()
    return returns(job, 0)


@handler
async def deadly(job: JobContext[str]) -> int:
    """Kill the worker, unless no process is to be killed."""
    _began(job)
    if calm:
        return returns(job, 0)
    journal.note("suicide", job=job.id)
    os._exit(9)


@handler
async def ticks(job: JobContext[str], seconds: float) -> int:
    """Run because of a tick."""
    _began(job)
    await trio.sleep(seconds)
    return returns(job, 0)


@handler(limits=[Limit(at_once=AT_ONCE["all"]), Limit(at_once=AT_ONCE["key"], keyed=True)])
async def limited(job: JobContext[str], seconds: float) -> int:
    """Run beside a few others, none of them of the same key."""
    _began(job)
    await trio.sleep(seconds)
    return returns(job, 0)


SCHEDULES = (
    Schedule(ticks, (0.0,), name="each", every=EVERY),
    Schedule(
        ticks, (1.2 * EVERY,), name="alone", every=EVERY, options={"exclusive": "alone", "on_busy": "reject"}
    ),
)


# ------------------------------------------------------------ listening


_UNSAVED = 5
"""How many inputs a handler receives at most before it saves; so the box never stays full."""


async def receives(job: JobContext[Any]) -> str:
    """Receive an input, and record which."""
    value = str(await job.receive())
    journal.note("received", job=job.id, attempt=job.attempt, seq=job.received, value=value)
    return value


async def saves(job: JobContext[Any], value: Any, received: int) -> None:
    """Save what was made of the inputs up to one of them."""
    journal.note("save", job=job.id, attempt=job.attempt, received=received, value=value)
    await job.save(value, received=received)


async def steps(job: JobContext[Any], name: str, *, fails: bool = False) -> None:
    """Do a step, and record its effect and its result."""

    async def effect() -> str:
        made = f"{name} by {job.attempt}"
        journal.note("effect", job=job.id, attempt=job.attempt, name=name, value=None if fails else made)
        await trio.lowlevel.checkpoint()
        if fails:
            raise OSError(made)
        return made

    try:
        result = await job.step(name, effect)
    except OSError:
        return
    journal.note("stepped", job=job.id, attempt=job.attempt, name=name, value=result)


@handler(inputs=str, retry=Retry(attempts=4, initial=0.05, on=OSError))
async def chat(job: JobContext[str], patience: float, limit: float | None) -> list[str]:
    """Receive inputs until they end, and give the slot back whenever none comes for a while."""
    _began(job)
    heard = [(0, str(value)) for value in job.saved or ()]
    unsaved = 0
    # One that an input woke has to receive it, however long that takes, before it may wait again.
    may_wait = job.attempt == 1 or job.timed_out
    while True:
        with trio.move_on_after(patience if may_wait else float("inf")) as scope:
            try:
                value = await receives(job)
            except trio.EndOfChannel:
                return returns(job, [value for _, value in heard])
        if scope.cancelled_caught:
            journal.note("wait", job=job.id, attempt=job.attempt)
            raise AwaitInput("more", timeout=limit)
        heard, unsaved, may_wait = [*heard, (job.received, value)], unsaved + 1, True
        await _digest(job, len(heard))
        if random.random() < 0.02:
            return returns(job, [value for _, value in heard])  # there may be more
        if unsaved == _UNSAVED or random.random() < 0.3:
            left = 1 if unsaved > 1 and random.random() < 0.3 else 0  # for the next time
            kept = heard[: len(heard) - left]
            await saves(job, [value for _, value in kept], kept[-1][0])
            unsaved = left


async def _digest(job: JobContext[str], place: int) -> None:
    """Do something because of an input."""
    dice = random.random()
    if dice < 0.4:
        await steps(job, f"answer {place}", fails=dice < 0.1)
    elif dice < 0.6:
        await _send(job, place)
    elif dice > 0.97:
        raise OSError(f"attempt {job.attempt} fails")


ALL = (quick, stream, burst, flaky, child, parent, stubborn, deadly, ticks, limited, chat)
