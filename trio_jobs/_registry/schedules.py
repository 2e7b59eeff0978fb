"""The schedules of a registry: they are listed, added, removed, paused, resumed and triggered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, cast

import trio

from .._common.errors import quoted
from .._common.validate import text
from .._model.handler import mark_of
from .._model.schedule import Schedule, ScheduleStatus
from .._model.ticks import next_tick
from .._running.worker import Worker
from .._watching.handle import JobHandle
from ..stores.contract import Submission
from ..stores.rules import date_of
from ..stores.schedules import KeepsSchedules, ScheduleRow, UnknownSchedule
from .firing import Firing, job_of, keeper_of


def _status(row: ScheduleRow, now: float) -> ScheduleStatus:
    one, declared = row.schedule, row.is_declared(now)
    fires = (row.added or declared) and not row.paused
    coming = next_tick(one, max(row.last_tick, now), row.anchor) if fires else inf
    return ScheduleStatus(
        name=one.name,
        handler=mark_of(one.handler).name,
        cron=one.cron,
        timezone=one.timezone,
        every=one.every,
        missed=one.missed,
        late=one.late,
        jitter=one.jitter,
        added=row.added,
        declared=declared,
        paused=row.paused,
        last_tick=date_of(row.last_tick),
        next_tick=None if coming == inf else date_of(coming),
    )


class Schedules:
    """The schedules of a store; `JobRegistry.schedules` is one. All its methods are checkpoints."""

    def __init__(
        self, worker: Worker, firing: Firing, tell_limits: Callable[[Submission], Awaitable[None]]
    ) -> None:
        self._worker = worker
        self._firing = firing
        self._tell_limits = tell_limits

    async def find(self) -> list[ScheduleStatus]:
        """Return all schedules of the store, by name, also those that others declared or added."""
        table = await (await self._keeper()).schedules()
        return [_status(row, table.now) for row in table.rows]

    async def add(self, schedule: Schedule) -> None:
        """Keep a schedule in the store until `remove`, in place of one that was added under its name before.

        It is fired by each registry that runs jobs and was given its handler; in memory by this one. Others
        see it within ten seconds. If it is the same as before, no tick of it changes, and no pause.

        Raises:
            TypeError: It is no `Schedule`.
            ScheduleDeclared: A running registry declares one of this name.
            InvalidPayload: An argument does not fit its annotation or cannot be made into JSON, in a store
                that outlives the process.
            UnknownHandler: Such a store runs only the handlers that the registry was given.
        """
        if not isinstance(cast("object", schedule), Schedule):
            raise TypeError(f"add takes a Schedule record; got {quoted(schedule)}")
        new = job_of(schedule)
        keeper = await self._keeper(submits=True)
        if new.limits:
            await self._tell_limits(new)
        await keeper.add_schedule(schedule)
        self._firing.look()

    async def remove(self, name: str) -> None:
        """Delete a schedule that was added, or that no running registry declares any more. Its jobs stay.

        Raises:
            UnknownSchedule: No schedule has this name.
            ScheduleDeclared: A running registry declares it.
        """
        await (await self._keeper()).remove_schedule(text("name", name))

    async def pause(self, name: str) -> None:
        """Let a schedule fire no more until `resume`, in no process, and also after restarts.

        Raises:
            UnknownSchedule: No schedule has this name.
        """
        await (await self._keeper()).pause_schedule(text("name", name), paused=True)

    async def resume(self, name: str) -> None:
        """Let a schedule fire again; ticks that it had meanwhile do not.

        Raises:
            UnknownSchedule: No schedule has this name.
        """
        await (await self._keeper()).pause_schedule(text("name", name), paused=False)
        self._firing.look()

    async def trigger(self, name: str) -> JobHandle[Any, Any]:
        """Submit a job of a schedule now, also if it is paused. Its ticks fire as if nothing had happened.

        Returns:
            A handle on the job.

        Raises:
            UnknownSchedule: No schedule has this name.
            UnknownHandler: The registry was not given its handler, on a store that outlives the process.
            Busy: Another job holds its `exclusive` name, and `on_busy` is `reject`.
            QueueFull: Too many jobs wait.
        """
        text("name", name)
        table = await (await self._keeper(submits=True)).schedules()
        for row in table.rows:
            if row.schedule.name == name:
                (job_id,) = await self._worker.submit([job_of(row.schedule)])
                return JobHandle(self._worker, job_id)
        raise UnknownSchedule(name)

    async def _keeper(self, *, submits: bool = False) -> KeepsSchedules:
        self._worker.check_open(submits=submits)
        await trio.lowlevel.checkpoint()
        return keeper_of(self._worker.store)
