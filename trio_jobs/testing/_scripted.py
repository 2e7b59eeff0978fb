"""A handler that does what it is told, for machines that have no handlers of their own."""

from __future__ import annotations

from typing import Any

import trio
from hypothesis import strategies as st

from .._common.errors import Permanent, RetryAfter
from .._running.context import JobContext

Step = tuple[str, Any]
SECONDS = st.sampled_from([0.0, 0.5, 1.0, 3.0])
LONG = st.sampled_from([0.0, 0.5, 1.0, 3.0, 25.0])  # the last is longer than a lease
STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 5)),
        st.tuples(st.just("cut"), SECONDS),
        st.tuples(st.just("pipe"), st.integers(1, 3)),
        st.tuples(st.just("sleep"), SECONDS),
        st.tuples(st.just("save"), st.integers(0, 9)),
        st.tuples(st.just("progress"), st.integers(0, 9)),
        st.tuples(st.just("shield"), LONG),
        st.tuples(st.just("heed"), LONG),
        st.tuples(st.just("child"), st.booleans()),
        st.tuples(st.just("old child"), st.booleans()),
    ),
    max_size=5,
)
ENDS = st.sampled_from(["return", "error", "permanent", "snooze", "exit", "group", "background"])


async def child(job: JobContext[str], fails: bool, seconds: float = 0.5) -> None:  # noqa: FBT001  # drawn
    """Send something, take a while, and fail if told to."""
    await job.send("from a child")
    await trio.sleep(seconds)
    if fails:
        raise LookupError("child")


async def scripted(job: JobContext[str], steps: list[Step], end: str) -> str:
    """Take the steps, and end as told; a snooze happens once."""
    for number, (what, amount) in enumerate(steps):
        if what == "send":
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
        else:
            await job.spawn(child, amount, 0.5 if what == "child" else 25.0)
    return _end(job, end)


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
