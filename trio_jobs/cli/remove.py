"""`trio-jobs remove`: delete jobs that have ended."""

from __future__ import annotations

from .._registry.opening import open_registry
from .choosing import NONE, Filtered, change_chosen, check_chosen
from .options import DEFAULT_STORE, Ids, Json, Store
from .output import json_line, line
from .readonly import resolve
from .signals import stopped_by_signals


async def remove(
    *job_ids: Ids, chosen: Filtered = NONE, store: Store = DEFAULT_STORE, json: Json = False
) -> None:
    """Delete jobs that have ended, with their histories.

    In place of ids, options choose the jobs; then only their number is printed.
    """
    check_chosen("remove", job_ids, chosen)
    if not job_ids:
        await change_chosen("remove", "removed", store, chosen, json=json)
        return
    found = dict.fromkeys(resolve(store, job_ids))
    async with stopped_by_signals(), open_registry(store, capacity=0) as jobs:
        for job_id in found:
            await jobs.remove(job_id)
            if json:
                json_line({"id": job_id, "removed": True})
            else:
                line(f"{job_id} removed")
