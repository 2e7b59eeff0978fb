"""What can be asked about one job, and what a reader of it has to know."""

from __future__ import annotations

from .._job import Event, Job
from ..serving import wire
from .link import Link
from .replies import Reply, events_of, job_of


async def snapshot_of(link: Link, job_id: str) -> Job:
    """Return a job as it is now. Raises `UnknownJob`, and what `Link.call` does."""
    return await link.call(wire.Get(id=link.new_id(), job=job_id), job_id, job_in)


async def ended(link: Link, job_id: str) -> Job:
    """Return a job once it has ended. Raises `UnknownJob`, and what `Link.call` does."""
    return await link.call(wire.Wait(id=link.new_id(), job=job_id), job_id, job_in)


async def history_of(link: Link, job_id: str) -> list[Event]:
    """Return a job's events but for tokens and progress. Raises `UnknownJob`, and what `Link.call` does."""
    return await link.call(wire.History(id=link.new_id(), job=job_id), job_id, _history_in)


def job_in(reply: Reply) -> Job | None:
    """Return the job in a reply, if there is one."""
    return None if reply.job is None else job_of(reply.job)


def _history_in(reply: Reply) -> list[Event] | None:
    return None if reply.history is None else events_of(reply.history)
