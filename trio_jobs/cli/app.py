"""The commands as one program: what is typed is parsed by cyclopts, and faults are told on one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from cyclopts import App, CycloptsError

from .cancel import cancel
from .check import check
from .demo import demo
from .escape import one_line
from .faults import BAD_INPUT, INTERRUPTED, NOBODY_READS, Stopped, told
from .listing import list_jobs, stats
from .output import console, note, on_terminal, prepare
from .prune import prune
from .serve import serve
from .show import show
from .stream import stream
from .submit import submit
from .worker import worker

_HELP: Final = "Structured-concurrency jobs for Trio."
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
    for command in (worker, serve, submit, show, stream, cancel, prune, stats, check, demo):
        app.command(command, help_epilogue="")
    app.command(list_jobs, name="list", help_epilogue="")
    return app


def run(arguments: Sequence[str]) -> int:
    """Run a command.

    Args:
        arguments: What was typed.

    Returns:
        The exit status.
    """
    prepare()
    try:
        status = _status(arguments)
        if sys.stdout is not None:  # it is None where it was closed
            sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
        return NOBODY_READS
    return status


def _status(arguments: Sequence[str]) -> int:
    try:
        result = program()(list(arguments))
    except CycloptsError as error:
        note(f"trio-jobs: {_said(error)}")
        return BAD_INPUT
    except Stopped as stopped:
        return stopped.status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except (Exception, BaseExceptionGroup) as error:
        fault = told(error)
        if fault is None:
            raise
        note(f"trio-jobs: {fault}")
        return fault.status
    return result if isinstance(result, int) else 0


def _said(error: CycloptsError) -> str:
    error.verbose = False
    chain = " ".join(["trio-jobs", *(error.command_chain or ())])
    text = " ".join(str(error).split()).removesuffix(".")
    return one_line(f"{text}; see '{chain} --help'")


def _forget_output() -> None:
    """Have what is still in the buffer go nowhere, so that nothing complains of it at exit."""
    for output in (sys.stdout, sys.stderr):
        try:
            output.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
