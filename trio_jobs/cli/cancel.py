"""`trio-jobs cancel`: cancel jobs, and print how each cancellation ended."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import trio
from cyclopts import Parameter

from .._common.errors import UnknownJob
from .._json.records import plain
from .._model.job import CancelReport
from .choosing import NONE, Filtered, change_chosen
from .faults import FAILED, Fault
from .opening import OpenJobs, open_jobs, resolve
from .options import DEFAULT_STORE, Ids, Jobs, Json, Seconds
from .output import say
from .signals import stopped_by_signals

_TEXTS = {
    "cancelled": "cancelled",
    "finished_first": "ended by itself before it could be cancelled",
    "already_over": "had ended already",
    "stuck": "was cancelled, and has not stopped",
    "requested": "was asked for, but its worker has not confirmed it; the request stays in force",
}
_DONE = frozenset({"cancelled", "finished_first", "already_over"})


async def cancel(
    *job_ids: Ids,
    chosen: Filtered = NONE,
    store: Jobs = DEFAULT_STORE,
    reason: Annotated[str | None, Parameter(metavar="T")] = None,
    grace: Seconds = 0.0,
    patience: Seconds = 10.0,
    json: Json = False,
) -> int:
    """Cancel jobs, wait until they have ended, and print how each did.

    The exit status is 0 if all have ended, 1 if one may still run.

    In place of ids, options choose the jobs; then they are told to stop, and only their number is printed.

    Args:
        reason: Free text for the job's history.
        grace: How long the handler may take to end by itself.
        patience: How long it may take to stop after that.
    """
    if grace and chosen.given and not job_ids:
        raise Fault("--grace is for jobs that are named by their ids")
    if await change_chosen("cancel", "told to stop", store, chosen, job_ids, json=json, reason=reason):
        return 0
    found = dict.fromkeys(resolve(store, job_ids))
    reports: dict[str, CancelReport] = {}
    async with stopped_by_signals(), open_jobs(store) as jobs:
        ask = partial(_cancel, jobs, reports, reason=reason, grace=grace, patience=patience)
        async with trio.open_nursery() as nursery:
            for job_id in found:
                nursery.start_soon(ask, job_id)
    for job_id in found:
        report = reports[job_id]
        say(f"{job_id} {_TEXTS[report.outcome]}", {"id": job_id, **plain(report)}, json=json)
    return 0 if all(report.outcome in _DONE for report in reports.values()) else FAILED


async def _cancel(jobs: OpenJobs, reports: dict[str, CancelReport], job_id: str, **how: Any) -> None:
    try:
        reports[job_id] = await jobs.cancel(job_id, **how)
    except UnknownJob:  # it ended and was pruned in the meantime
        reports[job_id] = CancelReport("already_over", 0.0)
