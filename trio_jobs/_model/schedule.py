"""A schedule: which job is submitted, and when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal, cast, get_args, get_type_hints

import attrs

from .._common.errors import quoted
from .._common.validate import choice, number, seconds, text
from .handler import check_call, check_limit_key
from .handlers import Handler
from .job import Options
from .options import SubmitOptions, build, named

Missed = Literal["skip", "latest"]
_OWN: Final = {"delay": "jitter=", "run_at": "cron= or every=", "key": "the tick"}
"""The options of `submit` that a schedule has no use for, and what does their work."""
_NAME: Final = 200
SCHEDULE: Final = "schedule"
"""The tag of the jobs of a schedule; its value is the schedule's name."""


@attrs.frozen
class Schedule:
    """Submits a job of a handler at each tick of a rule; `open_registry(schedules=[…])` declares it.

    The rule is `cron` or `every`. A tick fires at most once, however many processes declare the schedule. The
    job has the tag `schedule` with the schedule's name.

    When clocks are set for summer time, a rule that names its hours fires once for each local time it names:
    if the clocks skip that time, at the first moment after the gap, which several such times share; if they
    show it twice, the first time. A rule with `*` or `/` in the field of the hour follows the time that
    passes: it fires whenever the clock shows a time that fits, twice if it shows it twice, and not at all for
    a time that is skipped.

    Attributes:
        handler: The handler; one of those that the registry was given, if its store outlives the process.
        args: Its arguments.
        kwargs: Its keyword arguments.
        name: Unique in the store, at most 200 characters; the handler's name by default.
        cron: Minute, hour, day of month, month and day of week, as in "0 7 * * 1-5". Needs the extra `cron`.
        timezone: Where `cron` is read, as in "Europe/Berlin"; UTC by default.
        every: Seconds between ticks, at least 1, in place of `cron`. They are counted from when the store
            first heard of it, so that restarts do not move them.
        late: Seconds after which a tick that could not fire is missed, because no process ran, say.
        missed: `skip`: a missed tick does not fire. `latest`: if several are missed, the newest fires; and
            none if a later tick is due anyway.
        jitter: The job is due up to so many seconds after the tick, at random.
        options: Of `submit`, such as `{"priority": Priority.LOW}`; but no `delay`, `run_at` and `key`. With
            `exclusive` a tick does what `on_busy` says; with `reject`, a tick whose name is held is dropped.

    Raises:
        TypeError: A value has the wrong type, or the handler does not take these arguments.
        ValueError: A value is out of range, the rule never fires, or there is no such time zone.
        ImportError: `cron` was given, and the extra is not installed.
    """

    handler: Handler
    args: tuple[Any, ...] = ()
    name: str = attrs.field(default="", kw_only=True)
    cron: str | None = attrs.field(default=None, kw_only=True)
    timezone: str | None = attrs.field(default=None, kw_only=True)
    every: float | None = attrs.field(default=None, kw_only=True)
    missed: Missed = attrs.field(default="skip", kw_only=True)
    late: float = attrs.field(default=60.0, kw_only=True)
    jitter: float = attrs.field(default=0.0, kw_only=True)
    options: Mapping[str, Any] = attrs.field(default=attrs.Factory(dict[str, Any]), kw_only=True)
    kwargs: Mapping[str, Any] = attrs.field(default=attrs.Factory(dict[str, Any]), kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not isinstance(cast("object", self.args), tuple):
            raise TypeError(f"args takes a tuple of the handler's arguments; got {quoted(self.args)}")
        object.__setattr__(self, "kwargs", named("kwargs", self.kwargs))
        mark = check_call(self.handler, self.args, self.kwargs)
        object.__setattr__(self, "name", text("name", self.name) or mark.name)
        if len(self.name) > _NAME:
            raise ValueError(f"the name of a schedule has at most {_NAME} characters; got {len(self.name)}")
        if (self.cron is None) == (self.every is None):
            got = "neither" if self.cron is None else "both"
            raise ValueError(f"a schedule takes cron='0 7 * * 1-5' or every=3600.0; got {got}")
        choice("missed", self.missed, get_args(Missed))
        number("late", self.late, 1)
        seconds("late", self.late)
        seconds("jitter", self.jitter)
        if not isinstance(cast("object", self.options), Mapping):
            raise TypeError(f"options takes a mapping of options of submit; got {quoted(self.options)}")
        for name in self.options.keys() & _OWN.keys():
            raise TypeError(f"a schedule's options take no {name}: that is decided by {_OWN[name]}")
        build(mark.options, self.options)
        check_limit_key(mark, self.options)
        build(mark.options, options_of(self, self.jitter))
        self._check_rule()

    def _check_rule(self) -> None:
        if self.every is not None:
            number("every", self.every, 1)
            seconds("every", self.every)
            if self.timezone is not None:
                raise ValueError("every takes no timezone: it counts seconds, wherever that is")
            return
        from .ticks import check_cron  # which loads what reads time zones

        check_cron(self.cron, self.timezone)


@attrs.frozen(kw_only=True)
class ScheduleStatus:
    """A schedule, and how it is doing. What is not described here is as in `Schedule`.

    Attributes:
        handler: The name of its handler.
        added: Whether it was added, and not declared.
        declared: Whether a running registry declares it, or did three minutes ago. What was neither added nor
            is declared does not fire.
        paused: Whether it was paused.
        last_tick: The last tick that fired; or, if that is later, when the schedule was declared or added
            first, changed last or resumed last. Only later ticks fire.
        next_tick: When it fires next; None if nothing will let it fire.
    """

    name: str
    handler: str
    cron: str | None
    timezone: str | None
    every: float | None
    missed: Missed
    late: float
    jitter: float
    added: bool
    declared: bool
    paused: bool
    last_tick: datetime
    next_tick: datetime | None


# Read now: msgspec looks for their names in the module of the class, which later is that of its public name.
ScheduleStatus.__annotations__ = get_type_hints(ScheduleStatus)


def options_of(schedule: Schedule, delay: float = 0.0) -> dict[str, Any]:
    """Return the options of a job of a schedule, with the tag that says whose it is."""
    given = schedule.options
    late = {"delay": delay} if delay else {}
    return {**given, "tags": {SCHEDULE: schedule.name, **given.get("tags", {})}, **late}


def given_of(options: Options) -> dict[str, Any]:
    """Return the options of a schedule whose jobs have these."""
    drop = {*_OWN} if options.exclusive is not None else {*_OWN, "on_busy"}
    names = {field.name for field in attrs.fields(Options)} & SubmitOptions.__annotations__.keys()
    return {name: getattr(options, name) for name in names - drop}
