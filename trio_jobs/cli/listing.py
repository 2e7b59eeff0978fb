"""`trio-jobs list`, `trio-jobs statistics` and `trio-jobs top`: print which jobs there are, and how many."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final, cast

from cyclopts import Parameter

from .._common.states import Reason, State
from .._model.summary import JobSummary
from .._registry.filter import Search, where_of
from ..stores.pauses import Pauses
from ..stores.records import PAGE_JOBS
from ..stores.rules import WAITING
from .durations import ago
from .ending import state_of
from .faults import Fault
from .opening import open_jobs, open_readonly
from .options import DEFAULT_STORE, Jobs, Json, Seconds, States, Tags, tags_of
from .output import json_line, note, table
from .pause import fields, said
from .signals import stopped_by_signals
from .stand_ins import stand_ins

_SHORTEST: Final = 0.1
_NAMES = ("ID", "STATE", "HANDLER", "TRIES", "SUBMITTED", "DETAIL")


def list_jobs(
    *,
    store: Jobs = DEFAULT_STORE,
    state: States = None,
    tag: Tags = None,
    handler: str | None = None,
    owner: str | None = None,
    older_than: Seconds | None = None,
    args_contain: str | None = None,
    waiting: Annotated[bool, Parameter(negative=())] = False,
    limit: Annotated[int, Parameter(metavar="N")] = 50,
    json: Json = False,
) -> None:
    """Print the newest jobs that match, the newest last.

    Args:
        handler: Only jobs of this handler.
        owner: Only jobs of this owner.
        older_than: Only jobs that ended so long ago, as 7d.
        args_contain: Only jobs with this piece of text in their arguments as JSON.
        waiting: Only jobs that wait for an input, see 'trio-jobs send'.
        limit: How many at most.
    """
    if limit < 1:
        raise Fault(f"--limit takes a number from 1; got {limit}")
    given: dict[str, Any] = {"state": state or None, "tags": tags_of(tag) or None, "handler": handler}
    given |= {"owner": owner, "older_than": older_than, "args_contain": args_contain}
    given["reason"] = Reason.AWAITING_INPUT if waiting else None
    where = where_of(cast("Search", {name: value for name, value in given.items() if value is not None}))
    with open_readonly(store) as seen:
        jobs = seen.newest(where, limit)
        if json:
            for job in jobs:
                json_line(job)
            return
        now = datetime.now(UTC)
        held = seen.pauses()
        table(_NAMES, [_row(seen.short(job.id), job, now, held) for job in jobs], state=1)
        total = sum(seen.count(where).values())
    if total > len(jobs):
        note(f"the newest {len(jobs)} of {total} jobs; for more: --limit {total}")


def _row(short: str, job: JobSummary, now: datetime, held: Pauses) -> list[str]:
    paused = job.state in WAITING and held.hold(job.handler)
    state = f"{job.state} (paused)" if paused else state_of(job)
    detail = job.message or " ".join(f"{name}={value}" for name, value in job.tags.items())
    return [short, state, job.handler, str(job.attempt), ago(job.created_at, now), detail]


def statistics(*, store: Jobs = DEFAULT_STORE, json: Json = False) -> None:
    """Print how many jobs are in each state, and what is paused. Also: trio-jobs stats."""
    with open_readonly(store) as seen:
        found = seen.count(where_of({}))
        counts = {state: found.get(state, 0) for state in State}
        size, held = seen.size(), seen.pauses()
    if json:
        json_line({"states": counts, "jobs": sum(counts.values()), "bytes": size, **fields(held)})
        return
    rows = [[state, str(number)] for state, number in counts.items()]
    table(("STATE", "JOBS"), [*rows, ["all", str(sum(counts.values()))]], state=0)
    if any(held):
        note(said(held))


async def top(
    *,
    store: Jobs = DEFAULT_STORE,
    interval: Seconds = 1.0,
    count: Annotated[int | None, Parameter(metavar="N")] = None,
    limit: Annotated[int, Parameter(metavar="N")] = 20,
    json: Json = False,
) -> None:
    """Show what runs and waits, live, with keys to cancel, retry and pause; plain lines in a pipe.

    Args:
        interval: How long it is between two looks.
        count: After how many looks it ends; by default, q or Ctrl-C ends it.
        limit: How many running jobs are shown.
    """
    if not 1 <= limit <= PAGE_JOBS:
        raise Fault(f"--limit takes a number from 1 to {PAGE_JOBS}; got {limit}")
    if count is not None and count < 1:
        raise Fault(f"--count takes a number from 1; got {count}")
    if interval < _SHORTEST:
        raise Fault(f"--interval takes {_SHORTEST:g} seconds or more; got {interval:g}")
    with open_readonly(store) as seen:  # the store exists and holds jobs; opening a registry would make it
        handlers = stand_ins(seen.handlers())
    from .live import watch  # drawing takes long to import

    async with stopped_by_signals(), open_jobs(store, handlers) as jobs:
        await watch(jobs, interval=interval, count=count, limit=limit, json=json)
