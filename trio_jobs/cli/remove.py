"""`trio-jobs remove`: delete jobs that have ended."""

from __future__ import annotations

from .._registry.opening import open_registry
from .choosing import NONE, Filtered, change_chosen
from .faults import Fault
from .opening import resolve
from .options import DEFAULT_STORE, Ids, Jobs, Json, is_server
from .output import say
from .signals import stopped_by_signals


async def remove(
    *job_ids: Ids, chosen: Filtered = NONE, store: Jobs = DEFAULT_STORE, json: Json = False
) -> None:
    """Delete jobs that have ended, with their histories.

    In place of ids, options choose the jobs; then only their number is printed.
    """
    if await change_chosen("remove", "removed", store, chosen, job_ids, json=json):
        return
    if is_server(store):
        raise Fault(
            "a server removes jobs that options choose, as --handler or --older-than, and none by its id"
        )
    found = dict.fromkeys(resolve(store, job_ids))
    async with stopped_by_signals(), open_registry(store, capacity=0) as jobs:
        for job_id in found:
            await jobs.remove(job_id)
            say(f"{job_id} removed", {"id": job_id, "removed": True}, json=json)
