"""The play itself: submit the jobs, read all their logs, cancel one on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio

from .._errors import StreamGap
from .._handle import JobHandle
from .._job import Timeouts
from .._open import open_registry
from .._registry import JobRegistry
from .._retry import Retry
from .._states import Reason, State
from .files import Source
from .handlers import babble, heartbeat, resume, stall, tally
from .rows import End, Row
from .screen import Screen

_WORDS_PER_SECOND = 12
_FEWEST_WORDS = 8
_PARTS = 10
_TALLIED = 8
_STALL_AFTER = 8


async def play(sources: Sequence[Source], seconds: float, screen: Screen) -> list[Row]:
    """Run the jobs of the demo to their ends.

    Args:
        sources: The texts; at least one.
        seconds: About how long it takes.
        screen: Where it is shown.

    Returns:
        A row for each job, with its end.
    """
    async with open_registry(capacity=len(sources) + 4) as jobs:
        rows = await submit(jobs, sources, seconds)
        async with trio.open_nursery() as showing:
            showing.start_soon(screen.run, rows)
            async with trio.open_nursery() as reading:
                for row in rows:
                    reading.start_soon(read, row, screen)
                reading.start_soon(change_mind, rows[-1].handle, seconds)
            showing.cancel_scope.cancel()
    return rows


async def submit(jobs: JobRegistry, sources: Sequence[Source], seconds: float) -> list[Row]:
    """Submit all jobs, the one to be cancelled last."""
    count = max(_FEWEST_WORDS, round(_WORDS_PER_SECOND * seconds))
    pace = 0.8 * seconds / count
    rows = [
        Row(source.name, await jobs.submit(babble, source.words, count, seed, pace))
        for seed, source in enumerate(sources)
    ]
    text = sources[0].words
    rows.append(
        Row("tally", await jobs.submit(tally, text, _TALLIED, 0.6 * seconds / _TALLIED), between=", ")
    )
    again = Retry(attempts=3, initial=0.15 * seconds, jitter=0.0, on=ConnectionError)
    rows.append(
        Row(
            "resume",
            await jobs.submit(resume, _PARTS, 0.5 * seconds / _PARTS, retry=again),
            End(State.COMPLETED, attempts=2),
            between=", ",
        )
    )
    silence = Timeouts(idle=0.25 * seconds)
    rows.append(
        Row(
            "stall",
            await jobs.submit(stall, text[:_STALL_AFTER], pace, timeouts=silence),
            End(State.FAILED, Reason.IDLE_TIMEOUT),
        )
    )
    rows.append(
        Row(
            "heartbeat",
            await jobs.submit(heartbeat, seconds / 20),
            End(State.CANCELLED, Reason.USER),
            between=", ",
        )
    )
    return rows


async def read(row: Row, screen: Screen) -> None:
    """Read a job's log from its beginning to its end. The job does not wait for this reader."""
    async with row.handle.events(policy="gap") as events:
        while True:
            try:
                event = await events.receive()
            except StreamGap:
                continue
            except trio.EndOfChannel:
                break
            row.apply(event)
            screen.event(row, event)
    row.ended = await row.handle.snapshot()


async def change_mind(handle: JobHandle[Any, Any], seconds: float) -> None:
    """Cancel a job half-way, with time for it to clean up."""
    await trio.sleep(0.55 * seconds)
    await handle.cancel("the demo changed its mind", grace=0.15 * seconds)
