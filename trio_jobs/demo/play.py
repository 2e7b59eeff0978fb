"""The play itself: submit the jobs, read all their logs, cancel one on the way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import attrs
import trio

from .._common.errors import StreamGap
from .._common.states import Reason, State
from .._model.job import Timeouts
from .._model.retry import Retry
from .._registry.opening import open_registry
from .._registry.registry import JobRegistry
from .._watching.handle import JobHandle
from .files import Source
from .handlers import babble, heartbeat, resume, stall, tally
from .live import LiveView
from .page import start_page
from .rows import COMPLETED, End, Row, printable
from .screen import Plain

_WORDS_PER_SECOND = 12
_FEWEST_WORDS = 8
_PARTS = 10
_TALLIED = 8
_STALL_AFTER = 8
_LEASE = 2.0
_TAGS: Final = {"of": "the demo"}


async def play(
    sources: Sequence[Source], seconds: float, screen: LiveView | Plain, file: Path, *, page: bool
) -> list[Row]:
    """Run the jobs of the demo to their ends: new ones, or those of a run that did not come to its end.

    Args:
        sources: The texts; at least one.
        seconds: About how long it takes.
        screen: Where it is shown.
        file: Where the jobs are kept.
        page: Whether they are served to a browser meanwhile.

    Returns:
        A row for each job, with its end.
    """
    handlers = (babble, tally, resume, stall, heartbeat)
    async with (
        open_registry(f"sqlite:///{quote(str(file))}", handlers=handlers, lease=_LEASE) as jobs,
        trio.open_nursery() as serving,
    ):
        rows = await unfinished(jobs)
        if rows:
            screen.say("Going on with the jobs of a run that was stopped.")
        if page:
            screen.say(await start_page(serving, jobs))
        rows = rows or await submit(jobs, sources, seconds)
        async with trio.open_nursery() as showing:
            showing.start_soon(screen.run, rows)
            async with trio.open_nursery() as reading:
                for row in rows:
                    reading.start_soon(read, row, screen)
                reading.start_soon(change_mind, rows[-1].handle, seconds)
            showing.cancel_scope.cancel()
        serving.cancel_scope.cancel()
    return rows


async def unfinished(jobs: JobRegistry) -> list[Row]:
    """Return a row for each job of an earlier run, if that did not come to its end; forget one that did."""
    found = await jobs.find(tags=_TAGS)
    if all(job.state.over for job in found):
        for job in found:
            await jobs.remove(job.id)
        return []
    handles = [await jobs.get(job.id) for job in found]
    return [row_of(handle, (await handle.snapshot()).metadata) for handle in handles]


def row_of(handle: JobHandle[str, Any], facts: Mapping[str, Any]) -> Row:
    """Return the row of a job; what the demo knows of it is kept with it as metadata."""
    reason = facts["reason"]
    end = End(State(facts["state"]), None if reason is None else Reason(reason), facts["attempts"])
    return Row(facts["name"], handle, end, facts["between"])


async def submit(jobs: JobRegistry, sources: Sequence[Source], seconds: float) -> list[Row]:
    """Submit all jobs, the one to be cancelled last."""

    async def add(
        name: str,
        fn: Callable[..., Awaitable[Any]],
        *args: object,
        end: End = COMPLETED,
        between: str = " ",
        **options: Any,
    ) -> Row:
        facts = {"name": printable(name), "between": between, **attrs.asdict(end)}
        submit: Any = jobs.submit  # how the handler is typed is not known here
        return row_of(await submit(fn, *args, tags=_TAGS, metadata=facts, **options), facts)

    count = max(_FEWEST_WORDS, round(_WORDS_PER_SECOND * seconds))
    pace = 0.8 * seconds / count
    text = sources[0].words
    rows = [
        await add(source.name, babble, source.words, count, seed, pace) for seed, source in enumerate(sources)
    ]
    rows += [
        await add("tally", tally, text, _TALLIED, 0.6 * seconds / _TALLIED, between=", "),
        await add(
            "resume",
            resume,
            _PARTS,
            0.5 * seconds / _PARTS,
            end=End(State.COMPLETED, attempts=2),
            between=", ",
            retry=Retry(attempts=3, initial=0.15 * seconds, jitter=0.0, on=ConnectionError),
        ),
        await add(
            "stall",
            stall,
            text[:_STALL_AFTER],
            pace,
            end=End(State.FAILED, Reason.IDLE_TIMEOUT),
            timeouts=Timeouts(idle=0.25 * seconds),
        ),
        await add("heartbeat", heartbeat, seconds / 20, end=End(State.CANCELLED, Reason.USER), between=", "),
    ]
    return rows


async def read(row: Row, screen: LiveView | Plain) -> None:
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
