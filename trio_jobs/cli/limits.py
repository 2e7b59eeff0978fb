"""`trio-jobs limits`: list limits with what is used of them, and pin them."""

from __future__ import annotations

from typing import Annotated

import attrs
from cyclopts import App, Parameter

from .._common.validate import RefusedAs
from .._model.limits import Limit, LimitStatus
from .faults import Fault
from .opening import open_jobs, open_readonly
from .options import DEFAULT_STORE, Jobs, Json
from .output import json_line, line, table
from .signals import stopped_by_signals

Name = Annotated[str, Parameter(name="NAME", help="The name of the limit; report[0] is the first of report.")]


def list_limits(*, store: Jobs = DEFAULT_STORE, json: Json = False) -> None:
    """Print all limits, and how many jobs run and wait under each."""
    with open_readonly(store) as seen:
        found = seen.limits()
    if not json:
        table(("NAME", "LIMIT", "RUNNING", "WAITING", ""), [*map(_row, found)])
        return
    for one in found:
        json_line(attrs.asdict(one))


def _row(one: LimitStatus) -> list[str]:
    says = attrs.asdict(one.limit, filter=lambda _, value: value not in {None, False})
    limit = " ".join(name if value is True else f"{name}={value:g}" for name, value in says.items())
    return [one.name, limit, str(one.running), str(one.waiting), "pinned" if one.pinned else ""]


async def set_limit(
    name: Name,
    /,
    *,
    at_once: int | None = None,
    per_second: float | None = None,
    burst: int | None = None,
    waiting: int | None = None,
    store: Jobs = DEFAULT_STORE,
) -> None:
    """Pin a limit: it holds at once, for all workers, whatever their programs say of it.

    Args:
        at_once: How many jobs run at once; left out, as the others, there is no bound.
        per_second: How many start per second.
        burst: How many start at one moment after a pause; by default, --per-second rounded up.
        waiting: How many may wait.
    """
    with open_readonly(store) as seen:
        keyed = any(one.limit.keyed for one in seen.limits() if one.name == name)
    with RefusedAs(Fault):
        limit = Limit(at_once=at_once, per_second=per_second, burst=burst, waiting=waiting, keyed=keyed)
        async with stopped_by_signals(), open_jobs(store) as jobs:
            await jobs.limits.set(name, limit)
    line(name)


async def unset_limit(name: Name, /, *, store: Jobs = DEFAULT_STORE) -> None:
    """Let the next worker that starts say again what a limit is; until then it stays as it is."""
    with open_readonly(store):
        pass  # the file exists and holds jobs; opening a registry would make it
    with RefusedAs(Fault):
        async with stopped_by_signals(), open_jobs(store) as jobs:
            await jobs.limits.unset(name)


def limits() -> App:
    """Return the commands."""
    app = App(name="limits", help="List, set and unset limits.", help_epilogue="")
    for name, command in (("list", list_limits), ("set", set_limit), ("unset", unset_limit)):
        app.command(command, name=name)
    return app
