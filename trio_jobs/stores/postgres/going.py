"""The verbs that delete jobs."""

from __future__ import annotations

from .calls import PostgresCalls
from .claiming import BATCH


class GoingCalls(PostgresCalls):
    """Deletes jobs that have ended."""

    async def remove(self, job_id: str) -> None:
        """See `Store.remove`."""
        await self._write("remove", {"job": job_id})

    async def prune(self, older_than: float) -> int:
        """See `Store.prune`."""
        count, before = await self._write("prune", {"older_than": older_than})
        pruned = count
        while count >= BATCH:
            count, before = await self._write("prune", {"before": before})
            pruned += count
        return int(pruned)
