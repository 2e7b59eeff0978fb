"""Fire the schedules that a registry declares, and those that were added, when they are due."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Mapping
from functools import partial
from math import inf
from typing import Final, cast

import trio

from .._common.errors import QueueFull, UnknownHandler, quoted
from .._model.handler import mark_of
from .._model.schedule import Schedule, options_of
from .._model.ticks import due_tick, next_tick
from .._running.worker import Worker
from ..stores.contract import Store, Submission
from ..stores.retrying import retry_until_answered, retry_until_done
from ..stores.rules import date_of
from ..stores.schedules import DECLARED, KeepsSchedules, ScheduleRow
from ..stores.submission import submission

logger = logging.getLogger("trio_jobs")

LOOK: Final = 10.0
"""Seconds after which a registry looks again: another may have added or resumed a schedule, or the clock may
be set."""


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
    given = {**options_of(schedule, delay), "kwargs": schedule.kwargs}
    return submission(schedule.handler, schedule.args, given)


class Firing:
    """The firing of a registry: of the schedules it declares, and of those that were added and it can run.

    Args:
        worker: The worker of the registry.
        handlers: The handlers that it was given.
        declared: The schedules that it declares, by name.
    """

    def __init__(
        self, worker: Worker, handlers: Iterable[str], declared: Mapping[str, Schedule] | None = None
    ) -> None:
        self._worker = worker
        self._handlers = handlers
        self._declared = declared or {}
        self._scope = trio.CancelScope()
        self._news = trio.Event()
        self._begun = False

    async def begin(self) -> None:
        """Declare what is to be declared, and fire from then on.

        Raises:
            TypeError: The store keeps no schedules, and some are declared.
        """
        if self._declared:
            await retry_until_answered(keeper_of(self._worker.store).declare, [*self._declared.values()])
        if isinstance(self._worker.store, KeepsSchedules):
            self._start()

    def look(self) -> None:
        """Look at the schedules at once, as one was added or resumed here."""
        if self._worker.capacity and not self._begun:
            self._start()
        self._news.set()

    def end(self) -> None:
        """Fire no more."""
        self._scope.cancel(reason="the registry is being left")

    def _start(self) -> None:
        self._begun = True
        self._worker.nursery.start_soon(self._run, name="fire schedules")

    async def _run(self) -> None:
        keeper, declared = keeper_of(self._worker.store), trio.current_time()
        with self._scope:
            while True:
                self._news = trio.Event()
                if self._declared and trio.current_time() - declared >= DECLARED / 3:
                    await retry_until_done(partial(keeper.keep_declared, self._declared.keys()))
                    declared = trio.current_time()
                table = await retry_until_done(keeper.schedules)
                wake = table.now + LOOK
                for row in table.rows:
                    if self._fires(row):
                        wake = min(wake, await _fire(keeper, row, table.now))
                        if row.schedule.options.get("on_busy") == "cancel":
                            await self._worker.hear()
                with trio.move_on_after(max(0.0, wake - table.now)):
                    await self._news.wait()

    def _fires(self, row: ScheduleRow) -> bool:
        if row.paused or row.schedule.name in self._declared:
            return not row.paused
        known = not self._worker.store.durable or mark_of(row.schedule.handler).name in self._handlers
        return row.added and known and self._worker.capacity > 0


async def _fire(store: KeepsSchedules, row: ScheduleRow, now: float) -> float:
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
