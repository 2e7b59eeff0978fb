"""Say in the memory store whose an attempt is: leases, heartbeats, and the fence."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .._common.errors import LeaseLost
from .._common.states import State
from ._claims import Claims
from ._looking import LookingVerbs
from ._row import Row
from .contract import NO_CLAIMS, Claim, Heartbeat

_RUNNING = State.RUNNING  # which Python 3.11 finds slowly


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
