"""Schedules in a database: the verbs about them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..contract import Submission
from ..schedule_text import ScheduleTexts
from .calls import PostgresCalls
from .submitting import call_of

if TYPE_CHECKING:  # few programs have schedules
    from ..._model.schedule import Schedule
    from ..schedules import ScheduleRow, Timetable


class ScheduleCalls(PostgresCalls):
    """Calls about schedules; see `KeepsSchedules`."""

    @cached_property
    def _texts(self) -> ScheduleTexts:
        return ScheduleTexts(self._rows)

    async def _change(self, verb: str, **call: Any) -> None:
        await self._write("change_schedules", {"do": verb, **call})

    async def declare(self, schedules: Sequence[Schedule]) -> None:
        """See `KeepsSchedules.declare`."""
        from ..schedules import DECLARED

        kept = [self._texts.kept(one) for one in schedules]
        await self._change("declare", schedules=kept, names=[], lasts=DECLARED)

    async def keep_declared(self, names: Collection[str]) -> None:
        """See `KeepsSchedules.keep_declared`."""
        from ..schedules import DECLARED

        await self._change("declare", schedules=[], names=[*names], lasts=DECLARED)

    async def add_schedule(self, schedule: Schedule) -> None:
        """See `KeepsSchedules.add_schedule`."""
        await self._change("add", **self._texts.kept(schedule))

    async def remove_schedule(self, name: str) -> None:
        """See `KeepsSchedules.remove_schedule`."""
        await self._change("remove", name=name)

    async def schedules(self) -> Timetable:
        """See `KeepsSchedules.schedules`."""
        from ..schedules import ScheduleRow, Timetable

        found, now = list[ScheduleRow](), 0.0
        for time, text, anchor, last, revision, paused, added, until in await self._read("schedules"):
            now = float(time or 0)
            if text is not None and (schedule := self._texts.read(text)) is not None:
                times = float(anchor or 0), float(last or 0)
                flags = paused == "t", added == "t"
                found.append(ScheduleRow(schedule, *times, int(revision or 0), *flags, float(until or 0)))
        return Timetable(now, found)

    async def pause_schedule(self, name: str, *, paused: bool) -> None:
        """See `KeepsSchedules.pause_schedule`."""
        await self._change("pause", name=name, paused=paused)

    async def fire(self, seen: ScheduleRow, tick: float, job: Submission) -> bool:
        """See `KeepsSchedules.fire`."""
        call = {"name": seen.schedule.name, "revision": seen.revision, "last": seen.last_tick, "tick": tick}
        new = call_of([self._rows.written(job)])
        fired: bool = await self._write("fire_schedule", {**new, **call}, alone=not new["plain"])
        return fired
