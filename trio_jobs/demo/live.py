"""The live view of the demo."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import trio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .._common.states import State
from .._model.job import Event
from .rows import NAME_WIDTH, Row, shorten
from .screen import column

STYLES: Final = {
    State.QUEUED: "dim",
    State.RUNNING: "cyan",
    State.RETRYING: "yellow",
    State.COMPLETED: "green",
    State.FAILED: "red",
    State.CANCELLED: "magenta",
}
_FRAME_SECONDS = 0.1
_STATE_WIDTH = 10
_BAR_WIDTH = 10
_RATE_WIDTH = 5
_GAP = 2
_ROOM_FOR_BAR = 60  # a narrower terminal has neither bar nor rate
_NOT_ROWS = 4  # the table's head, the line below it, and a last line for the cursor


class LiveView:
    """A table on a terminal that is drawn anew ten times a second.

    Args:
        console: The terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    async def run(self, rows: Sequence[Row]) -> None:
        """Draw until cancelled, then take the table away: the summary is to follow."""
        began = trio.current_time()
        # No thread of rich's own: every frame is drawn by this task.
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while True:
                seconds = trio.current_time() - began
                live.update(frame(rows, self._console, seconds), refresh=True)
                await trio.sleep(_FRAME_SECONDS)

    def say(self, text: str) -> None:
        """Write a line above the table."""
        self._console.print(text, highlight=True)

    def event(self, row: Row, event: Event) -> None:
        """Do nothing: the next frame shows it."""

    def summary(self, lines: Iterable[tuple[str, Row | None]]) -> None:
        """Print the lines of the summary, each in the colour of its row."""
        for line, row in lines:
            style = "bold" if row is None else STYLES[row.state]
            self._console.print(Text(line, style), no_wrap=True, overflow="crop")


def frame(rows: Sequence[Row], console: Console, seconds: float) -> RenderableType:
    """Return what is shown at one moment."""
    width = console.width
    wide = width >= _ROOM_FOR_BAR
    table = Table(box=None, padding=(0, _GAP, 0, 0), header_style="bold", pad_edge=False)
    table.add_column("job", width=NAME_WIDTH, no_wrap=True)
    table.add_column("state", width=_STATE_WIDTH, no_wrap=True)
    room = width - NAME_WIDTH - _STATE_WIDTH - 2 * _GAP - 1
    if wide:
        table.add_column("progress", width=_BAR_WIDTH)
        table.add_column("tok/s", width=_RATE_WIDTH, justify="right")
        room -= _BAR_WIDTH + _RATE_WIDTH + 2 * _GAP
    table.add_column("last tokens", width=max(room, 1), no_wrap=True)
    now = time.time()
    shown = rows[: max(1, console.height - _NOT_ROWS)]
    for row in shown:
        style = STYLES[row.state]
        state = f"{row.state} {row.attempt}" if row.attempt > 1 and not row.state.over else row.state
        cells: list[RenderableType] = [Text(column(row.name)), Text(state, style)]
        if wide:
            rate = row.rate(now)
            cells += [_bar(row), Text(f"{rate:.1f}" if rate else "")]
        table.add_row(*cells, _last(row, room))
    return Group(table, Text(), Text(_footer(rows, len(rows) - len(shown), seconds), "dim"))


def _bar(row: Row) -> RenderableType:
    if row.progress is None or not row.progress.total:
        return Text()
    style = STYLES[row.state]
    return ProgressBar(
        total=row.progress.total,
        completed=row.progress.done,
        width=_BAR_WIDTH,
        complete_style=style,
        finished_style=style,
    )


def _last(row: Row, room: int) -> Text:
    if row.note:
        return Text(shorten(row.note, room), STYLES[row.state])
    if row.state is State.RUNNING and not row.recent and row.progress and row.progress.message:
        return Text(shorten(f"({row.progress.message})", room), "dim")
    return Text(row.last(room), "dim" if row.state.over else "")


def _footer(rows: Sequence[Row], hidden: int, seconds: float) -> str:
    states = Counter(row.state for row in rows)
    parts = [f"{seconds:.0f} s", *(f"{states[state]} {state}" for state in State if states[state])]
    parts += [f"{hidden} not shown"] if hidden else []
    return ", ".join([*parts, "Ctrl-C stops"])
