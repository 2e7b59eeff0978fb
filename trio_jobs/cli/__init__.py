"""The command line. It needs the extra `cli`; nothing else in the package imports it.

Its files, in the order in which they tell the story:

    faults, signals, escape, durations    errors, signals, text
    options, output, load                 what the user types, and what is printed
    ending, reading, opening              how a job ended; what is asked of what is only read; opening that
    portal                                calls of what is asynchronous from a thread
    snapshot, database, server            a file, read at one moment; a database; a server
    watchdog, working, worker             running jobs
    tokens, server_options, serve, submit serving and submitting them
    listing, show, stream                 watching them
    tailing, live                         what `top` shows, and how
    migrate, copy, copying                the schema in a database; from a file to one
    cancel, pause, prune, check, schedules, demo   the other commands
    app                                   all of it as one program
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The arguments; those of the process by default.

    Returns:
        The exit status.
    """
    try:
        from .app import run
    except ImportError as error:
        from .faults import missing

        fault = missing(error)
        print(f"trio-jobs: {fault}", file=sys.stderr)
        return fault.status
    return run(sys.argv[1:] if arguments is None else arguments)
