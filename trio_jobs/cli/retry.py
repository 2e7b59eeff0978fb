"""`trio-jobs retry`: submit jobs that have ended again."""

from __future__ import annotations

from .choosing import NONE, Filtered, change_chosen
from .opening import open_jobs, open_readonly
from .options import DEFAULT_STORE, Ids, Jobs, Json
from .output import say
from .signals import stopped_by_signals
from .stand_ins import stand_ins


async def retry(
    *job_ids: Ids, chosen: Filtered = NONE, store: Jobs = DEFAULT_STORE, json: Json = False
) -> None:
    """Submit jobs that have ended again, and print the ids of the new ones.

    A new job has the arguments and options of the old one, but no key and no delay. Whether the arguments
    fit the handler still, the worker that runs it tells.

    In place of ids, options choose the jobs: those that failed, unless --state says otherwise, and that were
    not submitted again yet. Then only their number is printed.
    """
    if await change_chosen("retry", "submitted again", store, chosen, job_ids, json=json):
        return
    with open_readonly(store) as seen:
        found = {job_id: seen.job(job_id).handler for job_id in map(seen.resolve, job_ids)}
    handlers = stand_ins(found.values())
    async with stopped_by_signals(), open_jobs(store, handlers) as jobs:
        for job_id in found:
            new = await (await jobs.get(job_id)).resubmit()
            record = {"id": job_id, "resubmitted_as": new.id}
            say(f"{job_id} submitted again as {new.id}", record, json=json)
