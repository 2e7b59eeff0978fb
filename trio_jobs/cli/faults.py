"""What goes wrong foreseeably, told on one line, and the exit status that says so."""

from __future__ import annotations

from typing import Final

from .._common.error_text import leaves
from .._common.errors import InvalidPayload, KeyConflict, TrioJobsError, UnknownHandler, UnknownJob

FAILED: Final = 1
BAD_INPUT: Final = 2
CANCELLED: Final = 3
BY_SIGNAL: Final = 128
INTERRUPTED: Final = BY_SIGNAL + 2
NOBODY_READS: Final = BY_SIGNAL + 13
_CALLERS: Final = (InvalidPayload, KeyConflict, UnknownHandler, UnknownJob)


class Fault(Exception):
    """Something foreseeable is wrong; the text names it and says what to do.

    Attributes:
        status: The exit status.
    """

    def __init__(self, text: str, status: int = BAD_INPUT) -> None:
        super().__init__(text)
        self.status = status


class Stopped(Exception):
    """A signal asked the command to stop, and it did so in order.

    Attributes:
        status: The exit status.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.status = BY_SIGNAL + number


def told(error: BaseException) -> Fault | None:
    """Return an error as what a user is told; None if it was not foreseen, and is a mistake of ours.

    Args:
        error: What was raised; a group counts if each of its leaves is foreseen, by the first of them.
    """
    found = [_told(leaf) for leaf in leaves(error)]
    return None if None in found or not found else found[0]


def _told(error: BaseException) -> Fault | None:
    if isinstance(error, Fault):
        return error
    if isinstance(error, TrioJobsError):
        return Fault(str(error), BAD_INPUT if isinstance(error, _CALLERS) else FAILED)
    if isinstance(error, ModuleNotFoundError) and _top(error) in _EXTRAS:
        return missing(error)
    if isinstance(error, MemoryError):
        return Fault("out of memory; give it more, see ulimit -v", FAILED)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename is not None else ""
        return Fault(f"{where}{error.strerror or error}", FAILED)
    return None


_EXTRAS: Final = {
    **dict.fromkeys(("apsw", "cyclopts", "msgspec", "rich"), "cli"),
    **dict.fromkeys(("h11", "starlette", "trio_websocket", "wsproto"), "serve"),
}


def _top(error: ImportError) -> str:
    return (error.name or "").partition(".")[0]


def missing(error: ImportError) -> Fault:
    """Return the fault that something of an extra is not installed."""
    extra = _EXTRAS.get(_top(error), "cli")
    who = {"cli": "the command line", "serve": "serving"}[extra]
    return Fault(f"{who} needs the extra: pip install 'trio-jobs[{extra}]' ({error})", FAILED)
