"""What callers may do with a store as a whole: its statistics, pauses, schedules and limits.

Callers who see their own jobs only may do nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from .._common.errors import InvalidPayload, UnknownHandler
from .._common.validate import RefusedAs
from .._json.arguments import Arguments
from .._model.handler import mark_of
from .._model.job import NO_KWARGS, Statistics
from .._model.limits import Limit, LimitStatus
from .._model.schedule import Schedule, ScheduleStatus
from .._registry.registry import JobRegistry
from .._wire.requests import (
    RULE,
    AddSchedule,
    BadRequest,
    ListLimits,
    ListSchedules,
    NewSchedule,
    Pause,
    PauseSchedule,
    RemoveSchedule,
    Resume,
    ResumeSchedule,
    SetLimit,
    TriggerSchedule,
    UnsetLimit,
)
from .access import check_may_change
from .options import Caller, ServerOptions
from .overview import Overview, overview_of
from .problems import Refused


def _check_sees_all(caller: Caller, what: str) -> None:
    if caller.owner is not None:
        raise Refused("forbidden", f"{what} for those only who see all jobs")


class StoreOperations:
    """The operations on the store of a registry that callers may ask for.

    Each raises `Refused` if the caller does not see all jobs, or changes something and may only read.

    Args:
        jobs: The registry.
        options: The options of the server.
    """

    def __init__(self, jobs: JobRegistry, options: ServerOptions) -> None:
        self._jobs = jobs
        self._metrics = options.metrics

    async def statistics(self, caller: Caller) -> Statistics:
        """Return the statistics of the registry."""
        _check_sees_all(caller, "the statistics are")
        return await self._jobs.statistics()

    async def overview(self, caller: Caller) -> Overview:
        """Return the overview of the registry."""
        _check_sees_all(caller, "the overview is")
        return await overview_of(self._jobs)

    async def metrics(self, caller: Caller) -> bytes:
        """Return the metrics of the registry."""
        _check_sees_all(caller, "the metrics are")
        return await self._metrics(self._jobs)

    async def pause(self, caller: Caller, asked: Pause | Resume) -> Statistics:
        """Pause handlers for all workers, or resume them, and return the statistics.

        Raises:
            BadRequest: The store keeps no pauses.
            InvalidPayload: A text holds what no store keeps.
        """
        check_may_change(caller)
        _check_sees_all(caller, "handlers are paused and resumed")
        jobs, names = self._jobs, asked.handlers
        with RefusedAs(BadRequest):
            if isinstance(asked, Pause):
                await (jobs.pause_all() if names is None else jobs.pause_handlers(*names))
            else:
                await (jobs.resume_all() if names is None else jobs.resume_handlers(*names))
        return await jobs.statistics()

    async def schedules(
        self,
        caller: Caller,
        asked: ListSchedules | AddSchedule | RemoveSchedule | PauseSchedule | ResumeSchedule,
    ) -> list[ScheduleStatus]:
        """Change a schedule, if that is asked, and return all of them.

        Raises:
            BadRequest: The store keeps no schedules.
            InvalidPayload: What is to be added is no schedule, or an argument of it does not fit.
            UnknownHandler: The registry has no handler of that name.
            UnknownSchedule: No schedule has this name.
            ScheduleDeclared: A running program declares it.
        """
        if not isinstance(asked, ListSchedules):
            check_may_change(caller)
        _check_sees_all(caller, "schedules are")
        with RefusedAs(BadRequest):
            schedules = self._jobs.schedules
            match asked:
                case AddSchedule():
                    await schedules.add(self._schedule(asked.what))
                case RemoveSchedule():
                    await schedules.remove(asked.name)
                case PauseSchedule():
                    await schedules.pause(asked.name)
                case ResumeSchedule():
                    await schedules.resume(asked.name)
                case ListSchedules():
                    pass
            return await schedules.find()

    def _schedule(self, new: NewSchedule) -> Schedule:
        fn = self._jobs.handlers.get(new.handler)
        if fn is None:
            raise UnknownHandler(new.handler, self._jobs.handlers)
        args, kwargs = Arguments(fn).convert(new.args, new.kwargs or NO_KWARGS)
        rule = {name: getattr(new, name) for name in RULE}
        with RefusedAs(InvalidPayload):
            options = new.options.given(mark_of(fn).options.retry)
            return Schedule(fn, args, kwargs=kwargs, **rule, options=options)

    async def trigger(self, caller: Caller, asked: TriggerSchedule) -> str:
        """Submit a job of a schedule, and return its id; raises as `schedules` and `Schedules.trigger`."""
        check_may_change(caller)
        _check_sees_all(caller, "schedules are")
        with RefusedAs(BadRequest):
            return (await self._jobs.schedules.trigger(asked.name)).id

    async def limits(
        self, caller: Caller, asked: ListLimits | SetLimit | UnsetLimit
    ) -> Sequence[LimitStatus]:
        """Pin a limit, or end that, if it is asked, and return all limits.

        Raises:
            InvalidPayload: The store keeps no limits, what is to be set is none, or none of this name is
                pinned.
        """
        if not isinstance(asked, ListLimits):
            check_may_change(caller)
        _check_sees_all(caller, "limits are")
        limits = self._jobs.limits
        with RefusedAs(InvalidPayload):
            if isinstance(asked, SetLimit):
                fields = ("at_once", "per_second", "burst", "waiting", "keyed")
                await limits.set(asked.name, Limit(**{name: getattr(asked, name) for name in fields}))
            elif isinstance(asked, UnsetLimit):
                await limits.unset(asked.name)
            return await limits.find()
