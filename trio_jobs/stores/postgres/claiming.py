"""The verbs that begin attempts, and that say whose they are."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from ..._common.states import State
from ..contract import NO_CLAIMS, Claim, Claimant, Heartbeat, Reclaimed
from ..pauses import Pauses
from ..rows import worker_in
from .calls import PostgresCalls, is_text

BATCH = 500
"""How many jobs a verb handles in one transaction at most, so that other calls are served in between."""
_ALL = ""  # no handler has this name
_MOST = 2**31 - 2


class ClaimingCalls(PostgresCalls):
    """Claims, leases, sweeps and pauses."""

    _lease: int | None = None  # the number of its row of leases

    async def _claim(
        self, limit: int, handlers: Collection[str], worker: Claimant
    ) -> tuple[list[Claim], bool]:
        """See `Waits`."""
        if not limit and worker.claim is None:
            return [], False
        answer = await self._write(
            "claim_jobs",
            {
                "limit": min(limit, _MOST),
                "handlers": handlers,
                "worker": worker.name,
                "lease": _seconds(worker.lease),
                "claim": worker.claim,
            },
        )
        return [self._rows.claim_of(row, worker.claim) for row in answer["rows"]], answer["more"]

    async def heartbeat(
        self, held: Mapping[str, int], lease: float, claims: Mapping[str, str | None] = NO_CLAIMS
    ) -> Heartbeat:
        """See `Store.heartbeat`."""
        fences = {job_id: (attempt, claims.get(job_id)) for job_id, attempt in held.items()}
        known = {name: fence for name, fence in fences.items() if is_text(name + (fence[1] or ""))}
        call = {"held": known, "lease": _seconds(lease), "mine": self._lease}
        answer = await self._write("heartbeat", call)
        self._lease = answer["mine"]
        return Heartbeat(frozenset(fences).difference(answer["alive"]), answer["cancels"] or {})

    async def sweep(self) -> list[Reclaimed]:
        """See `Store.sweep`."""
        swept, reclaimed = BATCH, list[Reclaimed]()
        while swept >= BATCH:
            swept, rows = await self._write("sweep", {})
            reclaimed += (
                Reclaimed(job_id, handler, attempt, worker_in(begun), State(word))
                for job_id, handler, attempt, begun, word in rows
            )
        return reclaimed

    async def pause_handlers(self, names: Collection[str] | None, *, paused: bool) -> None:
        """See `KeepsPauses.pause_handlers`."""
        given = None if names is None else [*names]
        await self._write("pause_handlers", {"names": given, "paused": paused})

    async def paused_handlers(self) -> Pauses:
        """See `KeepsPauses.paused_handlers`."""
        names = {name for (name,) in await self._read("pauses") if name is not None}
        return Pauses(_ALL in names, frozenset(names - {_ALL}))


def _seconds(lease: float) -> float | None:
    """Return a lease as the database takes it, to which None is one that never lapses."""
    return None if lease == math.inf else lease
