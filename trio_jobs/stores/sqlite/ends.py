"""The verbs that end jobs and forget them, each as what it does in one transaction; see `verbs`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import attrs

from ..._common.error_text import one_line
from ..._common.errors import IllegalTransition, LeaseLost, UnknownJob
from ..._common.states import Reason, State, Transition, advance
from ..._json.stored import encode_error, encode_event
from ..._model.job import KIND_OF, Ended, Kind
from ..contract import CancelAnswer, Outcome
from ..rules import Conclusion, conclude, not_started, worker_lost
from . import chunks
from .group import FOREVER, Transaction

logger = logging.getLogger("trio_jobs")
BATCH: Final = 500
"""How many jobs a verb that may have much to do handles in one transaction, so that others get their turn."""


@attrs.frozen
class Running:
    """A job that runs, as it stands: the row of `running`."""

    number: int
    parent: str | None
    seq: int
    appended: int
    kept: int
    bytes: int
    cancel_requested: float | None
    cancel_message: str | None
    attempt: int
    spent: int
    children: int  # whether any of them is open


def total(tx: Transaction, query: str, **values: Any) -> int:
    """Return the number that a statement gives; 0 for nothing."""
    row = tx.one(query, **values)
    return int(row[0] or 0) if row else 0


def running(tx: Transaction, job_id: str, attempt: int) -> Running:
    """Return the job, if it runs that attempt.

    Raises:
        LeaseLost: It does not.
    """
    row = tx.one("running", id=job_id, attempt=attempt)
    if row is None:
        raise LeaseLost(job_id, attempt)
    return Running(*row)


# ------------------------------------------------------------ ends


def finish(tx: Transaction, job_id: str, attempt: int, outcome: Outcome) -> State:
    """End a running attempt, and return the job's state now."""
    return _conclude(tx, running(tx, job_id, attempt), outcome)


def _conclude(tx: Transaction, job: Running, outcome: Outcome) -> State:
    done = conclude(outcome, asked=job.cancel_requested is not None, message=job.cancel_message)
    if job.children:
        for (child,) in list(tx.run("open_children", number=job.number)):
            _end(tx, child, State.RUNNING, Conclusion(Transition.CANCELLED, Ended(Reason.PARENT)))
    return _end(tx, job.number, State.RUNNING, done, outcome.result)


def _end(tx: Transaction, number: int, state: State, end: Conclusion, result: bytes | None = None) -> State:
    """Leave a state, and let the oldest ended jobs go when too many are kept."""
    after, ended = advance(state, end.transition), end.ended
    row = tx.one(
        f"end {end.transition}",
        number=number,
        state=after,
        reason=None if ended is None else ended.reason,
        message=None if ended is None else ended.message,
        error=_text(None if ended is None else encode_error(ended.error)),
        result=_text(result),
        finished=tx.now if after.over else None,
        due=None if end.delay is None else tx.now + end.delay,
        unspent=end.unspent,
    )
    if row is None:
        raise IllegalTransition(state, end.transition)
    job_id, seq, attempt, *snapshot = row
    kind = KIND_OF[end.transition]
    data = result or b"null" if ended is None else encode_event(kind, ended)
    chunks.add(tx, number, seq, attempt, kind, data)
    tx.grown.append(job_id)
    if after.over:
        tx.ended[job_id] = tuple(snapshot)
        _keep_few(tx)
    return after


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode()


def request_cancel(tx: Transaction, job_id: str, message: str | None, grace: float) -> CancelAnswer:
    """Cancel a job that waits; mark one that runs."""
    row = tx.one("cancellable", id=job_id)
    if row is None:
        raise UnknownJob(job_id)
    number, word, requested, _, seq, attempt = row
    state = State(word)
    if state.over:
        return "already_over"
    if requested is None:
        tx.run("request_cancel", number=number, now=tx.now, message=message, grace=grace)
        data = encode_event(Kind.CANCEL_REQUESTED, message)
        chunks.add(tx, number, seq + 1, attempt, Kind.CANCEL_REQUESTED, data)
        tx.grown.append(job_id)
    tx.run("shorten_grace", number=number, grace=grace)
    if state is State.RUNNING:
        return "requested"
    _end(tx, number, state, Conclusion(Transition.CANCELLED, Ended(Reason.USER, message)))
    return "cancelled"


def sweep(tx: Transaction) -> int:
    """End what waited too long, take back what no worker holds, and return how many jobs that were.

    A job of which that cannot be done, as its row makes no sense, is left as it is, and looked at no more.
    """
    tx.check_compat()
    expired = list(tx.run("expired", now=tx.now, limit=BATCH))
    for number, limit in expired:
        end = Conclusion(Transition.EXPIRED, not_started(limit))
        _by_itself(tx, number, partial(_end, tx, number, State.QUEUED, end))
    lapsed = list(tx.run("lapsed", heard=min(tx.heard, tx.now), limit=BATCH))
    for *fields, attempts in lapsed:
        job = Running(*fields)
        lost = worker_lost(job.spent, attempts, asked=job.cancel_requested is not None)
        _by_itself(tx, job.number, partial(_conclude, tx, job, lost))
    return len(expired) + len(lapsed)


def _by_itself(tx: Transaction, number: int, work: Callable[[], object]) -> None:
    if (error := tx.alone(work)) is not None:
        job_id = tx.one("id_of", number=number)
        logger.error("job %s cannot be ended, and is left as it is: %s", *(job_id or "?"), one_line(error))
        tx.run("leave_alone", number=number)


# ------------------------------------------------------------ going


def remove(tx: Transaction, job_id: str) -> None:
    """Forget a job that has ended."""
    row = tx.one("cancellable", id=job_id)
    if row is None:
        raise UnknownJob(job_id)
    if not State(row[1]).over:
        raise IllegalTransition(State(row[1]), "removed", "; cancel it first, or wait for its end")
    _forget(tx, row[0])


def prune(tx: Transaction, before: float) -> int:
    """Forget the oldest jobs that ended before a moment, and return how many these were."""
    old = list(tx.run("ended_before", before=before, limit=BATCH))
    for (number,) in old:
        _forget(tx, number)
    return len(old)


def _keep_few(tx: Transaction) -> None:
    keep = tx.limits.keep
    if keep.finished >= FOREVER:
        return
    many = total(tx, "count_ended") - keep.finished
    if many > 0:
        for (number,) in list(tx.run("oldest_ended", limit=many)):
            _forget(tx, number)


def _forget(tx: Transaction, number: int) -> None:
    for (job_id,) in tx.run("id_of", number=number):
        tx.grown.append(job_id)
        tx.ended[job_id] = None
    tx.write_log()
    tx.run("forget_events", number=number)
    tx.run("forget_job", number=number)
