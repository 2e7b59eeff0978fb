"""The verbs of the memory store about schedules."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs

from .._common.errors import Busy
from ._looking import LookingVerbs
from ._row import alike
from .contract import Claim, Claimant, Submission

if TYPE_CHECKING:  # few programs have schedules, and every one that has jobs in memory loads this
    from .._model.schedule import Schedule
    from .schedules import ScheduleRow, Timetable

_NOBODY = Claimant("")


class SchedulingVerbs(LookingVerbs):
    """The schedules, and the verbs about them; see `KeepsSchedules`."""

    def __init__(self) -> None:
        super().__init__()
        self._schedules: dict[str, ScheduleRow] = {}

    @abstractmethod
    async def submit(
        self, batch: Sequence[Submission], limit: int, worker: Claimant
    ) -> tuple[list[str], list[Claim]]: ...

    async def declare(self, schedules: Sequence[Schedule]) -> None:
        """See `KeepsSchedules.declare`."""
        for one in schedules:
            self._keep_schedule(one)
        await self.keep_declared([one.name for one in schedules])

    async def keep_declared(self, names: Collection[str]) -> None:
        """See `KeepsSchedules.keep_declared`."""
        from .schedules import DECLARED

        until = self._time() + self._epoch + DECLARED
        for name in names & self._schedules.keys():
            row = self._schedules[name]
            self._schedules[name] = attrs.evolve(row, added=False, declared_until=until)

    async def add_schedule(self, schedule: Schedule) -> None:
        """See `KeepsSchedules.add_schedule`."""
        self._check_undeclared(schedule.name)
        self._keep_schedule(schedule)
        self._schedules[schedule.name] = attrs.evolve(self._schedules[schedule.name], added=True)

    async def remove_schedule(self, name: str) -> None:
        """See `KeepsSchedules.remove_schedule`."""
        self._check_undeclared(name)
        self._schedule_row(name)
        del self._schedules[name]

    def _keep_schedule(self, one: Schedule) -> None:
        from .schedules import ScheduleRow

        now = self._time() + self._epoch
        old = self._schedules.get(one.name)
        if old is None:
            self._schedules[one.name] = ScheduleRow(one, now, now)
        elif not alike(old.schedule, one):
            self._schedules[one.name] = old.changed(one, now)

    def _check_undeclared(self, name: str) -> None:
        row = self._schedules.get(name)
        if row is not None and row.is_declared(self._time() + self._epoch):
            from .schedules import ScheduleDeclared

            raise ScheduleDeclared(name)

    def _schedule_row(self, name: str) -> ScheduleRow:
        if (row := self._schedules.get(name)) is None:
            from .schedules import UnknownSchedule

            raise UnknownSchedule(name)
        return row

    async def schedules(self) -> Timetable:
        """See `KeepsSchedules.schedules`."""
        from .schedules import Timetable

        return Timetable(self._time() + self._epoch, [row for _, row in sorted(self._schedules.items())])

    async def pause_schedule(self, name: str, *, paused: bool) -> None:
        """See `KeepsSchedules.pause_schedule`."""
        self._schedules[name] = self._schedule_row(name).with_pause(self._time() + self._epoch, paused=paused)

    async def fire(self, seen: ScheduleRow, tick: float, job: Submission) -> bool:
        """See `KeepsSchedules.fire`."""
        row = self._schedules.get(seen.schedule.name)
        if row is None or not row.may_fire(seen, tick):
            return False
        with suppress(Busy):
            await self.submit([job], 0, _NOBODY)  # without a checkpoint, so this is one step
        self._schedules[seen.schedule.name] = row.fired(tick)
        return True
