"""`trio-jobs schedules`: list, add, remove, pause, resume and trigger what submits jobs by the clock."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import attrs
from cyclopts import App, Parameter

from .._common.validate import RefusedAs
from .._json.records import plain
from .._model.handlers import Handler
from .._model.schedule import Missed, Schedule, ScheduleStatus
from .durations import moment
from .faults import Fault
from .load import THE_SERVERS, handler_in, load_handlers_for
from .opening import open_jobs, open_readonly
from .options import (
    DEFAULT_STORE,
    OF_A_HANDLER,
    HandlersOf,
    Jobs,
    Json,
    Kwargs,
    OnBusy,
    PriorityName,
    Seconds,
    Tags,
    check_store,
    given,
    is_server,
    kwargs_of,
    tags_of,
    value_of,
)
from .output import json_line, line, table
from .signals import stopped_by_signals

if TYPE_CHECKING:
    from .._registry.schedules import Schedules
    from ..client.schedules import RemoteSchedules

_NAMES = ("NAME", "STATE", "HANDLER", "RULE", "NEXT")
Name = Annotated[str, Parameter(name="NAME", help="The name of the schedule.")]


@asynccontextmanager
async def _opened(
    address: str, handlers: Iterable[Handler] = ()
) -> AsyncGenerator[Schedules | RemoteSchedules]:
    with open_readonly(address):
        pass  # the file exists and holds jobs; opening a registry would make it
    async with stopped_by_signals(), open_jobs(address, handlers) as jobs:
        yield jobs.schedules


async def list_schedules(*, store: Jobs = DEFAULT_STORE, json: Json = False) -> None:
    """Print all schedules: who says so, what they submit, by which rule, and when next."""
    async with _opened(store) as found:
        statuses = await found.find()
    if not json:
        table(_NAMES, [_row(one) for one in statuses])
        return
    for one in statuses:
        json_line({name: plain(value) for name, value in attrs.asdict(one).items()})


def _row(one: ScheduleStatus) -> list[str]:
    state = "added" if one.added else "declared" if one.declared else "undeclared"
    rule = f"every {one.every:g}s" if one.cron is None else f"{one.cron} {one.timezone or 'UTC'}"
    coming = "" if one.next_tick is None else moment(one.next_tick)
    return [one.name, f"{state} (paused)" if one.paused else state, one.handler, rule, coming]


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Rule:
    """The options of `add` that say when.

    Attributes:
        name: Its name; by default, that of the handler.
        cron: Minute, hour, day of month, month and day of week, as '0 7 * * 1-5'.
        timezone: Where that is read, as Europe/Berlin; by default, UTC.
        every: How long it is between ticks, in place of --cron.
        missed: What becomes of ticks that are missed: none fires, or the latest.
        late: After how long a tick that could not fire is missed.
        jitter: Up to how long after its tick a job is due, at random.
    """

    name: str | None = None
    cron: str | None = None
    timezone: str | None = None
    every: Seconds | None = None
    missed: Missed = "skip"
    late: Seconds = 60.0
    jitter: Seconds = 0.0


_NONE: Final = Rule()


async def add(
    handlers: HandlersOf,
    handler: Annotated[str | None, Parameter(name="HANDLER", show_default=False)] = None,
    /,
    *args: Annotated[str, Parameter(name="ARGS")],
    store: Jobs = DEFAULT_STORE,
    rule: Rule = _NONE,
    kwarg: Kwargs = None,
    tag: Tags = None,
    priority: PriorityName = None,
    owner: str | None = None,
    exclusive: str | None = None,
    on_busy: OnBusy = "reject",
    limit_key: str | None = None,
) -> None:
    """Add a schedule, or change one that was added. Every worker that has its handler fires it.

    Args:
        handler: The name of the handler that is to run.
        args: Its arguments, as JSON; what is no JSON is text. Behind --, they may begin with a hyphen.
        owner: Whose its jobs are.
        exclusive: A name that one job of the owner holds at a time.
        on_busy: What happens if a job holds that name: reject, attach, after, replace, cancel, or
            debounce=SECONDS,AT_MOST.
        limit_key: For whom its jobs take a place of the handler's keyed limit.
    """
    if not is_server(store):
        check_store(store)
    found = load_handlers_for(store, handlers)
    options = given(
        tags=tags_of(tag), priority=priority, owner=owner, exclusive=exclusive, limit_key=limit_key
    )
    if on_busy != "reject":
        options["on_busy"] = on_busy
    with RefusedAs(Fault):
        when: dict[str, Any] = attrs.asdict(rule) | {"name": rule.name or ""}
        if handler and handlers == THE_SERVERS:
            from .stand_ins import stand_in

            fn = stand_in(handler, keyed=limit_key is not None)
        else:
            fn = handler_in(found, handlers, handler)
        values = tuple(map(value_of, args))
        new = Schedule(fn, values, kwargs=kwargs_of(kwarg), **when, options=options)
    async with stopped_by_signals(), open_jobs(store, found.values()) as jobs:
        await jobs.schedules.add(new)
    line(new.name)


async def remove(name: Name, /, *, store: Jobs = DEFAULT_STORE) -> None:
    """Remove a schedule that was added, or that no program declares any more. Its jobs stay."""
    async with _opened(store) as found:
        await found.remove(name)


async def pause(name: Name, /, *, store: Jobs = DEFAULT_STORE) -> None:
    """Let a schedule fire no more, in any process, until it is resumed."""
    async with _opened(store) as found:
        await found.pause(name)


async def resume(name: Name, /, *, store: Jobs = DEFAULT_STORE) -> None:
    """Let a schedule fire again. Ticks that it had meanwhile do not fire."""
    async with _opened(store) as found:
        await found.resume(name)


async def trigger(handlers: HandlersOf, name: Name, /, *, store: Jobs = DEFAULT_STORE) -> None:
    """Submit a job of a schedule now, and print its id. Its ticks fire as if nothing had happened."""
    async with _opened(store, load_handlers_for(store, handlers).values()) as found:
        line((await found.trigger(name)).id)


def schedules() -> App:
    """Return the commands."""
    app = App(
        name="schedules", help="List, add, remove, pause, resume and trigger schedules.", help_epilogue=""
    )
    app.command(list_schedules, name="list")
    app.command(add, usage=f"Usage: trio-jobs schedules add {OF_A_HANDLER}")
    for command in (remove, pause, resume, trigger):
        app.command(command)
    return app
