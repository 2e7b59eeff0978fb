"""Say in the memory store whose an attempt is: its start, leases, heartbeats, and the fence."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .._common.errors import LeaseLost
from .._common.states import State, Transition
from .._model.job import Kind
from . import rules
from ._claims import Claims
from ._looking import LookingVerbs
from ._row import Row
from .contract import NO_CLAIMS, Claim, Claimant, Heartbeat

# Each job asks for these, and Python 3.11 finds the members of an enum slowly.
_STARTED, _BEGUN, _RUNNING = Transition.STARTED, Kind.STARTED, State.RUNNING


class LeasingVerbs(LookingVerbs):
    """The part of `MemoryStore` that knows which worker holds an attempt."""

    def __init__(self) -> None:
        super().__init__()
        self._claims = Claims()

    def _asked_again(self, claim: str, lease: float, now: float) -> list[Claim]:
        """Return what an earlier call with the same claim id has started, with new leases."""
        for job_id in self._claims[claim]:
            self._lease(self._rows[job_id], lease, now)
        return [*self._claims[claim].values()]

    def _lease(self, row: Row, lease: float, now: float) -> None:
        self._leases.discard(row.submission.id)
        if lease != math.inf:
            self._leases.add(row.submission.id, now + lease, 0)
            self._alarm.ring()

    async def claim_services(self, worker: Claimant) -> list[Claim]:
        """See `services.KeepsServices`."""
        now = self._time()
        if worker.claim is not None and worker.claim in self._claims:
            return self._asked_again(worker.claim, worker.lease, now)
        claims = list[Claim]()
        while (found := self._next_service())[0] <= now:
            del self._services[found[1]]
            claims.append(self._start(self._rows[found[1]], worker, now))
        return claims

    def _start(self, row: Row, worker: Claimant, now: float) -> Claim:
        reason = row.reason
        self._rows.move(row, rules.advance(row.state, _STARTED))
        if self._expiring.tickets:
            self._expiring.discard(row.submission.id)
        row.message = row.error = row.ready = None
        row.attempt += 1
        row.spent += 1
        row.started = now
        seq = row.log.append(row.attempt, _BEGUN, now, worker.name)
        if worker.lease != math.inf:
            self._lease(row, worker.lease, now)
        claim = Claim(row.submission, row.attempt, row.spent, row.saved, seq, id=worker.claim)
        row.claim = worker.claim
        if worker.claim is not None and row.parent is None:  # a child job only shares its parent's id
            self._claims.add(row, worker.claim, claim)
        if row.attempt > 1:
            inputs = row.log.inputs
            claim.waited = rules.waited(reason, inputs.last, inputs.received)
            if inputs.last:
                claim.consumed = inputs.received = inputs.consumed
        return claim

    async def heartbeat(
        self, held: Mapping[str, int], lease: float, claims: Mapping[str, str | None] = NO_CLAIMS
    ) -> Heartbeat:
        """See `Store.heartbeat`."""
        now = self._time()
        lost, cancels = set[str](), dict[str, float]()
        for job_id, attempt in held.items():
            try:
                row = self._running(job_id, attempt, claims.get(job_id))
            except LeaseLost:
                lost.add(job_id)
                continue
            if row.parent is None:
                self._lease(row, lease, now)
            if row.cancel_requested is not None:
                cancels[job_id] = row.cancel_grace
        return Heartbeat(frozenset(lost), cancels)

    def _running(self, job_id: str, attempt: int, claim: str | None = None) -> Row:
        row = self._rows.get(job_id)
        if row is None or row.state is not _RUNNING or row.attempt != attempt or row.claim != claim:
            raise LeaseLost(job_id, attempt)
        return row

    def _check_has(self, row: Row, appended: int, received: int | None) -> None:
        """Check that the job has the events that its attempt has appended, and the input it received last."""
        if appended > row.log.appended or (received or 0) > row.log.inputs.last:
            raise LeaseLost(row.submission.id, row.attempt)
