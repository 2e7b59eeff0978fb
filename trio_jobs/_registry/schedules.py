"""The schedules of a registry: they fire, and are listed, paused and resumed."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from math import inf
from typing import Any, Final, cast

import attrs
import trio

from .._common.errors import QueueFull, UnknownHandler, quoted
from .._model.schedule import Schedule, options_of
from .._model.ticks import due_tick, next_tick
from .._running.worker import Worker
from .._watching.handle import JobHandle
from ..stores.contract import Store, Submission
from ..stores.retrying import retry_until_answered, retry_until_done
from ..stores.rules import date_of
from ..stores.schedules import KeepsSchedules, ScheduleRow, UnknownSchedule
from ..stores.submission import submission

logger = logging.getLogger("trio_jobs")

LOOK: Final = 10.0
"""Seconds after which a registry looks again: another may have resumed a schedule, or the clock may be
set."""


def keeper_of(store: Store) -> KeepsSchedules:
    """Return a store as one that keeps schedules. Raises `TypeError` if it does not."""
    if not isinstance(store, KeepsSchedules):
        raise TypeError(f"{type(store).__name__} keeps no schedules; the stores of trio_jobs do")
    return store


def by_name(given: Iterable[Schedule]) -> Mapping[str, Schedule]:
    """Return schedules by name.

    Raises:
        TypeError: Something is not a schedule.
        ValueError: Two have the same name.
    """
    if not isinstance(cast("object", given), Iterable):
        raise TypeError(f"schedules takes an iterable of Schedule records; got {quoted(given)}")
    found: dict[str, Schedule] = {}
    for one in given:
        if not isinstance(cast("object", one), Schedule):
            raise TypeError(f"schedules takes Schedule records; got {quoted(one)}")
        if found.setdefault(one.name, one) is not one:
            raise ValueError(f"two schedules are named {quoted(one.name)}; tell them apart with name=…")
    return found


def job_of(schedule: Schedule, *, delay: float = 0.0) -> Submission:
    """Return a new job of a schedule."""
    return submission(schedule.handler, schedule.args, options_of(schedule, delay))


async def fire_schedules(
    store: KeepsSchedules, declared: Iterable[str], hear: Callable[[], Awaitable[None]]
) -> None:
    """Fire the ticks of schedules when they are due, for ever. Others of the store are left alone.

    Args:
        store: The store.
        declared: The names of those schedules.
        hear: Called when a tick may have requested the cancellation of a job that runs.
    """
    while True:
        table = await retry_until_done(store.schedules)
        wake = table.now + LOOK
        for row in table.rows:
            if row.schedule.name in declared and not row.paused:
                wake = min(wake, await _fire_one(store, row, table.now))
                if row.schedule.options.get("on_busy") == "cancel":
                    await hear()
        await trio.sleep(max(0.0, wake - table.now))


async def _fire_one(store: KeepsSchedules, row: ScheduleRow, now: float) -> float:
    """Fire a tick of a schedule, if one is due, and return when the next one may be."""
    schedule = row.schedule
    tick = due_tick(schedule, row.last_tick, now, row.anchor)
    if tick is None:
        return next_tick(schedule, max(row.last_tick, now), row.anchor)
    job = job_of(schedule, delay=random.uniform(0, schedule.jitter))  # noqa: S311  # to spread the load
    try:
        if await retry_until_answered(store.fire, row, tick, job):
            logger.debug("schedule %s fired for %s", schedule.name, date_of(tick))
    except (QueueFull, UnknownHandler) as error:  # another process, with another handler, changed it
        logger.warning("schedule %s could not fire for %s yet: %s", schedule.name, date_of(tick), error)
        return inf
    return now


@attrs.frozen
class ScheduleStatus:
    """A schedule, and how it is doing.

    Attributes:
        name: Its name.
        schedule: What was declared last under this name.
        declared: Whether this registry declares it. What no running registry declares does not fire.
        paused: Whether it was paused.
        last_tick: The last tick that fired; or, if that is later, when the schedule was declared first,
            changed last or resumed last. Only later ticks fire.
        next_tick: When it fires next; None if it is paused, or never does.
    """

    name: str
    schedule: Schedule
    declared: bool
    paused: bool
    last_tick: datetime
    next_tick: datetime | None


class Schedules:
    """The schedules of a store; `JobRegistry.schedules` is one. All its methods are checkpoints."""

    def __init__(self, worker: Worker, declared: Iterable[str]) -> None:
        self._worker = worker
        self._declared = declared

    async def find(self) -> list[ScheduleStatus]:
        """Return all schedules of the store, by name, also those that others declared."""
        table = await (await self._keeper()).schedules()
        return [self._status(row, table.now) for row in table.rows]

    def _status(self, row: ScheduleRow, now: float) -> ScheduleStatus:
        one = row.schedule
        coming = inf if row.paused else next_tick(one, max(row.last_tick, now), row.anchor)
        return ScheduleStatus(
            name=one.name,
            schedule=one,
            declared=one.name in self._declared,
            paused=row.paused,
            last_tick=date_of(row.last_tick),
            next_tick=None if coming == inf else date_of(coming),
        )

    async def pause(self, name: str) -> None:
        """Let a schedule fire no more until `resume`, in no process, and also after restarts.

        Raises:
            UnknownSchedule: No schedule has this name.
        """
        await (await self._keeper()).pause_schedule(name, paused=True)

    async def resume(self, name: str) -> None:
        """Let a schedule fire again; ticks that it had meanwhile do not.

        Raises:
            UnknownSchedule: No schedule has this name.
        """
        await (await self._keeper()).pause_schedule(name, paused=False)

    async def trigger(self, name: str) -> JobHandle[Any, Any]:
        """Submit a job of a schedule now, also if it is paused. Its ticks fire as if nothing had happened.

        Returns:
            A handle on the job.

        Raises:
            UnknownSchedule: No schedule has this name.
            QueueFull: Too many jobs wait.
        """
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
