"""`trio-jobs stream`: print what a job sends, live, from any cursor on."""

from __future__ import annotations

import shlex
from typing import Annotated, Any

import trio
from cyclopts import Parameter

from .._common.errors import StreamGap
from .._model.job import Event, Kind, Progress
from .._registry.opening import open_registry
from .._watching.handle import JobHandle
from .._watching.streams import EventStream
from .ending import ended_status
from .escape import shown
from .faults import Fault, Stopped
from .options import DEFAULT_STORE, Id, Json, Store
from .output import json_line, note
from .readonly import resolve
from .show import describe_event
from .signals import stopped_by_signals


async def stream(
    job_id: Id,
    /,
    *,
    store: Store = DEFAULT_STORE,
    after: Annotated[int, Parameter(metavar="N")] = 0,
    join: Annotated[bool, Parameter(negative=())] = False,
    json: Json = False,
) -> int:
    """Print what a job sends, live: each token on a line, and its states on standard error.

    The exit status is 0 if the job completed, 1 if it failed, 3 if it was cancelled. Ctrl-C ends the
    reading, not the job, and prints the command that goes on. With --json, each event is a line on standard
    output.

    Args:
        after: The cursor to go on behind, as Ctrl-C prints it; 0 is the beginning.
        join: Run text together as it was sent, without a line end behind each token.
    """
    if after < 0:
        raise Fault(f"--after takes a cursor, from 0 on; got {after}")
    (found,) = resolve(store, [job_id])
    place = after
    try:
        async with stopped_by_signals(), open_registry(store, capacity=0) as jobs:
            handle = await jobs.get(found)
            async with handle.events(after, policy="gap") as events:
                reader = _Reader(handle, events, json=json, join=join)
                try:
                    return await reader.run()
                finally:
                    place = reader.place
                    reader.close()
    except StreamGap as gap:
        raise Fault(f"--after {after} is ahead of the log, which has come to {gap.oldest}") from gap
    except Stopped:
        where = "" if store == DEFAULT_STORE else f" --store {shlex.quote(store)}"
        note(f"to go on: trio-jobs stream {found} --after {place}{where}")
        raise


class _Reader:
    """Prints the events of a job.

    Args:
        handle: The job.
        events: Its log.
        json: Whether each event is printed as a line of JSON.
        join: Whether no line end is printed behind a token.

    Attributes:
        place: The cursor of the last event that was printed.
    """

    def __init__(self, handle: JobHandle[Any, Any], events: EventStream, *, json: bool, join: bool) -> None:
        self.place = events.cursor
        self._handle = handle
        self._events = events
        self._json = json
        self._join = join
        self._broken = False  # whether the last line on standard output has no end yet

    async def run(self) -> int:
        """Print until the end, and return the exit status that says how the job ended."""
        while True:
            try:
                event = await self._events.receive()
            except StreamGap as gap:
                note(f"events {gap.first} to {gap.last} are not kept any more")
                continue
            except trio.EndOfChannel:
                break
            self._print(event)
            self.place = event.seq
        return ended_status((await self._handle.snapshot()).state)

    def close(self) -> None:
        """End the last line."""
        if self._broken:
            print(flush=True)
            self._broken = False

    def _print(self, event: Event) -> None:
        if self._json:
            json_line(event)
        elif event.kind is not Kind.TOKEN:
            self.close()
            note(_event_line(event))
        elif self._join:
            print(shown(event.data), end="", flush=True)
            self._broken = True
        else:
            print(shown(event.data), flush=True)


def _event_line(event: Event) -> str:
    data = event.data
    if isinstance(data, Progress):
        total = "" if data.total is None else f" of {data.total:g}"
        text = f"{data.done:g}{total}" + (f": {data.message}" if data.message else "")
    else:
        text = describe_event(event)
    again = "; what came before is void" if event.kind is Kind.STARTED and event.attempt > 1 else ""
    return f"[{event.seq}] {event.kind}{': ' if text else ''}{text}{again}"
