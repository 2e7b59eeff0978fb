"""The verbs of the memory store about schedules."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

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
        from .schedules import ScheduleRow

        now = self._time() + self._epoch
        for one in schedules:
            old = self._schedules.get(one.name)
            if old is None:
                self._schedules[one.name] = ScheduleRow(one, now, now)
            elif not alike(old.schedule, one):
                self._schedules[one.name] = old.changed(one, now)

    async def schedules(self) -> Timetable:
        """See `KeepsSchedules.schedules`."""
        from .schedules import Timetable

        return Timetable(self._time() + self._epoch, [row for _, row in sorted(self._schedules.items())])

    async def pause_schedule(self, name: str, *, paused: bool) -> None:
        """See `KeepsSchedules.pause_schedule`."""
        if (row := self._schedules.get(name)) is None:
            from .schedules import UnknownSchedule

            raise UnknownSchedule(name)
        self._schedules[name] = row.with_pause(self._time() + self._epoch, paused=paused)

    async def fire(self, seen: ScheduleRow, tick: float, job: Submission) -> bool:
        """See `KeepsSchedules.fire`."""
        row = self._schedules.get(seen.schedule.name)
        if row is None or not row.may_fire(seen, tick):
            return False
        with suppress(Busy):
            await self.submit([job], 0, _NOBODY)  # without a checkpoint, so this is one step
        self._schedules[seen.schedule.name] = row.fired(tick)
        return True
