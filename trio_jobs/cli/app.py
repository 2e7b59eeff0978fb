"""The program `trio-jobs`: cyclopts parses its arguments, and an error that was foreseen is one line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from cyclopts import App, CycloptsError, MissingArgumentError, UnknownOptionError

from .cancel import cancel
from .check import check
from .copy import backup, copy
from .demo import demo
from .escape import one_line
from .faults import BAD_INPUT, BROKEN_PIPE, INTERRUPTED, Stopped, to_fault
from .limits import limits
from .listing import list_jobs, statistics, top
from .migrate import migrate
from .options import NO_SERVER, OF_A_HANDLER, ON_A_STORE
from .output import console, forget_output, note, on_terminal, prepare
from .pause import pause, resume
from .prune import prune
from .remove import remove
from .retry import retry
from .schedules import schedules
from .send import send
from .serve import serve
from .show import explain, show
from .stream import stream
from .submit import submit
from .worker import worker

_HELP: Final = "Structured-concurrency jobs for Trio."
_NAMED: Final = {
    "copy": "trio-jobs copy sqlite:///jobs.db postgresql://host/database",
    "migrate": "trio-jobs migrate postgresql://host/database",
}
"""The commands that work on stores and take no --store, and how they are used."""
_EPILOGUE: Final = "Try 'trio-jobs demo' to see some run."


def program() -> App:
    """Return the program."""
    app = App(
        name="trio-jobs",
        help=_HELP,
        help_epilogue=_EPILOGUE,
        help_format="plaintext",
        help_formatter="default" if on_terminal() else "plain",
        version=version("trio-jobs"),
        backend="trio",
        console=console(),
        exit_on_error=False,
        print_error=False,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    looking, keeping = (
        (show, explain, stream, top, check),
        (pause, resume, prune, remove, backup, copy, migrate),
    )
    app.command(submit, usage=f"Usage: trio-jobs submit {OF_A_HANDLER}", help_epilogue="")
    for command in (worker, serve, send, cancel, retry, *looking, *keeping, demo):
        app.command(command, help_epilogue="")
    app.command(list_jobs, name="list", help_epilogue="")
    app.command(statistics, help_epilogue="")
    app.command(statistics, name="stats", show=False, help_epilogue="")
    app.command(schedules())
    app.command(limits())
    return app


def run(arguments: Sequence[str]) -> int:
    """Run a command.

    Args:
        arguments: Those of the command line, without the program's name.

    Returns:
        The exit status.
    """
    prepare()
    try:
        status = _status(arguments)
        if sys.stdout is not None:  # it is None where it was closed
            sys.stdout.flush()
    except BrokenPipeError:
        forget_output()
        return BROKEN_PIPE
    return status


def _status(arguments: Sequence[str]) -> int:
    try:
        result = program()(list(arguments))
    except CycloptsError as error:
        note(f"trio-jobs: {_usage_error(error)}")
        return BAD_INPUT
    except Stopped as stopped:
        return stopped.status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except (Exception, BaseExceptionGroup) as error:
        fault = to_fault(error)
        if fault is None:
            raise
        note(f"trio-jobs: {fault}")
        return fault.status
    return result if isinstance(result, int) else 0


def _usage_error(error: CycloptsError) -> str:
    if isinstance(error, UnknownOptionError) and error.token.keyword == "--url":  # others have it
        return NO_SERVER
    error.verbose = False
    chain, text = " ".join(error.command_chain or ()), " ".join(str(error).split())
    if isinstance(error, UnknownOptionError) and error.token.value.startswith("--url") and chain in _NAMED:
        return f"{ON_A_STORE}; name that, as in: {_NAMED[chain]}"
    if isinstance(error, MissingArgumentError) and error.keyword is None and error.argument is not None:
        meaning = error.argument.parameter.help
        text = f"{chain} needs {error.argument.name}" + (f": {meaning}" if meaning else "")
    return one_line(f"{text.removesuffix('.')}; see '{f'trio-jobs {chain}'.rstrip()} --help'")
