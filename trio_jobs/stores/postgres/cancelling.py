"""Request the cancellation of jobs."""

from __future__ import annotations

import math

from ..contract import CancelAnswer
from .calls import PostgresCalls, fitting


class CancelCalls(PostgresCalls):
    """Calls by which jobs are cancelled; see `Store`."""

    async def request_cancel(self, job_id: str, message: str | None, grace: float = 0.0) -> CancelAnswer:
        """See `Store.request_cancel`."""
        call = {
            "job": job_id,
            "message": None if message is None else fitting(message),
            "grace": grace if math.isfinite(grace) else "inf",
        }
        answer: CancelAnswer = await self._write("request_cancels", call)
        return answer
