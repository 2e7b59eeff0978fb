"""Errors that a command foresees: each becomes one line of text and an exit status."""

from __future__ import annotations

from typing import Final

from .._common.error_text import leaves
from .._common.errors import InvalidPayload, KeyConflict, TrioJobsError, UnknownHandler, UnknownJob
from ..stores.schedules import ScheduleDeclared, UnknownSchedule

FAILED: Final = 1
BAD_INPUT: Final = 2
CANCELLED: Final = 3
BY_SIGNAL: Final = 128
INTERRUPTED: Final = BY_SIGNAL + 2
BROKEN_PIPE: Final = BY_SIGNAL + 13
_CALLERS: Final = (
    InvalidPayload,
    KeyConflict,
    ScheduleDeclared,
    UnknownHandler,
    UnknownJob,
    UnknownSchedule,
)


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


def to_fault(error: BaseException) -> Fault | None:
    """Return the fault that an error is to the user; None if it was not foreseen, and is a bug.

    Args:
        error: What was raised; a group counts if each of its leaves is foreseen, by the first of them.
    """
    found = [_leaf_to_fault(leaf) for leaf in leaves(error)]
    return None if None in found or not found else found[0]


def _leaf_to_fault(error: BaseException) -> Fault | None:
    if isinstance(error, Fault):
        return error
    if isinstance(error, TrioJobsError):
        return Fault(str(error), BAD_INPUT if isinstance(error, _CALLERS) else FAILED)
    if isinstance(error, ImportError):
        return _missing(error)
    if isinstance(error, MemoryError):
        return Fault("out of memory; give it more, see ulimit -v", FAILED)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename is not None else ""
        return Fault(f"{where}{error.strerror or error}", FAILED)
    return None


_EXTRAS: Final = {
    **dict.fromkeys(("apsw", "cyclopts", "msgspec", "rich"), "cli"),
    "psycopg": "postgres",
    **dict.fromkeys(("h11", "starlette", "trio_websocket", "wsproto"), "serve"),
}


def _top(error: ImportError) -> str:
    return (error.name or "").partition(".")[0]


def _missing(error: ImportError) -> Fault | None:
    if isinstance(error, ModuleNotFoundError) and _top(error) in _EXTRAS:
        return missing(error)
    # A part of the package that needs an extra says so itself.
    return Fault(str(error), FAILED) if "needs the extra" in str(error) else None


def missing(error: ImportError) -> Fault:
    """Return the fault for a module of an extra that is not installed."""
    extra = _EXTRAS.get(_top(error), "cli")
    what = {"cli": "the command line", "serve": "serving", "postgres": "PostgreSQL"}[extra]
    return Fault(f"{what} needs the extra: pip install 'trio-jobs[{extra}]' ({error})", FAILED)
