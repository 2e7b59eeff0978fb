"""What becomes of a job whose client has left, where a protocol has no way to come back to it."""

from __future__ import annotations

from typing import Final

from ..._wire.requests import Cancel
from ..operations import JobOperations
from ..options import Caller
from ..problems import to_problem

PATIENCE: Final = 5.0
"""Seconds that giving up may take, as it goes on though the calling task is cancelled itself."""


async def give_up(operations: JobOperations, caller: Caller, job_id: str) -> None:
    """Ask for the cancellation of a job, unless it has ended. Raises nothing.

    Args:
        operations: The operations of the server.
        caller: The caller that submitted the job.
        job_id: The job.
    """
    try:
        await operations.cancel(caller, Cancel(1, job_id, "its reader left", wait=False))
    except Exception as failed:  # noqa: BLE001  # nobody is there to be told
        to_problem("a job without a reader could not be cancelled", failed)
