"""What becomes of a job whose clients have left, where a protocol has no way to come back to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import trio

from ..._wire.requests import Cancel
from ..operations import JobOperations
from ..options import Caller
from ..problems import to_problem

_PATIENCE: Final = 5.0
"""Seconds that giving up may take, as it goes on though the calling task is cancelled itself."""


class Readers:
    """Cancels jobs when their last reader has left: a client that repeats a request reads the same job again.

    Args:
        operations: The operations of the server.
    """

    def __init__(self, operations: JobOperations) -> None:
        self._operations = operations
        self._of = Counter[str]()

    @asynccontextmanager
    async def reading(self, caller: Caller, job_id: str) -> AsyncGenerator[None]:
        """Count a reader for the length of a block; the last one asks for the job's cancellation.

        A job that has ended stays as it is. What fails is logged, as nobody is there to be told.

        Args:
            caller: The caller that submitted the job.
            job_id: The job.
        """
        self._of[job_id] += 1
        try:
            yield
        finally:
            self._of[job_id] -= 1
            if not self._of[job_id]:
                del self._of[job_id]
                with trio.move_on_after(_PATIENCE, shield=True):
                    await self._give_up(caller, job_id)

    async def _give_up(self, caller: Caller, job_id: str) -> None:
        try:
            await self._operations.cancel(caller, Cancel(1, job_id, "its reader left", wait=False))
        except Exception as failed:  # noqa: BLE001  # nobody is there to be told
            to_problem("a job without a reader could not be cancelled", failed)
