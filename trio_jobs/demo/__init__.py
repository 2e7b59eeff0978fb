"""`trio-jobs demo`: real jobs, watched through the public API.

Its modules:

    handlers    the jobs
    files       the texts they work on
    rows        what a reader of a job's log knows of it
    screen      plain lines, and the summary
    live        a table on a terminal (needs rich)
    place       the file that the jobs are kept in
    page        the same jobs in a browser
    play        submit them all, read their logs, cancel one
"""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

import attrs
import trio

from .files import BadFile, Source, sources
from .place import place
from .play import play
from .rows import printable
from .screen import Plain, summary

if TYPE_CHECKING:
    from rich.console import Console

_ALL_ENDED_AS_INTENDED, _SOME_DID_NOT, _BAD_INPUT = 0, 1, 2
_BY_SIGNAL = 128
_SECONDS_TO_WATCH, _SECONDS_TO_LOG = 10.0, 3.0
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@attrs.define
class _Stop:
    """Which signal asked the demo to stop, if one did."""

    signal: int | None = None


def run(names: Sequence[str], seconds: float | None = None, *, page: bool = True) -> int:
    """Run the demo, and show it on standard output.

    Args:
        names: The text files to work on; the project's own documents if there are none.
        seconds: About how long it takes; by default, longer on a terminal than in a pipe.
        page: Whether the jobs are served to a browser meanwhile, on this machine only.

    Returns:
        The exit status, as `trio-jobs demo --help` explains it.
    """
    # The view shows how each job ended, those that are to fail too: the log would only say it again.
    logging.getLogger("trio_jobs.job").addHandler(logging.NullHandler())
    try:
        texts = sources(names)
    except BadFile as error:
        print(f"trio-jobs demo: {printable(str(error))}", file=sys.stderr)
        return _BAD_INPUT
    out: TextIO = sys.stdout
    if isinstance(out, io.TextIOWrapper):
        cast("io.TextIOWrapper[Any]", out).reconfigure(errors="replace")
    console = _terminal()
    if seconds is None:
        seconds = _SECONDS_TO_LOG if console is None else _SECONDS_TO_WATCH
    status = _SOME_DID_NOT
    try:
        status = trio.run(partial(_run, page=page), texts, seconds, console, place())
    except* BrokenPipeError:
        # Nobody reads any more, as in `trio-jobs demo | head`: no reason to complain, at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
    return status


async def _run(
    texts: Sequence[Source], seconds: float, console: Console | None, file: Path, *, page: bool
) -> int:
    stop = _Stop()
    began = trio.current_time()
    # Not KeyboardInterrupt: that would come out of whatever line runs, perhaps half-way through a frame.
    with trio.open_signal_receiver(*_SIGNALS) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_wait_for_signal, signals, nursery.cancel_scope, stop)
            if console is None:
                rows = await play(texts, seconds, Plain(sys.stdout), file, page=page)
            else:
                from .live import LiveView

                rows = await play(texts, seconds, LiveView(console), file, page=page)
            nursery.cancel_scope.cancel()
    if stop.signal is not None:
        print("Stopped: nothing is left running. The same command goes on from here.", flush=True)
        return _BY_SIGNAL + stop.signal
    lines = summary(rows, trio.current_time() - began)
    if console is None:
        print("", *(line for line, _ in lines), sep="\n", flush=True)
    else:
        from .live import print_summary

        print_summary(console, lines)
    intended = all(row.as_intended for row in rows)
    return _ALL_ENDED_AS_INTENDED if intended else _SOME_DID_NOT


async def _wait_for_signal(signals: AsyncIterator[int], scope: trio.CancelScope, stop: _Stop) -> None:
    async for number in signals:
        stop.signal = number
        scope.cancel(reason="a signal")
        return


def _terminal() -> Console | None:
    """Return the terminal to show the live view on; None if lines are to be written instead."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    try:
        from rich.console import Console
    except ImportError:
        print("No live view without rich: pip install 'trio-jobs[cli]'", file=sys.stderr)
        return None
    console = Console()
    return console if console.is_terminal and not console.is_dumb_terminal else None
