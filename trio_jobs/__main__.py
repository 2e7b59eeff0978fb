"""The command line: `trio-jobs`, or `python -m trio_jobs`."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence

_INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended
_LONGEST = 3600.0


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(f"takes seconds, more than 0 and at most {_LONGEST:g}; got {text!r}")
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trio-jobs",
        description="Structured-concurrency jobs for Trio.",
        epilog="Try 'trio-jobs demo' to see some run.",
    )
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="run some real jobs and watch them",
        description="Run real jobs at once and watch what they stream: one for each text file writes new "
        "text from the file's word pairs; others run a child process, fail and resume, time out, and are "
        "cancelled. Live on a terminal, plain lines in a pipe. Ctrl-C stops everything.",
        epilog="Exit status: 0 if each job ended as it was meant to, 1 if one did not, "
        "2 for bad arguments or files, 128 + N if signal N stopped it (Ctrl-C: 130).",
    )
    demo.add_argument(
        "files", nargs="*", metavar="FILE", help="a text file (default: the project's own documents)"
    )
    demo.add_argument(
        "--seconds",
        type=_seconds,
        metavar="S",
        help="about how long it takes (default: 10 on a terminal, 3 otherwise)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The arguments; those of the process by default.

    Returns:
        The exit status.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.command is None:
        parser.print_help()
        return 0
    try:
        from .demo import run

        return run(given.files, given.seconds)
    except KeyboardInterrupt:
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
