"""Keep what handlers raised in this process, so that the error of a failed job can show where it failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from .._common.errors import ErrorRecord
    from ..stores.contract import Claim

E = TypeVar("E", bound=Exception)
KEPT: Final = 100


class Raised:
    """Keeps the exceptions of the last `KEPT` attempts that failed here.

    Their number is bounded, as each keeps all that the variables of its handler hold.
    """

    def __init__(self) -> None:
        self._errors: dict[tuple[str, int], BaseException] = {}

    def add(self, claim: Claim, error: BaseException) -> None:
        """Keep the exception of an attempt."""
        self._errors[claim.submission.id, claim.attempt] = error
        if len(self._errors) > KEPT:
            del self._errors[next(iter(self._errors))]

    def get(self, job_id: str, attempt: int) -> BaseException | None:
        """Return the exception of an attempt, if it is still kept."""
        return self._errors.get((job_id, attempt))


def chained(error: E, raised: BaseException | None, record: ErrorRecord | None) -> E:
    """Return `error` with the handler's exception as its cause, or with a note of its text.

    Args:
        error: The error of a job that did not complete.
        raised: The exception of its handler, if it is kept here.
        record: The same as text.
    """
    if raised is not None:
        error.__cause__ = raised
    elif record is not None and record.traceback:
        error.add_note(f"Where the handler raised it:\n{record.traceback.rstrip()}")
    return error
