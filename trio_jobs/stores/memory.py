"""Keep jobs in memory, as long as the process runs: the readable reference for all other stores.

Each verb runs from its first line to its last without a checkpoint, so in a single Trio thread it is
atomic. Only the verbs that wait give up control.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from .._common.errors import KeyConflict, LeaseLost, QueueFull
from .._common.states import UNFINISHED, Reason, State, Transition
from .._model.job import KIND_OF, Ended, Kind, Retention
from . import exclusion, rules
from ._ended import EndedJobs
from ._leasing import LeasingVerbs
from ._lines import Lines
from ._row import Row, same
from ._scheduling import SchedulingVerbs
from ._sending import SendingVerbs
from .contract import CancelAnswer, Claim, Claimant, Outcome, Reclaimed, Submission
from .log import Log
from .records import Again

# Each job asks for these, and Python 3.11 finds the members of an enum slowly.
_SUBMITTED, _RUNNING = Kind.SUBMITTED, State.RUNNING


class MemoryStore(SchedulingVerbs, SendingVerbs, LeasingVerbs):
    """Keeps jobs in a dict.

    Args:
        queue_limit: How many jobs may wait at once.
        retention: What is kept of each job, and how many ended jobs.
    """

    def __init__(self, *, queue_limit: int = 100_000, retention: Retention | None = None) -> None:
        super().__init__()
        self._limit = queue_limit
        self._keep = retention or Retention()
        self._keys: dict[tuple[str | None, str], str] = {}
        self._lines = Lines()
        self._ended = EndedJobs(self._keep)

    # ------------------------------------------------------------ coming in

    async def submit(
        self, batch: Sequence[Submission], limit: int, worker: Claimant
    ) -> tuple[list[str], list[Claim]]:
        """See `Store.submit`."""
        now = self._time()
        for new in batch:
            if new.submitter is not None and new.id not in self._rows:
                self._running(*new.submitter)
        limit = 0 if self._all_paused else limit
        if len(batch) == 1 and limit and self._starts_at_once(batch[0], now):
            return [batch[0].id], [self._start(self._accept(batch[0], now), worker, now)]
        fresh: dict[str, Submission] = {}
        keyed: dict[tuple[str | None, str], Submission] = {}
        ids: list[str] = []
        for new in batch:
            if new.again is not None and (done := self._submitted_again(new.again)) is not None:
                ids.append(done)
                continue
            # A job that is known already was submitted by a call whose answer was lost.
            old = new if new.id in self._rows else self._holder(new, keyed)
            if old is None:
                fresh[new.id] = new
            elif old is not new and not same(old, new):
                raise KeyConflict(new.key or "", old.id)
            ids.append(new.id if old is None else old.id)
        coming = list(fresh.values())
        if coming and coming[0].options.exclusive is not None:  # which is alone in its batch
            ids = [self._accept_exclusive(coming[0], limit, now)]
        else:
            self._check_room(coming, coming, limit, now)
            for row in [self._accept(new, now) for new in coming]:
                self._enqueue(row, now)
        claims = self._claim(limit, worker, now)
        if self._waiting or self._lanes or self._services:
            self._work.ring()
        return ids, claims

    def _check_room(
        self,
        coming: Sequence[Submission],
        able: Sequence[Submission],
        limit: int,
        now: float,
        gone: Collection[str] = (),
    ) -> None:
        """Check that new jobs may wait: those that are `able` may start at once, what is `gone` does not."""
        sure = limit if self._lanes is None else self._for_sure(self._lanes, coming, limit, now, gone)
        waiting = len(self._waiting) + len(self._lanes or ()) + self._lines.behind - self._rows.awaiting
        crowded = bool(coming) and waiting + len(coming) > self._limit
        if crowded or rules.rooms(coming):
            free = min(sure, len(able))
            rules.check_queue(waiting, coming, free, now, most=self._limit, epoch=self._epoch)
            due = self._waiting.first(sure + len(gone), now)
            due = [one for one in due if one[1] not in gone][:sure]
            starting = self._rows.starting(due, able, sure, now, epoch=self._epoch)
            if crowded and waiting + len(coming) - starting.total() > self._limit:
                raise QueueFull(self._limit)  # what an input woke takes slots, too
            self._rows.check_room(coming, starting)

    def _accept_exclusive(self, new: Submission, limit: int, now: float) -> str:
        """Accept a job whose name may be held, and return its id, or that of the holder; see `exclusion`."""
        line = self._lines.of(new)
        holder = line[0] if line else None
        asked = holder is not None and holder.cancel_requested is not None
        state = exclusion.holder_of(None if holder is None else holder.state, asked=asked)
        job_id = "" if holder is None else holder.submission.id
        move = exclusion.move_of(new.options, state, job_id)
        if move.place == "attached":
            return job_id
        gone = [row for row in line if row.state is not _RUNNING] if move.replaces else []
        able, left = [new] if move.place == "first" else [], {row.submission.id for row in gone}
        if new.options.restart is not None:  # which needs no room
            able = []
        elif all(row.reason is Reason.AWAITING_INPUT for row in gone):  # else there is the room of the others
            self._check_room([new], able, limit, now, left)
        elif self._lanes is not None:
            self._for_sure(self._lanes, [new], limit, now, left)
        how = exclusion.replaced(new.id)
        for row in reversed(gone):
            self._leave_queue(row)
            self._end(row, how.transition, how.ended, now)
        if move.cancels and holder is not None:
            self._mark(holder, exclusion.CANCELS, 0.0, now)
        row = self._accept(new, now)
        due, row.put_off = exclusion.put_off(new.options, row.due, now, [one.put_off for one in gone])
        row.due = row.first_due = due
        self._lines.join(row)
        self._enqueue(row, now)
        return new.id

    def _starts_at_once(self, new: Submission, now: float) -> bool:
        """Return whether this job gets a free slot at once: it is new and due, and no waiting job matters.

        None does that awaits an input and is not due: nothing overtakes it, and it takes no room.
        """
        known = new.id in self._rows or (new.key is not None and self._holder(new, {}) is not None)
        waiting, lanes = self._waiting, self._lanes
        if lanes is not None and (new.handler in lanes or lanes.next_start(now) <= now):
            return False
        others = waiting.tickets and (len(waiting) > self._rows.awaiting or waiting.next_due() <= now)
        known = known or new.options.exclusive is not None or new.again is not None
        return not (known or others) and rules.due_at(new.options, now, self._epoch) <= now

    def _submitted_again(self, again: Again) -> str | None:
        """Return the job that the former one was submitted again as already, if that is to be once only."""
        before = self._rows.get(again.job_id) if again.once else None
        return None if before is None else before.resubmitted_as

    def _holder(self, new: Submission, keyed: dict[tuple[str | None, str], Submission]) -> Submission | None:
        if new.key is None:
            return None
        address = (new.options.owner, new.key)
        if address in self._keys:
            return self._rows[self._keys[address]].submission
        holder = keyed.setdefault(address, new)
        return None if holder is new else holder

    def _accept(self, new: Submission, now: float, parent: str | None = None) -> Row:
        due = rules.due_at(new.options, now, self._epoch)
        row = self._rows.add(Row(new, Log(self._keep, self._time, self._epoch), now, due, parent, due))
        if new.key is not None:
            self._keys[new.options.owner, new.key] = new.id
        if new.again is not None and (before := self._rows.get(new.again.job_id)) is not None:
            before.resubmitted_as = new.id
        row.log.append(0, _SUBMITTED, now, new.handler)
        return row

    async def spawn(self, parent: str, attempt: int, child: Submission, worker: Claimant) -> Claim:
        """See `Store.spawn`."""
        above = self._running(parent, attempt, worker.claim)
        now = self._time()
        if (known := self._rows.get(child.id)) is not None:
            log = known.log
            return Claim(child, known.attempt, known.spent, known.saved, log.last_seq, id=known.claim)
        above.children = above.children or {}
        above.children[child.id] = None
        row = self._accept(child, now, parent)
        return self._start(row, Claimant(worker.name, claim=worker.claim), now)

    # ------------------------------------------------------------ attempts

    async def claim(self, limit: int, worker: Claimant) -> list[Claim]:
        """See `Store.claim`."""
        return self._claim(0 if self._all_paused else limit, worker, self._time())

    def _claim(self, limit: int, worker: Claimant, now: float) -> list[Claim]:
        if worker.claim is not None and worker.claim in self._claims:
            return self._asked_again(worker.claim, worker.lease, now)
        if limit and self._expiring.tickets:
            self._expire(now)
        claims: list[Claim] = []  # a list of no type: to call one with a type takes long
        pop = self._waiting.pop if self._lanes is None else partial(self._next, self._lanes)
        while len(claims) < limit and (job_id := pop(now)) is not None:
            claims.append(self._start(self._rows[job_id], worker, now))
        return claims

    async def append(
        self,
        job_id: str,
        attempt: int,
        kind: Kind,
        values: Sequence[Any],
        offset: int,
        *,
        received: int | None = None,
        claim: str | None = None,
    ) -> int:
        """See `Store.append`."""
        row = self._running(job_id, attempt, claim)
        if offset != (there := row.log.appended) or received:
            self._check_has(row, offset, received)
            if not (values := values[there - offset :]):
                return row.log.last_seq
        row.log.extend(kind, values, received)
        if kind is Kind.PROGRESS:
            row.progress = values[-1]
        elif kind is Kind.SAVED:
            row.saved = values[-1]
        elif kind is Kind.READY:
            row.ready = self._time()
        return row.log.last_seq

    async def finish(self, job_id: str, attempt: int, outcome: Outcome, claim: str | None = None) -> State:
        """See `Store.finish`."""
        try:
            row = self._running(job_id, attempt, claim)
        except LeaseLost:
            if (known := self._rows.get(job_id)) is not None and known.was_ended(attempt, claim):
                return known.state
            raise
        if outcome.appended or outcome.received:
            self._check_has(row, outcome.appended, outcome.received)
        self._conclude(row, outcome, self._time())
        return row.state

    def _conclude(self, row: Row, outcome: Outcome, now: float) -> None:
        """End the running attempt, for `finish` and `sweep` alike."""
        inputs = row.log.inputs
        if row.claim is not None:
            self._claims.ended(row, row.claim, fence=outcome.received is None)
        done = rules.conclude(
            outcome,
            asked=row.cancel_requested is not None,
            message=row.cancel_message,
            last_input=inputs.last,
            before=row.before,
            service=row.restarting(outcome, now, self._epoch),
        )
        if inputs.last and outcome.received is not None:
            inputs.received = outcome.received
            if done.transition is Transition.COMPLETED:
                row.log.consume(outcome.received)
        if self._leases.tickets:
            self._leases.discard(row.submission.id)
        if self._lanes is not None and row.submission.id in self._lanes.held:
            self._lanes.free(row.submission.id, now, begun=outcome.begun)
            self._work.ring()
        if done.delay is not None and done.ended is not None:
            row.before = done.ended
            row.losses = row.losses + 1 if done.ended.reason is Reason.WORKER_LOST else 0
            row.spent -= done.unspent
            row.due = row.first_due if done.keeps_rank else now + done.delay
            self._enqueue(row, now)
            self._work.ring()
        if row.children:
            self._end_children(row, now)
        row.result = outcome.result
        data = outcome.result if done.ended is None else done.ended
        self._end(row, done.transition, data, now, outcome.received)

    def _end_children(self, row: Row, now: float) -> None:
        """End the open children of a job, at any depth, each after its own children."""
        below = [row]
        for one in below:  # which grows meanwhile
            below += map(self._rows.__getitem__, one.children or ())
        for child in reversed(below[1:]):
            child.claim = None
            self._end(child, rules.ABANDONED.transition, rules.ABANDONED.ended, now)

    # ------------------------------------------------------------ ends

    async def request_cancel(self, job_id: str, message: str | None, grace: float = 0.0) -> CancelAnswer:
        """See `Store.request_cancel`."""
        row = self._row(job_id)
        now = self._time()
        answer = rules.cancel_answer(row.state)
        if answer == "already_over":
            return answer
        self._mark(row, message, grace, now)
        if answer == "cancelled":
            self._leave_queue(row)
            self._end(row, Transition.CANCELLED, Ended(Reason.USER, message), now)
        return answer

    def _mark(self, row: Row, message: str | None, grace: float, now: float) -> None:
        if row.cancel_requested is None:
            row.cancel_requested, row.cancel_message, row.cancel_grace = now, message, grace
            row.log.append(row.attempt, Kind.CANCEL_REQUESTED, now, message)
        row.cancel_grace = min(row.cancel_grace, grace)
        if row.state is _RUNNING:
            self._cancelling[row.submission.id] = row.cancel_grace
            self._requests.ring()

    async def sweep(self) -> list[Reclaimed]:
        """See `Store.sweep`."""
        now, reclaimed = self._time(), list[Reclaimed]()
        self._expire(now)
        while (job_id := self._leases.pop(now)) is not None:
            row = self._rows[job_id]
            attempts, asked = row.submission.options.retry.attempts, row.cancel_requested is not None
            service = row.submission.options.restart is not None
            lost = rules.worker_lost(row.losses + 1, attempts, asked=asked, service=service)
            starts = [event.data for event in row.log.history() if event.kind is Kind.STARTED]
            self._conclude(row, lost, now)
            reclaimed.append(Reclaimed(job_id, row.submission.handler, row.attempt, starts[-1], row.state))
        return reclaimed

    def _expire(self, now: float) -> None:
        while (job_id := self._expiring.pop(now)) is not None:
            row = self._rows[job_id]
            self._dequeue(row)
            limit = row.submission.options.timeouts.queue or 0.0
            self._end(row, Transition.EXPIRED, rules.not_started(limit), now)

    def close(self, reason: Reason) -> None:
        """See `Store.close`."""
        for row in [row for row in self._rows.values() if not row.state.over]:
            self._leave_queue(row)
            self._end(row, Transition.CANCELLED, Ended(reason), self._time())
        for bell in (self._work, self._alarm, self._requests, self._heard):
            bell.close()

    def _end(
        self, row: Row, transition: Transition, data: object, now: float, received: int | None = None
    ) -> None:
        """Move a job to its next state, and delete the oldest ended jobs while too many are kept."""
        reason = None
        if isinstance(data, Ended):
            reason, row.message, row.error = data.reason, data.message, data.error
            row.replaced_by = data.replaced_by
        self._rows.move(row, rules.advance(row.state, transition), reason)
        if self._cancelling:
            self._cancelling.pop(row.submission.id, None)
        row.ready = None
        if row.state not in UNFINISHED:
            row.finished = now
            if row.parent is not None and (above := self._rows.get(row.parent)) and above.children:
                above.children.pop(row.submission.id, None)
        row.log.append(row.attempt, KIND_OF[transition], now, data, received)
        if row.finished is not None:
            if row.waiters is not None:
                row.waiters.ring()
            if row.line is not None and (first := self._lines.leave(row)) is not None:
                self._enqueue(first, now)
                self._work.ring()
            self._ended.add(row, now)  # with its last event
            while (oldest := self._ended.one_too_many()) is not None:
                self._forget(oldest)

    # ------------------------------------------------------------ going

    async def remove(self, job_id: str) -> None:
        """See `Store.remove`."""
        row = self._row(job_id)
        rules.check_removable(row.state)
        self._forget(job_id)

    async def prune(self, older_than: float) -> int:
        """See `Store.prune`."""
        old = self._ended.before(self._time() - older_than)
        for job_id in old:
            self._forget(job_id)
        return len(old)

    def _forget(self, job_id: str) -> None:
        row = self._rows.forget(job_id)
        row.log.clear()
        self._heard.ring()
        self._ended.discard(job_id)
        if row.submission.key is not None:
            del self._keys[row.submission.options.owner, row.submission.key]
