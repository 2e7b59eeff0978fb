"""Handle each job by itself: in the sweep, and when a damaged row is in the way of a verb."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final

from ..._common.error_text import one_line
from ..._common.states import Reason, State, Transition
from ..._model.job import Ended
from ..contract import Claimant, Outcome, Reclaimed
from ..rows import text, worker_in
from ..rules import ABANDONED, WAITING, Conclusion, not_started, worker_lost
from . import chunks, ends, lanes, looking, repair, verbs
from .group import Transaction

logger = logging.getLogger("trio_jobs")
_NO_WORKER: Final = Claimant("nobody")
AMBIGUOUS: Final = (TypeError, ArithmeticError)
"""Errors that may come from a damaged row, and as well from the arguments of the call."""


class _Undone(Exception):
    """Raised to undo something that was tried only to see whether it can be done."""


def sweep(tx: Transaction) -> tuple[int, list[Reclaimed]]:
    """Expire jobs that waited too long, and reclaim jobs whose lease lapsed.

    Returns:
        How many they were, and what was reclaimed. A damaged job that failed is not among the latter.
    """
    tx.check_compat()
    expired = [number for (number,) in tx.run("expired", now=tx.now, limit=ends.BATCH)]
    for number in expired:
        by_itself(tx, number, partial(_expire, tx, number))
    lapsed = [number for (number,) in tx.run("lapsed", heard=min(tx.judged_until, tx.now), limit=ends.BATCH)]
    reclaimed = dict[int, Reclaimed]()
    for number in lapsed:
        if not by_itself(tx, number, partial(_reclaim, tx, number, reclaimed)):
            reclaimed.pop(number, None)
    tx.run("hand_on")
    return len(expired) + len(lapsed), [*reclaimed.values()]


def _expire(tx: Transaction, number: int) -> None:
    ((_, _, waited),) = tx.run("terms", number=number)
    ends.end(tx, number, State.QUEUED, Conclusion(Transition.EXPIRED, not_started(waited)))


def _reclaim(tx: Transaction, number: int, reclaimed: dict[int, Reclaimed]) -> None:
    ((_, attempts, _),) = tx.run("terms", number=number)
    job = _running(tx, number)
    # Now, as a job that fails may be deleted.
    ((job_id, handler, begun),) = tx.run("begun", number=number, **chunks.log_ids(number))
    asked = job.cancel_requested is not None
    service = ends.restart_rule(tx, number)[0] is not None
    state = ends.settle(tx, job, worker_lost(job.losses + 1, attempts, asked=asked, service=service))
    names = text(job_id) or "", text(handler) or ""
    reclaimed[number] = Reclaimed(*names, job.attempt, worker_in(begun), state)


def _running(tx: Transaction, number: int) -> looking.Running:
    ((*fields,),) = tx.run("running_number", number=number)
    return looking.Running(*fields)


# ------------------------------------------------------------ damage


def by_itself(tx: Transaction, number: int, work: Callable[[], object]) -> bool:
    """Do something to one job only, and return whether it was done.

    If it cannot be done because the job's row is damaged, the job fails. If the job cannot even fail, it is
    left as it is, and is neither claimed nor swept any more.
    """
    fine = (type(None), _Undone)
    if not isinstance(error := tx.alone(work), fine) and _fail_children(tx, number):
        error = tx.alone(work)
    if isinstance(error, fine):
        return True
    job_id = one_line(ends.id_of(tx, number))
    logger.error("the stored row of job %s is damaged, so the job fails: %s", job_id, one_line(error))
    if (error := tx.alone(partial(_fail, tx, number, error))) is not None:
        logger.error("job %s cannot be ended, and is left as it is: %s", job_id, one_line(error))
        tx.alone(partial(_leave, tx, number))
    return False


def _fail_children(tx: Transaction, number: int) -> bool:
    """Fail each open child that cannot be ended with its parent, and return whether there was one."""
    children = [child for (child,) in tx.run("open_children", number=number)]
    return _fail_each(
        tx, {child: partial(ends.end, tx, child, State.RUNNING, ABANDONED) for child in children}
    )


def _fail(tx: Transaction, number: int, error: Exception) -> None:
    """Fail a job whose row is damaged; start it first if it waits, as only a running job can fail."""
    columns = ", ".join(repair.mend(tx, number))
    ((state, *_),) = tx.run("terms", number=number)
    if state in WAITING:
        verbs.start(tx, number, _NO_WORKER)
    if not State(state).over:
        said = f"what is stored of it is damaged: {columns or one_line(error)}"
        ended = Ended(Reason.ERROR, said)
        ends.settle(tx, _running(tx, number), Outcome(Transition.FAILED, ended=ended, received=None))


def _leave(tx: Transaction, number: int) -> None:
    repair.mend(tx, number)
    tx.run("leave_alone", number=number)


def mend_counters(tx: Transaction, _: Exception) -> bool:
    """Count all jobs anew if a counter is damaged, and return whether one was."""
    return repair.mend_totals(tx)


def mend_due(limit: int, handlers: Iterable[str], tx: Transaction, _: Exception) -> bool:
    """Fail each due job that cannot be started, and return whether anything was mended."""
    if repair.mend_totals(tx):
        return True
    found = [number for number, _ in verbs.due(tx, limit, handlers)] + lanes.due(tx, limit, handlers)
    return _fail_each(tx, {number: partial(verbs.start, tx, number, _NO_WORKER) for number in found})


def mend_held(
    held: Mapping[str, int], claims: Mapping[str, str | None], tx: Transaction, _: Exception
) -> bool:
    """Fail each job whose lease cannot be renewed, and return whether there was one."""
    found = {job_id: tx.one("number_of", id=job_id) for job_id in held}
    works = {
        row[0]: partial(verbs.heartbeat, tx, {job_id: held[job_id]}, 0.0, claims)
        for job_id, row in found.items()
        if row
    }
    return _fail_each(tx, works)


def mend_one(job_id: str, tx: Transaction, error: Exception) -> bool:
    """Mend what stopped a verb on one job, failing it if need be; return whether anything was mended."""

    def fail() -> None:
        raise error

    row = tx.one("number_of", id=job_id)
    if row is None or (isinstance(error, AMBIGUOUS) and not repair.odd(tx, row[0])):
        return False
    return repair.mend_totals(tx) or _fail_children(tx, row[0]) or not by_itself(tx, row[0], fail)


def _fail_each(tx: Transaction, works: Mapping[int, Callable[[], object]]) -> bool:
    """Fail each job to which something cannot be done, and return whether there was one."""

    def attempt(work: Callable[[], object]) -> None:
        work()
        tx.write_log()
        raise _Undone

    return False in [by_itself(tx, number, partial(attempt, work)) for number, work in works.items()]
