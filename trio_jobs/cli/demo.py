"""`trio-jobs demo`: run some real jobs and watch them."""

from __future__ import annotations

import logging
import sys
from typing import Annotated, Final

import trio
from cyclopts import Parameter

from .faults import BAD_INPUT, FAILED, Fault, Stopped
from .options import Seconds
from .output import console, forget_output, note, prepare
from .signals import stopped_by_signals

_LONGEST: Final = 3600.0
_TO_WATCH, _TO_LOG = 10.0, 3.0


async def demo(
    *files: Annotated[str, Parameter(name="FILE")],
    seconds: Seconds | None = None,
    page: bool = True,
) -> int:
    """Run real jobs at once and watch what they stream.

    One for each text file writes new text from the file's word pairs; others run a child process, fail and
    resume, time out, and are cancelled. Live on a terminal, plain lines in a pipe. Ctrl-C stops everything.

    Exit status: 0 if each job ended as it was meant to, 1 if one did not, 2 for bad arguments or files,
    128 + N if signal N stopped it (Ctrl-C: 130).

    Args:
        files: Text files; by default, the project's own documents.
        seconds: About how long it takes; by default, 10 on a terminal, 3 otherwise.
        page: Serve the live page meanwhile, to browsers on this machine (needs trio-jobs[serve]).
    """
    from ..demo.files import BadFile, sources
    from ..demo.live import LiveView
    from ..demo.place import place
    from ..demo.play import play
    from ..demo.screen import Plain, summary

    if seconds is not None and not 0 < seconds <= _LONGEST:
        raise Fault(f"--seconds takes more than 0 and at most {_LONGEST:g}; got {seconds:g}")
    # The view shows how each job ended, those that are to fail too: the log would only say it again.
    logging.getLogger("trio_jobs.job").addHandler(logging.NullHandler())
    try:
        texts = sources(files)
    except BadFile as error:
        note(f"trio-jobs demo: {error}")
        return BAD_INPUT
    prepare("replace")  # by one character, so that the columns stay
    terminal = console()
    live = terminal.is_terminal and not terminal.is_dumb_terminal
    screen = LiveView(terminal) if live else Plain(sys.stdout)
    seconds = seconds or (_TO_WATCH if live else _TO_LOG)
    status, began = FAILED, trio.current_time()
    try:
        try:
            async with stopped_by_signals():
                rows = await play(texts, seconds, screen, place(), page=page)
        except Stopped:
            print("Stopped: nothing is left running. The same command goes on from here.", flush=True)
            raise
        screen.summary(summary(rows, trio.current_time() - began))
        status = 0 if all(row.as_intended for row in rows) else FAILED
    except* BrokenPipeError:  # the reader has left, as in `trio-jobs demo | head`
        forget_output()
    return status
