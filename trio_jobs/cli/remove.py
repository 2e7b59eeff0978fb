"""`trio-jobs remove`: delete jobs that have ended."""

from __future__ import annotations

from .._registry.opening import open_registry
from .choosing import NONE, Filtered, change_chosen
from .options import DEFAULT_STORE, Ids, Json, Store
from .output import say
from .readonly import resolve
from .signals import stopped_by_signals


async def remove(
    *job_ids: Ids, chosen: Filtered = NONE, store: Store = DEFAULT_STORE, json: Json = False
) -> None:
    """Delete jobs that have ended, with their histories.

    In place of ids, options choose the jobs; then only their number is printed.
    """
    if await change_chosen("remove", "removed", store, chosen, job_ids, json=json):
        return
    found = dict.fromkeys(resolve(store, job_ids))
    async with stopped_by_signals(), open_registry(store, capacity=0) as jobs:
        for job_id in found:
            await jobs.remove(job_id)
            say(f"{job_id} removed", {"id": job_id, "removed": True}, json=json)
