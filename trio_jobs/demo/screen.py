"""What the demo shows: plain lines, and the summary at the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TextIO

import attrs
import trio
from rich.cells import cell_len, set_cell_size

from .._model.job import Event, Kind
from .rows import NAME_WIDTH, Row, describe, shorten, tail

WIDTH = 79
_STREAMED = "> "


@attrs.define(eq=False)
class Plain:
    """State changes and streamed words as lines of text, without control codes.

    Attributes:
        out: Where the lines go.
    """

    out: TextIO
    _began: float = attrs.field(factory=trio.current_time)
    _waiting: dict[Row, str] = attrs.field(factory=dict[Row, str])

    async def run(self, rows: Sequence[Row]) -> None:
        """Do nothing: a line is written when its event comes."""

    def say(self, text: str) -> None:
        """Write a line."""
        print(text, file=self.out, flush=True)

    def summary(self, lines: Iterable[tuple[str, Row | None]]) -> None:
        """Write the lines of the summary below an empty one."""
        print("", *(line for line, _ in lines), sep="\n", file=self.out, flush=True)

    def event(self, row: Row, event: Event) -> None:
        """Write what an event says; words are collected until they fill a line."""
        if event.kind is Kind.TOKEN:
            self._collect(row, row.recent[-1])
        elif event.kind in {Kind.STARTED, Kind.CANCEL_REQUESTED, Kind.RETRIED} or event.kind.ends:
            self._flush(row)
            what = "" if event.kind is Kind.CANCEL_REQUESTED else str(row.state)
            self._line(row, ": ".join(filter(None, (what, describe(event)))))

    def _collect(self, row: Row, text: str) -> None:
        waiting = self._waiting.get(row)
        longer = text if waiting is None else f"{waiting}{row.between}{text}"
        if waiting is not None and cell_len(self._start(row) + _STREAMED + longer) > WIDTH:
            self._flush(row)
            longer = text
        self._waiting[row] = longer

    def _flush(self, row: Row) -> None:
        if row in self._waiting:
            self._line(row, _STREAMED + self._waiting.pop(row))

    def _start(self, row: Row) -> str:
        return f"{trio.current_time() - self._began:5.1f}s  {column(row.name)}  "

    def _line(self, row: Row, text: str) -> None:
        print(shorten(self._start(row) + text, WIDTH), file=self.out, flush=True)


def column(name: str) -> str:
    """Return a name in exactly the width of its column."""
    return set_cell_size(tail(name, NAME_WIDTH), NAME_WIDTH)


def summary(rows: Sequence[Row], seconds: float) -> list[tuple[str, Row | None]]:
    """Return the lines of the summary, each with the row that it is about."""
    ends = [str(row.end or row.state) for row in rows]
    wrong = sum(not row.as_intended for row in rows)
    verdict = f"{wrong} NOT as intended" if wrong else "all as intended"
    width = max(map(len, [verdict, *ends]))
    lines: list[tuple[str, Row | None]] = [
        (f"{column('job')}  {'end':{width}}  attempts  tokens  seconds", None)
    ]
    for row, end in zip(rows, ends, strict=True):
        numbers = f"{row.attempt:8}  {row.tokens:6}  {row.seconds:7.1f}"
        lines.append((f"{column(row.name)}  {end:{width}}  {numbers}", row))
        if not row.as_intended:
            intended = f"{row.intended}, attempts: {row.intended.attempts}"
            lines.append((shorten(f"  intended: {intended}. {row.note}", WIDTH), row))
    attempts, tokens = sum(row.attempt for row in rows), sum(row.tokens for row in rows)
    total = f"{column(f'{len(rows)} jobs')}  {verdict:{width}}  {attempts:8}  {tokens:6}  {seconds:7.1f}"
    return [*lines, (total, None)]
