"""The verbs that write, each as what it does in one transaction. `store` has them called.

They run in the connection's thread, and touch nothing but their arguments and the file.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
import msgspec

from ..._codec import encode_error, encode_event
from ..._errors import IllegalTransition, KeyConflict, LeaseLost, QueueFull, UnknownJob
from ..._job import KIND_OF, PENALTY, TRIMMABLE, Ended, Kind, Priority
from ..._states import UNSPENT, Reason, State, Transition, advance
from ..._store import CRASHES, CancelAnswer, Claimant, Heartbeat, Outcome
from . import chunks
from .group import FOREVER, Row, Transaction
from .rows import Written

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


# ------------------------------------------------------------ coming in


def submit(
    tx: Transaction, batch: Sequence[Written], limit: int, handlers: Iterable[str], worker: Claimant
) -> tuple[list[str], list[Row]]:
    """Accept a batch, and claim up to `limit` jobs of `handlers`."""
    waiting = _sum(tx, "count_waiting")
    if len(batch) == 1 and limit and not waiting and _due(tx, batch[0]) <= tx.now:
        return _submit_and_start(tx, batch[0], worker)  # nothing waits that it could overtake
    ids: list[str] = []
    fresh = at_once = 0
    for new in batch:
        known = _known(tx, new)
        ids.append(known or new.submission.id)
        if known is None:
            fresh += 1
            at_once += _due(tx, new) <= tx.now
            _insert(tx, new)
    if fresh and waiting + fresh - min(limit, at_once) > tx.limits.queue:
        raise QueueFull(tx.limits.queue)
    return ids, claim(tx, limit, handlers, worker)


def _submit_and_start(tx: Transaction, new: Written, worker: Claimant) -> tuple[list[str], list[Row]]:
    known = _known(tx, new)
    if known is not None:
        return [known], []
    _insert(tx, new, worker=worker)
    columns = ("id", "handler", "args", "options", "priority", "owner", "key")
    return [new.submission.id], [(*(new.values[name] for name in columns), 1, 1, None, 2)]


def _sum(tx: Transaction, query: str) -> int:
    row = tx.one(query)
    return int(row[0] or 0) if row else 0


def _known(tx: Transaction, new: Written) -> str | None:
    """Return the id of the job that a submission already is."""
    submission = new.submission
    if tx.one("find_id", id=submission.id) is not None:  # the answer to an earlier call was lost
        return submission.id
    if submission.key is None:
        return None
    holder = tx.one("find_key", **_only(new.values, "handler", "args", "options", "priority", "key", "owner"))
    if holder is None:
        return None
    job_id, same = holder
    if not same:
        raise KeyConflict(submission.key, job_id)
    return str(job_id)


def _only(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: values[name] for name in names}


def _due(tx: Transaction, new: Written) -> float:
    options = new.submission.options
    if options.run_at is not None:
        return max(tx.now, options.run_at.timestamp())
    return tx.now + options.delay


def _insert(
    tx: Transaction, new: Written, *, worker: Claimant | None = None, parent: str | None = None
) -> None:
    """Add a job: one that waits, or one that runs from birth, if there is a worker."""
    due, queue = _due(tx, new), new.submission.options.timeouts.queue
    runs = worker is not None
    tx.run(
        "insert_job",
        **new.values,
        parent=parent,
        state=(advance(State.QUEUED, Transition.STARTED) if runs else State.QUEUED).value,
        attempt=int(runs),
        seq=1 + runs,
        now=tx.now,
        due=due,
        expires=None if runs or queue is None or queue == math.inf else due + queue,
        started=tx.now if runs else None,
        lease=None if worker is None else _lapses(tx, worker.lease),
    )
    ((number,),) = tx.run("newest")
    chunks.add(tx, number, 1, 0, Kind.SUBMITTED, encode_event(Kind.SUBMITTED, new.submission.handler))
    if worker is not None:
        chunks.add(tx, number, 2, 1, Kind.STARTED, encode_event(Kind.STARTED, worker.name))


def _lapses(tx: Transaction, lease: float) -> float | None:
    return None if lease == math.inf else tx.now + lease


def spawn(tx: Transaction, parent: str, attempt: int, child: Written, worker: Claimant) -> Row:
    """Accept a child that runs from birth, and return its row of `born`."""
    running(tx, parent, attempt)
    if tx.one("find_id", id=child.submission.id) is None:
        _insert(tx, child, worker=Claimant(worker.name), parent=parent)
    return tx.one("born", id=child.submission.id) or ()


# ------------------------------------------------------------ attempts


def claim(tx: Transaction, limit: int, handlers: Iterable[str], worker: Claimant) -> list[Row]:
    """Start up to `limit` jobs of `handlers` that are due, and return their rows of `start`.

    For each handler and priority the jobs that are due lie in the order of their ranks in one index, so a
    claim costs the same however many wait.
    """
    if not limit:
        return []
    ranked = [
        (due + PENALTY[priority], number)
        for handler in handlers
        for priority in Priority
        for due, number in tx.run(
            "due_jobs", handler=handler, priority=priority.value, now=tx.now, limit=limit
        )
    ]
    return [_start(tx, number, worker) for _, number in heapq.nsmallest(limit, ranked)]


def _start(tx: Transaction, number: int, worker: Claimant) -> Row:
    row = tx.one("start", number=number, now=tx.now, lease=_lapses(tx, worker.lease))
    if row is None:
        raise IllegalTransition(State.RUNNING, Transition.STARTED)
    tx.grown.append(row[0])
    chunks.add(tx, number, row[-1], row[7], Kind.STARTED, encode_event(Kind.STARTED, worker.name))
    return row


def running(tx: Transaction, job_id: str, attempt: int) -> Running:
    """Return the job, if it runs that attempt.

    Raises:
        LeaseLost: It does not.
    """
    row = tx.one("running", id=job_id, attempt=attempt)
    if row is None:
        raise LeaseLost(job_id, attempt)
    return Running(*row)


def heartbeat(tx: Transaction, held: Mapping[str, int], lease: float) -> Heartbeat:
    """Renew the leases of what runs."""
    rows = list(tx.run("renew", held=msgspec.json.encode(held).decode(), lease=_lapses(tx, lease)))
    cancels = {job_id: grace for job_id, requested, grace in rows if requested is not None}
    return Heartbeat(frozenset(held) - {row[0] for row in rows}, cancels)


def append(
    tx: Transaction, job_id: str, attempt: int, kind: Kind, values: Sequence[bytes], *, offset: int
) -> int:
    """Add an event for each value that is not there yet, and return the newest `seq`."""
    job = running(tx, job_id, attempt)
    fresh = values[job.appended - offset :]
    if not fresh:
        return job.seq
    tx.grown.append(job_id)
    seq = job.seq + len(fresh)
    trimmable = kind in TRIMMABLE
    kept, size = (len(fresh), sum(map(len, fresh)) + len(fresh) + 1) if trimmable else (0, 0)
    chunks.add(tx, job.number, seq, attempt, kind, *fresh)
    tx.run(
        "append",
        number=job.number,
        attempt=attempt,
        seq=seq,
        count=len(fresh),
        kept=kept,
        bytes=size,
        saved=None if trimmable else fresh[-1].decode(),
    )
    if trimmable:
        chunks.trim(tx, job.number, job.kept + kept, job.bytes + size)
    return seq


# ------------------------------------------------------------ ends


def finish(
    tx: Transaction, job_id: str, attempt: int, outcome: Outcome, awaited: Callable[[str], bool]
) -> tuple[State, Row | None]:
    """End a running attempt; return the state, and if that ends an awaited job, its snapshot's row."""
    state = _conclude(tx, running(tx, job_id, attempt), outcome)
    return state, tx.one("job", id=job_id) if state.over and awaited(job_id) else None


def _conclude(tx: Transaction, job: Running, outcome: Outcome) -> State:
    """End the attempt that runs: `finish` and `sweep` must not differ in what that means."""
    transition, ended = outcome.transition, outcome.ended
    due = None
    unspent = False
    if ended is not None and transition is Transition.RETRIED:
        if job.cancel_requested is not None:
            transition, ended = Transition.CANCELLED, _cancelled(job, ended)
        else:
            unspent = ended.reason in UNSPENT
            due = tx.now + (ended.delay or 0.0)
    elif ended is not None and ended.reason is Reason.USER:
        ended = _cancelled(job, ended)
    _end_children(tx, job.number)
    return _end(tx, job.number, State.RUNNING, End(transition, ended, outcome.result, due, unspent))


def _cancelled(job: Running, ended: Ended) -> Ended:
    """Return the end of an attempt that was to be cancelled; that nobody confirmed it has to be told."""
    message = job.cancel_message
    if ended.reason is Reason.WORKER_LOST:
        message = ended.message if message is None else f"{message} ({ended.message})"
    return Ended(Reason.USER, message, ended.error)


def _end_children(tx: Transaction, number: int) -> None:
    for (child,) in list(tx.run("open_children", number=number)):
        _end_children(tx, child)
        _end(tx, child, State.RUNNING, End(Transition.CANCELLED, Ended(Reason.PARENT)))


@attrs.frozen
class End:
    """How a job leaves a state.

    Attributes:
        transition: What happens.
        ended: Why and how; None if it completed.
        result: What the handler returned, as JSON.
        due: When it is to run again.
        unspent: Whether the attempt costs nothing.
    """

    transition: Transition
    ended: Ended | None
    result: bytes | None = None
    due: float | None = None
    unspent: bool = False

    @property
    def data(self) -> bytes:
        """What the event carries."""
        if self.ended is None:
            return self.result or b"null"
        return encode_event(KIND_OF[self.transition], self.ended)


def _end(tx: Transaction, number: int, state: State, end: End) -> State:
    """Leave a state, and let the oldest ended jobs go when too many are kept."""
    after, ended = advance(state, end.transition), end.ended
    row = tx.one(
        f"end {end.transition}",
        number=number,
        state=after.value,
        reason=None if ended is None else ended.reason.value,
        message=None if ended is None else ended.message,
        error=_text(None if ended is None else encode_error(ended.error)),
        result=_text(end.result),
        finished=tx.now if after.over else None,
        due=end.due,
        unspent=end.unspent,
    )
    if row is None:
        raise IllegalTransition(state, end.transition)
    job_id, seq, attempt = row
    chunks.add(tx, number, seq, attempt, KIND_OF[end.transition], end.data)
    tx.grown.append(job_id)
    if after.over:
        tx.ended.append(job_id)
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
    _end(tx, number, state, End(Transition.CANCELLED, Ended(Reason.USER, message)))
    return "cancelled"


def sweep(tx: Transaction) -> int:
    """End what waited too long, take back what no worker holds, and return how many jobs that were."""
    expired = list(tx.run("expired", now=tx.now, limit=BATCH))
    for number, limit in expired:
        ended = Ended(Reason.QUEUE_TIMEOUT, f"Job was not started within {round(limit, 6):g}s")
        _end(tx, number, State.QUEUED, End(Transition.EXPIRED, ended))
    lapsed = list(tx.run("lapsed", now=tx.now, limit=BATCH, crashes=CRASHES))
    for *fields, deadly in lapsed:
        job = Running(*fields)
        how = Transition.FAILED if deadly and job.cancel_requested is None else Transition.RETRIED
        message = f"Its worker was lost{f', {job.spent} times in all' if deadly else ''}"
        _conclude(tx, job, Outcome(how, ended=Ended(Reason.WORKER_LOST, message, delay=0.0)))
    return len(expired) + len(lapsed)


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
    many = _sum(tx, "count_ended") - keep.finished
    if many > 0:
        for (number,) in list(tx.run("oldest_ended", limit=many)):
            _forget(tx, number)


def _forget(tx: Transaction, number: int) -> None:
    for (job_id,) in tx.run("id_of", number=number):
        tx.grown.append(job_id)
        tx.ended.append(job_id)
    tx.run("forget_events", number=number)
    tx.run("forget_job", number=number)
