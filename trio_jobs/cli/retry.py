"""`trio-jobs retry`: submit jobs that have ended again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from cyclopts import Parameter

from .._model.handler import handler
from .._model.handlers import Handler
from .._model.retry import Retry
from .._registry.opening import open_registry
from .faults import Fault
from .options import DEFAULT_STORE, Json, Store
from .output import json_line, line
from .readonly import open_readonly
from .signals import stopped_by_signals


async def retry(
    *job_ids: Annotated[str, Parameter(name="ID", help="Ids of jobs, or unambiguous beginnings of them.")],
    store: Store = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Submit jobs that have ended again, and print the ids of the new ones.

    A new job has the arguments and options of the old one, but no key and no delay. Whether the arguments
    fit the handler still, the worker that runs it tells.
    """
    if not job_ids:
        raise Fault("retry takes the id of at least one job; 'trio-jobs list' shows them")
    with open_readonly(store) as seen:
        found = {job_id: seen.job(job_id).handler for job_id in map(seen.resolve, job_ids)}
    handlers = stand_ins(found.values())
    async with stopped_by_signals(), open_registry(store, handlers=handlers, capacity=0) as jobs:
        for job_id in found:
            new = await (await jobs.get(job_id)).resubmit()
            if json:
                json_line({"id": job_id, "resubmitted_as": new.id})
            else:
                line(f"{job_id} submitted again as {new.id}")


def stand_ins(names: Iterable[str]) -> list[Handler]:
    """Return handlers of these names that take any arguments: what a job was submitted with is copied."""
    return [_stand_in(name) for name in dict.fromkeys(names)]


def _stand_in(name: str) -> Handler:
    @handler(name=name, retry=Retry(on=_as_before))
    async def unknown(*_: object) -> None:  # noqa: ASYNC124  # in the place of a handler
        """Take any arguments."""

    return unknown


def _as_before(_: BaseException) -> bool:
    """Stand for what the mark of a handler says is retried: a file keeps only that it is that."""
    raise AssertionError
