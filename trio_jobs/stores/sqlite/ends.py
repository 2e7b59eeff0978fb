"""The verbs that end jobs and delete them, each as a function over one transaction; see `verbs`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from ..._common.errors import IllegalTransition, LeaseLost
from ..._common.states import Reason, State, Transition
from ..._json.stored import decode_event, encode_error, encode_event, restart_of
from ..._json.values import decode
from ..._model.job import KIND_OF, REPEATED, Ended, Kind
from ..contract import CancelAnswer, Outcome
from ..rows import text
from ..rules import ABANDONED, Conclusion, Restarting, advance, cancel_answer, check_removable, conclude
from . import chunks, inbox, lanes
from .group import FOREVER, Transaction
from .looking import Running, known, running

if TYPE_CHECKING:
    from ..._model.restart import Restart

BATCH: Final = 500
"""How many jobs a verb handles in one transaction at most, so that other calls are served in between."""


def totals(tx: Transaction, query: str, **values: Any) -> tuple[int, ...]:
    """Return the numbers of jobs that a statement gives.

    Raises:
        ValueError: A number cannot be right.
    """
    found = tuple(int(jobs or 0) for jobs in tx.one(query, **values) or (0,))
    for jobs in found:
        if not 0 <= jobs <= chunks.MOST:
            raise ValueError(f"there cannot be {jobs} jobs")
    return found


def total(tx: Transaction, query: str, **values: Any) -> int:
    """Return the number of jobs that a statement gives; see `totals`."""
    return totals(tx, query, **values)[0]


def id_of(tx: Transaction, number: int) -> str:
    """Return the id of a job, as far as it can be read."""
    return text(*tx.one("id_of", number=number) or (None,)) or ""


# ------------------------------------------------------------ ends


def finish(
    tx: Transaction,
    job_id: str,
    attempt: int,
    outcome: Outcome,
    result: bytes | None = None,
    *,
    claim: str | None = None,
) -> State:
    """End a running attempt and return the job's new state; `result` is the result as JSON."""
    try:
        appended, received = outcome.appended, outcome.received
        job = running(tx, job_id, attempt, claim, appended=appended, received=received)
    except LeaseLost:
        if (known := tx.one("finished", id=job_id, attempt=attempt, claim=claim)) is None:
            raise
        return State(known[0])
    count, size = 0, 0
    if not outcome.begun:
        lanes.give_back(tx, job.number)
    if outcome.transition is Transition.COMPLETED:
        count, size = inbox.consume(tx, job, outcome.received or 0)
    state = settle(tx, job, outcome, result)
    if count:
        chunks.trim(tx, job.number, job.kept + count, job.bytes + size)
    return state


def settle(tx: Transaction, job: Running, outcome: Outcome, result: bytes | None = None) -> State:
    """End the attempt of a running job, and its open children."""
    repeated = _REPEATED.get(job.repeated or "")
    done = conclude(
        outcome,
        asked=job.cancel_requested is not None,
        message=job.cancel_message,
        last_input=job.last_input,
        before=None if repeated is None else Ended(repeated, repeats=job.repeats),
        service=_restarting(tx, job.number, outcome),
    )
    if job.children:
        for (child,) in list(tx.run("open_children", number=job.number)):
            end(tx, child, State.RUNNING, ABANDONED)
    return end(tx, job.number, State.RUNNING, done, result, received=outcome.received)


def restart_rule(tx: Transaction, number: int) -> tuple[Restart | None, float]:
    """Return how a service is restarted, None of another job, and when its attempt started."""
    options, started = tx.one("service", number=number) or ("{}", None)
    return restart_of(decode(options)), started or tx.now


def _restarting(tx: Transaction, number: int, outcome: Outcome) -> Restarting | None:
    if outcome.ended is None or outcome.ended.reason is not Reason.RESTARTED:
        return None
    rule, started = restart_rule(tx, number)
    if rule is None:
        return None
    tx.write_log()
    found = tx.run("restarts", since=tx.now - rule.within, **chunks.log_ids(number))
    reasons = [decode_event(Kind.RETRIED, *decode(data)).reason for (data,) in found]
    return Restarting(rule, tx.now - started, reasons.count(Reason.RESTARTED))


_REPEATED: Final = {str(reason): reason for reason in REPEATED}


def end(
    tx: Transaction,
    number: int,
    state: State,
    how: Conclusion,
    result: bytes | None = None,
    *,
    received: int | None = None,
) -> State:
    """Move a job to the next state, and delete the oldest ended jobs if too many are kept."""
    new, ended = advance(state, how.transition), how.ended
    row = tx.one(
        f"end {how.transition}",
        number=number,
        state=new,
        reason=None if ended is None else ended.reason,
        message=None if ended is None else ended.message,
        error=_text(None if ended is None else encode_error(ended.error)),
        result=_text(result),
        finished=tx.now if new.over else None,
        due=None if how.delay is None else tx.now + how.delay,
        first=how.keeps_rank,
        unspent=how.unspent,
        replaced_by=None if ended is None else ended.replaced_by,
        received=received,
        repeats=0 if ended is None else ended.repeats,
    )
    if row is None:
        raise IllegalTransition(state, how.transition)
    job_id, seq, attempt, limited, *snapshot = row
    kind = KIND_OF[how.transition]
    data = result or b"null" if ended is None else encode_event(kind, ended)
    chunks.add(tx, number, seq, attempt, kind, data, received=received)
    tx.grown.append(job_id)
    tx.handed_on |= bool(limited)
    if new.over:
        tx.ended[job_id] = tuple(snapshot)
        tx.handed_on |= snapshot[_EXCLUSIVE] is not None
        _keep_few(tx)
    return new


_EXCLUSIVE: Final = 23
"""The place of that column in a snapshot."""


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode()


def request_cancel(tx: Transaction, job_id: str, message: str | None, grace: float) -> CancelAnswer:
    """Cancel a waiting job, or record the request for a running one."""
    number, word, requested, seq, attempt = known(tx, "cancellable", job_id)
    state = State(word)
    answer = cancel_answer(state)
    if answer == "already_over":
        return answer
    if requested is None:
        tx.run("request_cancel", number=number, now=tx.now, message=message, grace=grace)
        data = encode_event(Kind.CANCEL_REQUESTED, message)
        chunks.add(tx, number, seq + 1, attempt, Kind.CANCEL_REQUESTED, data)
        tx.grown.append(job_id)
    tx.run("shorten_grace", number=number, grace=grace)
    tx.asked |= answer == "requested"
    if answer == "cancelled":
        end(tx, number, state, Conclusion(Transition.CANCELLED, Ended(Reason.USER, message)))
    return answer


# ------------------------------------------------------------ going


def remove(tx: Transaction, job_id: str) -> None:
    """Delete a job that has ended."""
    number, word, *_ = known(tx, "cancellable", job_id)
    check_removable(State(word))
    _forget(tx, number)


def prune(tx: Transaction, before: float) -> int:
    """Delete the oldest jobs that ended before a moment, and return how many they were."""
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
    job_id = id_of(tx, number)
    tx.grown.append(job_id)
    tx.ended[job_id] = None
    tx.heard[job_id] = math.inf
    tx.write_log()
    tx.run("forget_events", number=number)
    tx.run("forget_job", number=number)
