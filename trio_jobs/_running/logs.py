"""Log the starts and ends of attempts in Python's log, as `trio_jobs.job`.

The text of a handler's error comes from outside, so it is escaped: no part of it can look like another line.
"""

from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING, Final

from .._common.error_text import indented, one_line
from .._common.states import UNSPENT, Reason, State
from .._model.job import Ended

if TYPE_CHECKING:
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
        facts = _facts_of(attempt.claim, State.RUNNING, None)
        logger.info("%s: attempt %d started", _named(facts), attempt.claim.attempt, extra=facts)


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
        _log(level, state, ended, _facts_of(attempt.claim, state, ended))


def log_reclaimed(lost: Reclaimed) -> None:
    """Log that a sweep has ended an attempt whose worker was lost, as a warning whatever follows."""
    ended = Ended(Reason.WORKER_LOST, f"its worker {lost.worker} was lost")
    facts = _facts(lost.job_id, lost.handler, lost.attempt, lost.state, ended)
    facts["worker"] = one_line(lost.worker)
    _log(logging.WARNING, lost.state, ended, facts)


def _log(level: int, state: State, ended: Ended | None, facts: dict[str, object]) -> None:
    logger.log(level, "%s %s%s", _named(facts), _VERBS[state], _why(facts, ended), extra=facts)


def _why(facts: dict[str, object], ended: Ended | None) -> str:
    text = f" after attempt {facts['attempt']}"
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


def _named(facts: dict[str, object]) -> str:
    return f"job {facts['job_id']} ({facts['handler']})"


def _facts_of(claim: Claim, state: State, ended: Ended | None) -> dict[str, object]:
    return _facts(claim.submission.id, claim.submission.handler, claim.attempt, state, ended)


def _facts(job_id: str, handler: str, attempt: int, state: State, ended: Ended | None) -> dict[str, object]:
    """Return the fields of a line: those of the job, and why the attempt ended unless it completed."""
    facts: dict[str, object] = {
        "job_id": job_id,
        "handler": one_line(handler),
        "attempt": attempt,
        "state": str(state),
    }
    if ended is not None:
        facts["reason"] = str(ended.reason)
        if ended.message or ended.error:
            facts["error"] = one_line(ended.message or ended.error)
        if ended.error is not None and ended.reason not in UNSPENT:
            facts["traceback"] = ended.error.traceback
    return facts
