"""`trio-jobs demo`: run some real jobs and watch them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter, Token

_LONGEST = 3600.0


def _to_seconds(_: Any, tokens: Sequence[Token]) -> float:
    text = tokens[0].value
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _LONGEST:
        raise ValueError(f"takes seconds, more than 0 and at most {_LONGEST:g}; got {text!r}")
    return seconds


def demo(
    *files: Annotated[
        str, Parameter(name="FILE", help="a text file; by default, the project's own documents")
    ],
    seconds: Annotated[
        float | None,
        Parameter(
            converter=_to_seconds,
            n_tokens=1,
            metavar="S",
            help="about how long it takes (default: 10 on a terminal, 3 otherwise)",
        ),
    ] = None,
    page: Annotated[
        bool,
        Parameter(help="serve the live page meanwhile, to browsers on this machine (needs trio-jobs[serve])"),
    ] = True,
) -> int:
    """Run real jobs at once and watch what they stream.

    One for each text file writes new text from the file's word pairs; others run a child process, fail and
    resume, time out, and are cancelled. Live on a terminal, plain lines in a pipe. Ctrl-C stops everything.

    Exit status: 0 if each job ended as it was meant to, 1 if one did not, 2 for bad arguments or files,
    128 + N if signal N stopped it (Ctrl-C: 130).
    """
    from ..demo import run

    return run(files, seconds, page=page)
