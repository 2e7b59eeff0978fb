"""What servers of the jobs of a registry need of it, beside its methods."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
import trio

from .._model.job import Job
from .._running.worker import Worker
from .._watching.handle import JobHandle
from .._watching.readers import ReadersByJob
from ..stores.contract import Store
from ..stores.records import Again
from ..stores.submission import submission
from .registry import JobRegistry


def worker_of(jobs: JobRegistry) -> Worker:
    """Return the worker of a registry."""
    return jobs._worker  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def inside(jobs: JobRegistry) -> tuple[Store, ReadersByJob]:
    """Return the store of a registry and the readers in this process."""
    return worker_of(jobs).store, worker_of(jobs).readers


async def look_up(jobs: JobRegistry, job_id: str) -> tuple[JobHandle[Any, Any], Job]:
    """Return a handle on a job, and the job as it is now, by one read. Raises as `JobRegistry.get` does."""
    worker = worker_of(jobs)
    worker.check_open()
    await trio.lowlevel.checkpoint()
    return JobHandle(worker, job_id), await worker.store.get(job_id)


async def submit_with_room(
    jobs: JobRegistry,
    fn: Callable[..., Awaitable[Any]],
    args: tuple[Any, ...],
    options: Mapping[str, Any],
    room: int | None,
    *,
    again: str | None = None,
) -> str:
    """Submit as `JobRegistry.submit` does, if no more than `room` jobs of the owner wait then.

    With `again`, which is an ended job, that one is known as submitted again, as after `JobHandle.resubmit`.

    Returns:
        The job's id.
    """
    worker = worker_of(jobs)
    worker.check_open(submits=True)
    new = attrs.evolve(submission(fn, args, options), room=room)
    new.again = None if again is None else Again(again)
    (job_id,) = await worker.submit([new])
    return job_id
