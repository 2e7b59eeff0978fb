"""A handler that follows a script, for machines that have no handlers of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any, Final

import trio

from .._common.errors import AwaitInput, KeyConflict, Permanent, RetryAfter
from .._model.handler import handler
from .._model.limits import Limit
from .._running.context import JobContext

Step = tuple[str, Any]
SECONDS: Final = (0.0, 0.5, 1.0, 3.0)
LONG: Final = (*SECONDS, 25.0)  # the last is longer than a lease
STEPS: Final[Mapping[str, Sequence[Any]]] = {
    "send": range(1, 6),
    "cut": SECONDS,
    "pipe": range(1, 4),
    "sleep": SECONDS,
    "save": range(10),
    "progress": range(10),
    "shield": LONG,
    "heed": LONG,
    "tidy": (1.0, 25.0),
    "child": (False, True),
    "old child": (False, True),
    "await child": (False, True),
}
"""The steps, and what each may be told."""
LISTENING: Final[Mapping[str, Sequence[Any]]] = {
    "receive": LONG,
    "together": (1.0, 25.0),
    "listen": (False, True),
    "talk": (None, None, 1.0, 25.0),
    "ask": (None, 3.0),
    "step": SECONDS,
    "broken step": (0.0, 0.5),
    "other step": (0.0,),
    "wait": (None, 3.0),
}
"""The steps of a job that is sent inputs, and at last the end of them, and what each may be told."""
ENDS: Final = ("return", "error", "permanent", "snooze", "exit", "group", "background")


async def child(job: JobContext[str], fails: bool, seconds: float = 0.5) -> None:  # noqa: FBT001  # drawn
    """Send something, take a while, and fail if told to."""
    await job.send("from a child")
    await trio.sleep(seconds)
    if fails:
        raise LookupError("child")


async def scripted(job: JobContext[str], steps: Sequence[Step], end: str) -> str:
    """Take the steps, and end as told; a snooze happens once. Tidying up comes last, however it ends."""
    try:
        return await _take(job, steps) or _end(job, end)
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(max((amount for what, amount in steps if what == "tidy"), default=0.0))


@handler(inputs=str)
async def listening(job: JobContext[str], steps: Sequence[Step], end: str) -> str:
    """Do as `scripted` does; this one declares inputs, so that it is sent some."""
    return await scripted(job, steps, end)


SHARED: Final = {"shared": Limit(at_once=2)}


@handler(limits=["shared", Limit(at_once=1, keyed=True)])
async def one_each(job: JobContext[str], steps: Sequence[Step], end: str) -> str:
    """Do as `scripted` does, one at a time for each key."""
    return await scripted(job, steps, end)


@handler(limits=["shared", Limit(per_second=0.25, burst=2, keyed=True)])
async def seldom(job: JobContext[str], steps: Sequence[Step], end: str) -> str:
    """Do as `scripted` does, a few times a minute for each key."""
    return await scripted(job, steps, end)


@handler(limits=[Limit(at_once=2, per_second=0.5)])
async def some(job: JobContext[str], steps: Sequence[Step], end: str) -> str:
    """Do as `scripted` does, two at a time, and every other second."""
    return await scripted(job, steps, end)


LIMITED: Final = (one_each, seldom, some)
"""The handlers that have limits; the limit that they share is in `SHARED`."""


async def _take(job: JobContext[str], steps: Sequence[Step]) -> str | None:  # noqa: PLR0912  # one a step
    """Take the steps, and return what the handler is to return if one of them ends it."""
    for number, (what, amount) in enumerate(steps):
        if what in LISTENING:
            await _listen(job, number, what, amount)
        elif what == "send":
            await job.send_many(f"{job.attempt}.{number}.{n}" for n in range(amount))
        elif what == "cut":
            with trio.move_on_after(amount):
                await job.send(f"{job.attempt}.{number}")
        elif what == "pipe":
            for n in range(amount):
                await job.tokens.send(f"{job.attempt}.{number}.{n}")
        elif what == "sleep":
            await trio.sleep(amount)
        elif what == "save":
            await job.save(amount)
        elif what == "progress":
            await job.progress(amount, 9)
        elif what == "shield":
            with trio.CancelScope(shield=True):
                await trio.sleep(amount)
        elif what == "heed":
            with trio.move_on_after(amount):
                await job.cancel_requested.wait()
                return "heeded"
        elif what == "await child":
            spawned = await job.spawn(child, amount)
            await spawned.wait()
        elif what != "tidy":
            await job.spawn(child, amount, 0.5 if what == "child" else 25.0)
    return None


async def _listen(job: JobContext[str], number: int, what: str, amount: Any) -> None:
    """Take a step of a job that is sent inputs."""
    if what in {"step", "broken step"}:

        async def make() -> str:
            await trio.sleep(amount)
            if what == "broken step" and job.attempt == 1:
                raise LookupError(what)
            return f"made by attempt {job.attempt}"

        with suppress(LookupError):
            await job.step(f"step {number}", make)
    elif what == "other step":  # with arguments that only one attempt has
        with suppress(KeyConflict):
            await job.step(f"step {number}", _other, job.attempt)
    elif what == "wait":
        if job.attempt < 3 and not job.timed_out:  # without a look, which is right only once
            raise AwaitInput("anything?", amount)
    elif what == "together":
        async with trio.open_nursery() as nursery:
            for n in range(2):
                nursery.start_soon(partial(_receive, job, amount * (n + 1), saves=True))
    elif what == "listen":
        while await _receive(job, inf, saves=amount) is None:
            pass
    elif what == "receive":
        await _receive(job, amount)
    else:
        await _talk(job, amount, saves=what == "talk")


async def _other(attempt: int) -> int:
    await trio.lowlevel.checkpoint()
    return attempt


async def _receive(job: JobContext[str], seconds: float, *, saves: bool = False) -> str | None:
    """Receive an input, and perhaps save; return `end` if no more will come, `late` if none came in time."""
    with trio.move_on_after(seconds) as scope:  # noqa: ASYNC912  # receive is a checkpoint
        try:
            await job.receive()
        except trio.EndOfChannel:
            return "end"
    if not scope.cancelled_caught and saves:
        await job.save(job.received)
    return "late" if scope.cancelled_caught else None


async def _talk(job: JobContext[str], seconds: float | None, *, saves: bool) -> None:
    """Receive inputs to their end, and give back the slot for so long while none comes, a few times.

    An attempt that an input may have woken is patient, as it fails if it receives none.
    """
    patience = 1.0 if job.attempt == 1 or job.timed_out else inf
    while (came := await _receive(job, patience, saves=saves)) != "end":
        if came is None:
            patience = 1.0
        elif job.timed_out and job.attempt > 3:
            return
        else:
            raise AwaitInput("what next?", seconds)


def _end(job: JobContext[str], end: str) -> str:
    if end == "error":
        raise ValueError(end)
    if end == "permanent":
        raise Permanent(ValueError(end))
    if end == "snooze" and job.attempt == 1:
        raise RetryAfter(1)
    if end == "exit":
        raise SystemExit(3)
    if end == "group":
        raise ExceptionGroup("two", [KeyError("a"), ValueError("b")])
    if end == "background":
        job.nursery.start_soon(_fail)
    return "done"


async def _fail() -> None:  # noqa: ASYNC124  # a task is async
    raise OSError("in the nursery")
