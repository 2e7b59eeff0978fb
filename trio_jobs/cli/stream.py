"""`trio-jobs stream`: print what a job sends, live, from any cursor on."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated, Any, TextIO

import attrs
import trio
from cyclopts import Parameter

from .._common.errors import StreamGap
from .._model.job import Event, Kind, Progress
from .._registry.address import without_password
from .._watching.streams import EventStream
from .ending import ENDED_STATUS
from .escape import lines, shown
from .faults import Fault, Stopped
from .opening import open_jobs, resolve
from .options import DEFAULT_STORE, Id, Jobs, Json, is_server
from .output import dimmed, json_line, note
from .show import describe_event
from .signals import stopped_by_signals


async def stream(
    job_id: Id,
    /,
    *,
    store: Jobs = DEFAULT_STORE,
    after: Annotated[int, Parameter(metavar="N")] = 0,
    join: Annotated[bool, Parameter(negative=())] = False,
    json: Json = False,
) -> int:
    """Print what a job sends, live: each token on a line, and its states on standard error.

    Tokens that are reasoning, as {"reasoning": "…"}, are on standard error too.

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
    printer = _Printer(after, json=json, join=join)
    try:
        async with stopped_by_signals(), open_jobs(store) as jobs:
            handle = await jobs.get(found)
            async with handle.events(after, policy="gap") as events:
                await _read(events, printer)
            return ENDED_STATUS[(await handle.snapshot()).state]
    except StreamGap as gap:
        raise Fault(f"--after {after} is ahead of the log, which has come to {gap.oldest}") from gap
    except Stopped:
        option = "--url" if is_server(store) else "--store"
        where = "" if store == DEFAULT_STORE else f" {option} {shlex.quote(without_password(store))}"
        note(f"to go on: trio-jobs stream {found} --after {printer.place}{where}")
        raise


async def _read(events: EventStream, printer: _Printer) -> None:
    try:
        while True:
            try:
                event = await events.receive()
            except StreamGap as gap:
                note(f"events {gap.first} to {gap.last} are not kept any more")
                continue
            except trio.EndOfChannel:
                break
            printer.print(event)
    finally:
        printer.end_line()


@attrs.define
class _Printer:
    """Prints the events of a job.

    Attributes:
        place: The cursor of the last event that was printed.
        json: Whether each event is printed as a line of JSON.
        join: Whether no line end is printed behind a token.
    """

    place: int
    json: bool = attrs.field(kw_only=True)
    join: bool = attrs.field(kw_only=True)
    _broken: TextIO | None = None  # where the last line has no end yet

    def end_line(self) -> None:
        """End the last line."""
        if self._broken is not None:
            print(file=self._broken, flush=True)
            self._broken = None

    def print(self, event: Event) -> None:
        """Print an event."""
        if self.json:
            json_line(event)
        elif event.kind is not Kind.TOKEN:
            self.end_line()
            note(_event_line(event))
        else:
            self._print_token(event.data)
        self.place = event.seq

    def _print_token(self, data: Any) -> None:
        from ..serving.fronts.said import said_in

        said = said_in(data)
        thought = said.text if said is not None and said.kind == "reasoning" else None
        to = sys.stdout if thought is None else sys.stderr
        if self._broken is not to:
            self.end_line()
        text = shown(data) if thought is None else dimmed(lines(thought), to)
        print(text, end="" if self.join else "\n", file=to, flush=True)
        self._broken = to if self.join else None


def _event_line(event: Event) -> str:
    data = event.data
    if isinstance(data, Progress):
        total = "" if data.total is None else f" of {data.total:g}"
        text = f"{data.done:g}{total}" + (f": {data.message}" if data.message else "")
    else:
        text = describe_event(event)
    again = "; what came before is void" if event.kind is Kind.STARTED and event.attempt > 1 else ""
    return f"[{event.seq}] {event.kind}{': ' if text else ''}{text}{again}"
