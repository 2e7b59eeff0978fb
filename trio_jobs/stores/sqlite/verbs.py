"""The verbs that write, other than those in `ends`, each as a function over one transaction.

`store` has them called in a thread; they use nothing but their arguments and the file.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache, partial

import msgspec

from ..._common.errors import IllegalTransition, KeyConflict, QueueFull
from ..._common.states import State, Transition
from ..._json.stored import encode_event
from ..._model.job import Kind
from ..contract import Claimant, Heartbeat, Submission
from ..rows import Written, text
from ..rules import advance, check_queue, check_steps, due_at, expires_at, rooms
from . import chunks, exclusive, inbox, lanes, looking
from .ends import total, totals
from .group import Row, Transaction
from .looking import running

# ------------------------------------------------------------ coming in


def submit(
    tx: Transaction, batch: Sequence[Written], limit: int, handlers: Collection[str], worker: Claimant
) -> tuple[list[str], list[Row]]:
    """Accept a batch, and claim up to `limit` jobs of `handlers`."""
    tx.check_compat()
    for one in batch:
        by = one.submission.submitter
        if by is not None and tx.one("number_of", id=one.submission.id) is None:
            running(tx, *by)
    if batch and batch[0].submission.options.exclusive is not None:  # which is alone in its batch
        return _submit_exclusive(tx, batch[0], limit, handlers, worker)
    waiting, awaiting = totals(tx, "count_waiting", what="all", name="")
    alone = len(batch) == 1 and limit and batch[0].submission.handler in handlers  # it is not paused
    alone = alone and due_at(batch[0].submission.options, tx.now) <= tx.now
    if alone and not (waiting or _is_late(tx, batch[0], handlers, awaiting)):
        return _submit_and_start(tx, batch[0], worker)
    ids: list[str] = []
    fresh: list[Submission] = []
    numbers: list[int] = []
    for new in batch:
        known = _holder(tx, new)
        ids.append(known or new.submission.id)
        if known is None and (number := _insert(tx, new)) is not None:
            fresh.append(new.submission)
            numbers.append(number)
    if tx.limited and fresh:
        lanes.enter(tx, fresh, numbers[0], numbers[-1])
    check_queue(waiting, fresh, limit, tx.now, most=(most := tx.limits.queue))
    claims = claim(tx, limit, handlers, worker)[0]  # perhaps of other jobs, so count what waits after it
    _check_room(tx, fresh, crowded=waiting + len(fresh) > most)
    return ids, claims


def _is_late(tx: Transaction, new: Written, handlers: Iterable[str], awaiting: int) -> bool:
    """Return whether a job has limits, or one that was woken is due, and could be overtaken by it."""
    if tx.limited and (
        lanes.groups_of(tx, [new.submission.handler])
        or (awaiting and lanes.next_start(tx, handlers) <= tx.now)
    ):
        return True
    return bool(awaiting and due(tx, 1, handlers))


def _check_room(tx: Transaction, fresh: Sequence[Submission], *, crowded: bool) -> None:
    most = tx.limits.queue
    if fresh and crowded and total(tx, "count_waiting", what="all", name="") > most:
        raise QueueFull(most)
    for owner, room in rooms(fresh).items():
        if total(tx, "count_waiting", what="owner", name=owner) > room:
            raise QueueFull(room, owner=owner)


def _submit_exclusive(
    tx: Transaction, new: Written, limit: int, handlers: Iterable[str], worker: Claimant
) -> tuple[list[str], list[Row]]:
    known = _holder(tx, new)
    fresh: list[Submission] = []
    if known is None and tx.one("number_of", id=new.submission.id) is None:
        waiting = total(tx, "count_waiting", what="all", name="")
        place = exclusive.place(tx, new)
        known = place.attached
        if known is None:
            number = _insert(tx, new, place=place)
            if tx.limited and number is not None:
                lanes.enter(tx, [new.submission], number, number)
            if not place.has_room and new.submission.options.restart is None:
                fresh.append(new.submission)
                check_queue(waiting, fresh, 0 if place.behind else limit, tx.now, most=tx.limits.queue)
    claims = claim(tx, limit, handlers, worker)[0]
    _check_room(tx, fresh, crowded=True)
    return [known or new.submission.id], claims


def _submit_and_start(tx: Transaction, new: Written, worker: Claimant) -> tuple[list[str], list[Row]]:
    known = _holder(tx, new)
    if known is not None or _insert(tx, new, worker=worker) is None:
        return [known or new.submission.id], claimed(tx, worker)
    columns = ("id", "handler", "args", "options", "metadata", "priority", "owner", "key")
    return [new.submission.id], [(*(new.values[name] for name in columns), 1, 1, None, 2, 0, None)]


def _holder(tx: Transaction, new: Written) -> str | None:
    """Return the id of the job that has the key of a submission, or is what that is to be only once."""
    key, again = new.submission.key, new.submission.again
    if again is not None and again.once and (done := tx.one("resubmitted_as", job_id=again.job_id)):
        return text(done[0])
    holder = None if key is None else tx.one("find_key", **new.values)
    if key is None or holder is None:
        return None
    job_id, same = holder
    if not same:
        raise KeyConflict(key, text(job_id) or "")
    return text(job_id)


def _insert(
    tx: Transaction,
    new: Written,
    *,
    worker: Claimant | None = None,
    parent: str | None = None,
    place: exclusive.Place | None = None,
) -> int | None:
    """Add a job: one that waits, or, if there is a worker, one that runs from the start.

    Returns:
        Its number; None if the job is not new, as the answer to an earlier call was lost.
    """
    due = due_at(new.submission.options, tx.now) if place is None else place.due
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
        expires=None if runs else expires_at(new.submission.options, due),
        started=tx.now if runs else None,
        lease=None if worker is None else _lapses(tx, worker.lease),
        behind=1 if place is not None and place.behind else None,
        put_off=None if place is None else place.put_off,
        claim=None if worker is None else worker.claim,
    )
    if not tx.db.changes():
        return None
    number: int = tx.db.last_insert_rowid()
    if (again := new.submission.again) is not None:
        tx.run("mark_resubmitted", id=new.submission.id, job_id=again.job_id)
    tags = new.submission.options.tags
    for name, value in tags.items():
        tx.run("insert_tag", job=number, name=name, value=value)
    chunks.add(tx, number, 1, 0, Kind.SUBMITTED, _named(Kind.SUBMITTED, new.submission.handler))
    if worker is not None:
        chunks.add(tx, number, 2, 1, Kind.STARTED, _named(Kind.STARTED, worker.name))
        tx.started.append(new.submission.id)
    return number


_named = lru_cache(1000)(encode_event)  # there are few handlers and few workers


def _lapses(tx: Transaction, lease: float) -> float | None:
    return None if lease == math.inf else tx.now + lease


def spawn(tx: Transaction, parent: str, attempt: int, child: Written, worker: Claimant) -> Row:
    """Accept a child, which runs from the start, and return its row of `born`."""
    running(tx, parent, attempt, worker.claim)
    _insert(tx, child, worker=Claimant(worker.name, claim=worker.claim), parent=parent)
    return tx.one("born", id=child.submission.id) or ()


# ------------------------------------------------------------ attempts


def claim(tx: Transaction, limit: int, handlers: Iterable[str], worker: Claimant) -> tuple[list[Row], bool]:
    """Start up to `limit` jobs that are due; return their rows of `start`, and whether yet another is due.

    For each handler and priority the jobs that are due lie in the order of their ranks in one index, so a
    claim costs the same however many wait; one query looks at all of these.
    """
    if not limit and worker.claim is None:
        return [], False
    tx.check_compat()
    tx.write_log()  # the events of an attempt are written before the next one begins
    if (known := claimed(tx, worker)) or not limit:
        return known, bool(known)
    found = due(tx, limit + 1, handlers)
    if tx.limited:
        return lanes.claim(tx, found, limit, handlers, partial(start, tx, worker=worker))
    return [start(tx, number, worker) for number, _ in found[:limit]], len(found) > limit


def claimed(tx: Transaction, worker: Claimant) -> list[Row]:
    """Return the rows of `start` of what an earlier call with the same claim id started, with new leases."""
    if worker.claim is None:
        return []
    rows = [list(row) for row in tx.run("claimed", claim=worker.claim, lease=_lapses(tx, worker.lease))]
    for row in rows:  # inputs may have come since it started
        first = row.pop() << 32
        ((row[11],),) = tx.run("started_at", first=first, last=first + (1 << 32) - 1)
    return [tuple(row) for row in rows]


def due(tx: Transaction, limit: int, handlers: Iterable[str]) -> list[tuple[int, float]]:
    """Return the numbers and ranks of up to `limit` jobs of `handlers` that are due, in that order.

    Jobs in lanes are not among them.
    """
    return [
        (number, rank)
        for number, rank in tx.run("due_jobs", handlers=looking.listed(handlers), now=tx.now, limit=limit)
    ]


def start(tx: Transaction, number: int, worker: Claimant) -> Row:
    """Start a job that waits, and return its row of `start`."""
    row = tx.one("start", number=number, now=tx.now, lease=_lapses(tx, worker.lease), claim=worker.claim)
    if row is None:
        raise IllegalTransition(State.RUNNING, Transition.STARTED)
    tx.started.append(row[0])
    tx.grown.append(row[0])
    chunks.add(tx, number, row[11], row[8], Kind.STARTED, _named(Kind.STARTED, worker.name))
    return row


def heartbeat(
    tx: Transaction, held: Mapping[str, int], lease: float, claims: Mapping[str, str | None]
) -> Heartbeat:
    """Renew the leases of running jobs, and return which are lost and which have to be cancelled."""
    asked = {job_id: (attempt, claims.get(job_id)) for job_id, attempt in held.items()}
    rows = list(tx.run("renew", held=msgspec.json.encode(asked).decode(), lease=_lapses(tx, lease)))
    cancels = {job_id: grace for job_id, requested, grace in rows if requested}
    return Heartbeat(frozenset(held) - {row[0] for row in rows}, cancels)


def append(
    tx: Transaction,
    job_id: str,
    attempt: int,
    kind: Kind,
    values: Sequence[bytes],
    *,
    offset: int,
    received: int | None = None,
    claim: str | None = None,
) -> int:
    """Add an event for each value that is not there yet, and return the newest `seq`."""
    job = running(tx, job_id, attempt, claim, appended=offset, received=received)
    fresh = values[job.appended - offset :]
    if not fresh:
        return job.seq
    seq = job.seq + len(fresh)
    kept, size = len(fresh), sum(map(len, fresh)) + len(fresh) + 1
    more = 0, 0
    if kind is Kind.SAVED:  # each in a row of its own: all but the last may go
        size += len(fresh) - 1
        if received is not None:
            received = max(received, job.consumed)
        rows = [
            chunks.add(tx, job.number, place, attempt, kind, value, received=received)
            for place, value in enumerate(fresh, job.seq + 1)
        ]
        more = inbox.consume(tx, job, received or 0)
    else:
        rows = [chunks.add(tx, job.number, seq, attempt, kind, *fresh)]
    if kind is Kind.STEP:
        _count_steps(tx, job.number, fresh)
        kept = size = 0
    tx.run(
        "append",
        number=job.number,
        attempt=attempt,
        seq=seq,
        count=len(fresh),
        kept=kept,
        bytes=size,
        saved=fresh[-1].decode() if kind is Kind.SAVED else None,
        progress=fresh[-1].decode() if kind is Kind.PROGRESS else None,
        ready=tx.now if kind is Kind.READY else None,
    )
    if not chunks.trim(tx, job.number, job.kept + kept + more[0], job.bytes + size + more[1]):
        tx.rows[len(tx.grown)] = rows
    tx.grown.append(job_id)
    return seq


def _count_steps(tx: Transaction, number: int, results: Sequence[bytes]) -> None:
    steps, size = tx.one("steps", number=number) or (0, 0)
    sizes = [len(result) for result in results]
    check_steps(steps, size, sizes, tx.limits.keep)
    tx.run("add_steps", number=number, count=len(sizes), bytes=sum(sizes))
