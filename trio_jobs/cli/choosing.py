"""Which jobs a command is about: ids, or a filter, of which `--dry-run` only says how many match."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, cast

import attrs
from cyclopts import Parameter

from .._registry.bulk import Action, BulkReport, count_affected
from .._registry.filter import Filter, where_of
from .._registry.inside import worker_of
from .._registry.registry import JobRegistry
from .faults import FAILED, Fault
from .opening import OpenJobs, open_jobs, open_readonly
from .options import Seconds, States, Tags, check_no_owner, is_server, tags_of
from .output import say
from .signals import stopped_by_signals
from .stand_ins import stand_ins


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Filtered:
    """The options that choose jobs by what they have, in place of ids.

    Attributes:
        handler: Only jobs of this handler.
        owner: Only jobs of this owner.
        older_than: Only jobs that ended so long ago, as 7d.
        args_contain: Only jobs with this piece of text in their arguments as JSON.
        all: All jobs, as far as no other option says which.
        dry_run: Print how many jobs it would be, and change nothing.
    """

    state: States = None
    tag: Tags = None
    handler: str | None = None
    owner: str | None = None
    older_than: Seconds | None = None
    args_contain: str | None = None
    all: Annotated[bool, Parameter(negative=())] = False
    dry_run: Annotated[bool, Parameter(negative=())] = False

    @property
    def where(self) -> Filter:
        """What was chosen, as `JobRegistry.find` takes it."""
        given: dict[str, Any] = {
            "state": self.state or None,
            "tags": tags_of(self.tag) or None,
            "handler": self.handler,
        }
        given |= {"owner": self.owner, "older_than": self.older_than, "args_contain": self.args_contain}
        return cast("Filter", {name: value for name, value in given.items() if value is not None})

    @property
    def given(self) -> bool:
        """Whether they choose any."""
        return bool(self.where or self.all)


NONE: Final = Filtered()


async def change_chosen(
    action: Action,
    done: str,
    store: str,
    chosen: Filtered,
    ids: Sequence[str] = (),
    *,
    json: bool,
    reason: str | None = None,
) -> bool:
    """Change the jobs that were chosen, or count them, and print how many they are; return whether any were.

    Args:
        action: What is done to them.
        done: What is said of them then.
        store: Where they are kept.
        chosen: The options.
        ids: The jobs that are named in their place.
        json: Whether to print JSON.
        reason: Of a cancellation, free text for the histories.

    Raises:
        Fault: No jobs are named or chosen, or both; or some could not be changed.
    """
    if ids:
        if chosen.given or chosen.dry_run:
            raise Fault(f"{action} takes ids of jobs, or options that choose them; not both")
        return False
    if not chosen.given:
        raise Fault(
            f"{action} takes the id of at least one job; 'trio-jobs list' shows them. Or choose jobs by "
            "--state, --tag, --handler, --owner, --older-than or --args-contain; --all chooses all there are"
        )
    with open_readonly(store) as seen:  # the store exists and holds jobs; opening a registry would make it
        named = seen.handlers()
    where = chosen.where
    if is_server(store):
        check_no_owner(chosen.owner)
    handlers = stand_ins(named) if action == "retry" else []
    async with stopped_by_signals(), open_jobs(store, handlers) as jobs:
        if chosen.dry_run:
            report = await _count(jobs, action, where)
        elif action == "retry":
            report = await jobs.retry_where(**where)
        elif action == "remove":
            report = BulkReport(await jobs.remove_where(**where))
        else:
            report = BulkReport(await jobs.cancel_where(reason, **where))
    what = f"{report.count}{' or more' if report.more else ''} job{'' if report.count == 1 else 's'}"
    record = {done: report.count} | ({"dry_run": True} if chosen.dry_run else {})
    say(f"{what} {'would be ' if chosen.dry_run else ''}{done}", record, json=json)
    if report.refused:
        raise Fault(f"{report.refused} could not be {done}: {report.message}", FAILED)
    return True


async def _count(jobs: OpenJobs, action: Action, where: Filter) -> BulkReport:
    if isinstance(jobs, JobRegistry):
        return await count_affected(worker_of(jobs), action, where_of(where))
    return await jobs.count_affected(action, **where)
