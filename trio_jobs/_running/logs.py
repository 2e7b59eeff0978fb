"""Log the starts and ends of attempts in Python's log, as `trio_jobs.job`.

The text of a handler's error comes from outside, so it is escaped: no part of it can look like another line.
"""

from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING, Final

from .._common.error_text import indented, one_line
from .._common.states import UNSPENT, Reason, State

if TYPE_CHECKING:
    from .._model.job import Ended
    from ..stores.contract import Claim, Reclaimed
    from .attempt import Attempt

logger: Final = logging.getLogger("trio_jobs.job")
_VERBS: Final = {
    State.COMPLETED: "completed",
    State.FAILED: "failed",
    State.CANCELLED: "was cancelled",
    State.RETRYING: "is to run again",
}


def log_start(attempt: Attempt) -> None:
    """Log that an attempt begins."""
    if logger.isEnabledFor(logging.INFO):
        claim = attempt.claim
        facts = _facts(claim, State.RUNNING, None)
        logger.info("%s: attempt %d started", _named(claim), claim.attempt, extra=facts)


def log_end(attempt: Attempt, state: State, ended: Ended | None) -> None:
    """Log how an attempt ended: a failure as a warning, with the traceback of the handler.

    Args:
        attempt: The attempt.
        state: The job's state now.
        ended: Why; None if it completed.
    """
    failed = ended is not None and (
        state is State.FAILED or (state is State.RETRYING and ended.reason not in UNSPENT)
    )
    level = logging.WARNING if failed else logging.INFO
    if logger.isEnabledFor(level):
        claim = attempt.claim
        facts = _facts(claim, state, ended)
        logger.log(level, "%s %s%s", _named(claim), _VERBS[state], _why(claim, ended), extra=facts)


def log_reclaimed(lost: Reclaimed) -> None:
    """Log that a sweep has ended an attempt whose worker was lost, as a warning whatever follows."""
    why = f"its worker {one_line(lost.worker)} was lost"
    facts = {
        "job_id": lost.job_id,
        "handler": one_line(lost.handler),
        "attempt": lost.attempt,
        "state": str(lost.state),
        "reason": str(Reason.WORKER_LOST),
        "error": why,
        "worker": one_line(lost.worker),
    }
    words = "job %s (%s) %s after attempt %d (%s): %s"
    verb = _VERBS[lost.state]
    logger.warning(
        words, lost.job_id, facts["handler"], verb, lost.attempt, facts["reason"], why, extra=facts
    )


def _why(claim: Claim, ended: Ended | None) -> str:
    text = f" after attempt {claim.attempt}"
    if ended is None:
        return text
    text += f" ({ended.reason})"
    if ended.delay and ended.delay != inf:
        text += f" in {ended.delay:g}s"
    if ended.message or ended.error:
        text += f": {one_line(ended.message or ended.error)}"
    if ended.error is not None and ended.reason not in UNSPENT:
        text += f"\n{indented(ended.error.traceback)}"
    return text


def _named(claim: Claim) -> str:
    return f"job {claim.submission.id} ({one_line(claim.submission.handler)})"


def _facts(claim: Claim, state: State, ended: Ended | None) -> dict[str, object]:
    """Return the fields of a line: those of the job, and why the attempt ended unless it completed."""
    new = claim.submission
    facts: dict[str, object] = {
        "job_id": new.id,
        "handler": one_line(new.handler),
        "attempt": claim.attempt,
        "state": str(state),
    }
    if ended is not None:
        facts["reason"] = str(ended.reason)
        if ended.message or ended.error:
            facts["error"] = one_line(ended.message or ended.error)
        if ended.error is not None and ended.reason not in UNSPENT:
            facts["traceback"] = ended.error.traceback
    return facts
