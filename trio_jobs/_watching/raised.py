"""What handlers raised in this process, so that an error which says that a job failed shows where it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from .._common.errors import ErrorRecord
    from ..stores.contract import Claim

E = TypeVar("E", bound=Exception)
KEPT: Final = 100


class Raised:
    """The exceptions with which the last `KEPT` attempts ended that failed here.

    They keep what the handlers' variables hold, so there must not be more of them the longer a program runs.
    """

    def __init__(self) -> None:
        self._errors: dict[tuple[str, int], BaseException] = {}

    def add(self, claim: Claim, error: BaseException) -> None:
        """Keep what an attempt ended with."""
        self._errors[claim.submission.id, claim.attempt] = error
        if len(self._errors) > KEPT:
            del self._errors[next(iter(self._errors))]

    def get(self, job_id: str, attempt: int) -> BaseException | None:
        """Return what an attempt ended with, if it is still known here."""
        return self._errors.get((job_id, attempt))


def chained(error: E, raised: BaseException | None, record: ErrorRecord | None) -> E:
    """Return `error` with what the handler raised: that exception as its cause, or a note with its text.

    Args:
        error: What says that a job did not complete.
        raised: What its handler raised, if that was here and is known still.
        record: The same as text.
    """
    if raised is not None:
        error.__cause__ = raised
    elif record is not None and record.traceback:
        error.add_note(f"Where the handler raised it:\n{record.traceback.rstrip()}")
    return error
