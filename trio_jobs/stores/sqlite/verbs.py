"""The verbs that write, each as what it does in one transaction. `store` has them called.

They run in a thread, and touch nothing but their arguments and the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

import attrs
import msgspec

from ..._errors import IllegalTransition, KeyConflict, LeaseLost, QueueFull, UnknownJob
from ..._job import KIND_OF, Ended, Kind
from ..._states import UNSPENT, Reason, State, Transition, advance
from ..._store import CRASHES, CancelAnswer, Claimant, Heartbeat, Outcome
from ..._stored import encode_error, encode_event
from . import chunks, looking
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
    children: int  # whether any of them is open


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
        known = _holder(tx, new)
        ids.append(known or new.submission.id)
        if known is None and _insert(tx, new):
            fresh += 1
            at_once += _due(tx, new) <= tx.now
    if fresh and waiting + fresh - min(limit, at_once) > tx.limits.queue:
        raise QueueFull(tx.limits.queue)
    return ids, claim(tx, limit, handlers, worker)


def _submit_and_start(tx: Transaction, new: Written, worker: Claimant) -> tuple[list[str], list[Row]]:
    known = _holder(tx, new)
    if known is not None:
        return [known], []
    if not _insert(tx, new, worker=worker):
        return [new.submission.id], []
    columns = ("id", "handler", "args", "options", "priority", "owner", "key")
    return [new.submission.id], [(*(new.values[name] for name in columns), 1, 1, None, 2)]


def _sum(tx: Transaction, query: str) -> int:
    row = tx.one(query)
    return int(row[0] or 0) if row else 0


def _holder(tx: Transaction, new: Written) -> str | None:
    """Return the id of the job that has the key of a submission."""
    key = new.submission.key
    holder = None if key is None else tx.one("find_key", **new.values)
    if key is None or holder is None:
        return None
    job_id, same = holder
    if not same:
        raise KeyConflict(key, job_id)
    return str(job_id)


def _due(tx: Transaction, new: Written) -> float:
    options = new.submission.options
    if options.run_at is not None:
        return max(tx.now, options.run_at.timestamp())
    return tx.now + options.delay


def _insert(
    tx: Transaction, new: Written, *, worker: Claimant | None = None, parent: str | None = None
) -> bool:
    """Add a job: one that waits, or one that runs from birth, if there is a worker.

    Returns:
        Whether it is new; it is not if the answer to an earlier call was lost.
    """
    due, queue = _due(tx, new), new.submission.options.timeouts.queue
    runs = worker is not None
    tx.run(
        "insert_job",
        **new.values,
        parent=parent,
        state=advance(State.QUEUED, Transition.STARTED) if runs else State.QUEUED,
        attempt=int(runs),
        seq=1 + runs,
        now=tx.now,
        due=due,
        expires=None if runs or queue is None or queue == math.inf else due + queue,
        started=tx.now if runs else None,
        lease=None if worker is None else _lapses(tx, worker.lease),
    )
    if not tx.db.changes():
        return False
    number = tx.db.last_insert_rowid()
    chunks.add(tx, number, 1, 0, Kind.SUBMITTED, _named(Kind.SUBMITTED, new.submission.handler))
    if worker is not None:
        chunks.add(tx, number, 2, 1, Kind.STARTED, _named(Kind.STARTED, worker.name))
        tx.started.append(new.submission.id)
    return True


_named = lru_cache(1000)(encode_event)  # there are few handlers and few workers


def _lapses(tx: Transaction, lease: float) -> float | None:
    return None if lease == math.inf else tx.now + lease


def spawn(tx: Transaction, parent: str, attempt: int, child: Written, worker: Claimant) -> Row:
    """Accept a child that runs from birth, and return its row of `born`."""
    running(tx, parent, attempt)
    _insert(tx, child, worker=Claimant(worker.name), parent=parent)
    return tx.one("born", id=child.submission.id) or ()


# ------------------------------------------------------------ attempts


def claim(tx: Transaction, limit: int, handlers: Iterable[str], worker: Claimant) -> list[Row]:
    """Start up to `limit` jobs of `handlers` that are due, and return their rows of `start`.

    For each handler and priority the jobs that are due lie in the order of their ranks in one index, so a
    claim costs the same however many wait; one query looks at all of these.
    """
    if not limit:
        return []
    tx.write_log()  # whatever an attempt has said is written before the next one begins
    found = list(tx.run("due_jobs", handlers=looking.listed(handlers), now=tx.now, limit=limit))
    return [_start(tx, number, worker) for (number,) in found]


def _start(tx: Transaction, number: int, worker: Claimant) -> Row:
    row = tx.one("start", number=number, now=tx.now, lease=_lapses(tx, worker.lease))
    if row is None:
        raise IllegalTransition(State.RUNNING, Transition.STARTED)
    tx.started.append(row[0])
    tx.grown.append(row[0])
    chunks.add(tx, number, row[-1], row[7], Kind.STARTED, _named(Kind.STARTED, worker.name))
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
    if kind is Kind.SAVED:  # each in a row of its own: all but the last may go
        kept, size = len(fresh), sum(map(len, fresh)) + 2 * len(fresh)
        for place, value in enumerate(fresh, job.seq + 1):
            chunks.add(tx, job.number, place, attempt, kind, value)
    else:
        kept, size = len(fresh), sum(map(len, fresh)) + len(fresh) + 1
        chunks.add(tx, job.number, seq, attempt, kind, *fresh)
    tx.run(
        "append",
        number=job.number,
        attempt=attempt,
        seq=seq,
        count=len(fresh),
        kept=kept,
        bytes=size,
        saved=fresh[-1].decode() if kind is Kind.SAVED else None,
    )
    chunks.trim(tx, job.number, job.kept + kept, job.bytes + size)
    return seq


# ------------------------------------------------------------ ends


def finish(tx: Transaction, job_id: str, attempt: int, outcome: Outcome) -> State:
    """End a running attempt, and return the job's state now."""
    return _conclude(tx, running(tx, job_id, attempt), outcome)


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
    if job.children:
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
        state=after,
        reason=None if ended is None else ended.reason,
        message=None if ended is None else ended.message,
        error=_text(None if ended is None else encode_error(ended.error)),
        result=_text(end.result),
        finished=tx.now if after.over else None,
        due=end.due,
        unspent=end.unspent,
    )
    if row is None:
        raise IllegalTransition(state, end.transition)
    job_id, seq, attempt, *snapshot = row
    chunks.add(tx, number, seq, attempt, KIND_OF[end.transition], end.data)
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
    _end(tx, number, state, End(Transition.CANCELLED, Ended(Reason.USER, message)))
    return "cancelled"


def sweep(tx: Transaction) -> int:
    """End what waited too long, take back what no worker holds, and return how many jobs that were."""
    expired = list(tx.run("expired", now=tx.now, limit=BATCH))
    for number, limit in expired:
        ended = Ended(Reason.QUEUE_TIMEOUT, f"Job was not started within {round(limit, 6):g}s")
        _end(tx, number, State.QUEUED, End(Transition.EXPIRED, ended))
    lapsed = list(tx.run("lapsed", heard=min(tx.heard, tx.now), limit=BATCH, crashes=CRASHES))
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
        tx.ended[job_id] = None
    tx.write_log()
    tx.run("forget_events", number=number)
    tx.run("forget_job", number=number)
