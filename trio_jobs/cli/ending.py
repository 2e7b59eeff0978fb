"""Describe how a job ended: as a line, and as an exit status."""

from __future__ import annotations

from typing import Final

from .._common.states import State
from .._model.job import Job
from .._model.summary import JobSummary
from .faults import CANCELLED, FAILED

ENDED_STATUS: Final = {State.COMPLETED: 0, State.FAILED: FAILED, State.CANCELLED: CANCELLED}
"""The exit status that says how a job ended."""


def state_of(job: Job | JobSummary) -> str:
    """Return a job's state, with the reason if there is one."""
    return job.state if job.reason is None else f"{job.state} ({job.reason})"


def detail_of(job: Job) -> str:
    """Return the message or the error that explains a job's state, on one line."""
    if job.message:
        return job.message
    return str(job.error) if job.error is not None else ""


def describe_end(job: Job) -> str:
    """Return a line that says how a job ended."""
    detail = detail_of(job)
    return f"{job.id} {state_of(job)}" + (f": {detail}" if detail else "")
