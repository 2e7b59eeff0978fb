"""Print lines and tables, styled on a terminal and plain in a pipe, and JSON for programs.

The text may come from jobs: it is made harmless for terminals here.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, TextIO, cast

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .._json.records import plain
from .escape import as_json, lines, one_line

STYLES: Final[Mapping[str, str]] = {
    "queued": "blue",
    "running": "cyan",
    "retrying": "yellow",
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
}
_NARROW: Final = 24  # what a column keeps of a terminal's width, if it needs it


def prepare(errors: str = "backslashreplace") -> None:
    """Have characters that the locale's encoding lacks printed in another way, in place of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(cast("object", stream), io.TextIOWrapper):
            cast("io.TextIOWrapper[Any]", stream).reconfigure(errors=errors)


def forget_output() -> None:
    """Discard what is still in the buffers, so that Python does not report it at exit."""
    for output in (sys.stdout, sys.stderr):
        try:
            output.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())


def on_terminal() -> bool:
    """Return whether standard output is a terminal."""
    stream = cast("TextIO | None", sys.stdout)
    return stream is not None and stream.isatty()


def console() -> Console:
    """Return the console for standard output: without any control codes unless it is a terminal."""
    if on_terminal():
        return Console(highlight=False, markup=False, emoji=False)
    return Console(
        highlight=False, markup=False, emoji=False, force_terminal=False, color_system=None, width=100
    )


def dimmed(text: str, stream: TextIO) -> str:
    """Return a text as it is dimmed on a terminal; elsewhere, and for who wants no colours, as it is."""
    plain_ = not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if plain_ else f"\x1b[2m{text}\x1b[22m"


def line(text: str, style: str = "") -> None:
    """Print a text of one or more lines; control characters but line ends and tabs are escaped."""
    text = lines(text)
    if style and on_terminal():
        console().print(Text(text, style), soft_wrap=True)
    else:
        print(text)


def json_line(record: Any) -> None:
    """Print a record or another value as one line of JSON, at once."""
    print(as_json(plain(record)), flush=True)


def say(text: str, record: Any, *, json: bool) -> None:
    """Print a text, or in its place a record as JSON."""
    if json:
        json_line(record)
    else:
        line(text)


def note(text: str) -> None:
    """Print a line on standard error, at once."""
    print(one_line(text), file=sys.stderr, flush=True)


def table(names: Sequence[str], rows: Sequence[Sequence[str]], state: int | None = None) -> None:
    """Print a table.

    Args:
        names: Of its columns. On a terminal the last one makes room, if there is not enough.
        rows: A text for each column.
        state: Which column has a state, to be coloured.
    """
    safe = [[one_line(cell) for cell in row] for row in rows]
    if on_terminal():
        console().print(_drawn(names, safe, state))
    else:
        _plain(names, safe)


def _drawn(names: Sequence[str], rows: Sequence[Sequence[str]], state: int | None) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for place, name in enumerate(names):
        last = place == len(names) - 1
        width = min(_NARROW, max(cell_len(row[place]) for row in [names, *rows]))
        drawn.add_column(name, no_wrap=True, overflow="ellipsis", min_width=1 if last else width)
    for row in rows:
        drawn.add_row(
            *(
                Text(cell, STYLES.get(cell.partition(" ")[0], "") if place == state else "")
                for place, cell in enumerate(row)
            )
        )
    return drawn


def _plain(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    everything = [names, *rows]
    widths = [max(cell_len(row[place]) for row in everything) for place in range(len(names))]
    for row in everything:
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        print("  ".join(padded).rstrip())
