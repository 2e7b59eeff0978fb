"""What a store does that keeps schedules, beside jobs.

This is a protocol of its own, as no job needs it: a store that has none of it runs every job. A registry that
is given schedules asks for it when it opens.

All times are seconds since 1970, on the store's clock.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import inf
from typing import Final, NamedTuple, Protocol, runtime_checkable

import attrs

from .._common.errors import TrioJobsError, quoted
from .._model.schedule import Schedule
from .contract import Submission

DECLARED: Final = 180.0
"""Seconds for which a schedule counts as declared, without another word of a registry that declares it."""


class UnknownSchedule(TrioJobsError):
    """No schedule has this name: no registry ever declared it on this store, and nobody added it.

    Attributes:
        name: The name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"no schedule has the name {quoted(name)}; see schedules= of open_registry")
        self.name = name


class ScheduleDeclared(TrioJobsError):
    """A running registry declares the schedule, so it can be neither removed nor replaced by `add`.

    Attributes:
        name: The name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"a running program declares the schedule {quoted(name)}: change it there, or pause it; once no "
            f"program has declared it for {DECLARED:g} seconds, it can be removed"
        )
        self.name = name


@attrs.frozen
class ScheduleRow:
    """A schedule as a store keeps it.

    Attributes:
        schedule: What was declared last under its name.
        anchor: From when on the ticks of `every` are counted: when this `every` was declared first.
        last_tick: The moment behind which ticks count, which never goes back: the last tick that fired, or,
            if that is later, when the schedule was declared first, changed last or resumed last.
        revision: Raised whenever the schedule is changed, paused or resumed.
        paused: Whether it does not fire.
        added: Whether it was added, and not declared.
        declared_until: Until when a registry that declares it counts as running.
    """

    schedule: Schedule
    anchor: float
    last_tick: float
    revision: int = 1
    paused: bool = False
    added: bool = False
    declared_until: float = attrs.field(default=-inf, eq=False)

    def is_declared(self, now: float) -> bool:
        """Return whether a registry that runs declares it."""
        return not self.added and now < self.declared_until

    def changed(self, schedule: Schedule, now: float) -> ScheduleRow:
        """Return the row after another schedule was declared or added under its name."""
        anchor = self.anchor if schedule.every == self.schedule.every else now
        return attrs.evolve(
            self,
            schedule=schedule,
            anchor=anchor,
            last_tick=max(self.last_tick, now),
            revision=self.revision + 1,
        )

    def with_pause(self, now: float, *, paused: bool) -> ScheduleRow:
        """Return the row after it was paused or resumed."""
        if paused == self.paused:
            return self
        last = self.last_tick if paused else max(self.last_tick, now)
        return attrs.evolve(self, paused=paused, last_tick=last, revision=self.revision + 1)

    def may_fire(self, seen: ScheduleRow, tick: float) -> bool:
        """Return whether a tick may fire that was found due in the row as it was seen."""
        same = (self.revision, self.last_tick) == (seen.revision, seen.last_tick)
        return same and not self.paused and tick > self.last_tick

    def fired(self, tick: float) -> ScheduleRow:
        """Return the row after a tick fired."""
        return attrs.evolve(self, last_tick=tick)


class Timetable(NamedTuple):
    """All schedules of a store.

    Attributes:
        now: The time on the store's clock.
        rows: The schedules, by name.
    """

    now: float
    rows: Sequence[ScheduleRow]


@runtime_checkable
class KeepsSchedules(Protocol):
    """The verbs of a store that keeps schedules. Each is one step, as those of `Store` are."""

    async def declare(self, schedules: Sequence[Schedule]) -> None:
        """Keep schedules, each under its name, in place of what was declared there before.

        One that is the same as before changes no tick. Whether a schedule is paused stays, and so do
        schedules that are not among these. What was added under such a name counts as declared from now on.

        Raises:
            InvalidPayload: The store cannot keep a value.
            UnknownHandler: The store runs handlers by name, and does not know one.
        """
        ...

    async def keep_declared(self, names: Collection[str]) -> None:
        """Let schedules of these names count as declared for `DECLARED` seconds, if they are still there."""
        ...

    async def add_schedule(self, schedule: Schedule) -> None:
        """Keep a schedule as `declare` does, but one that was added: it needs nobody to declare it.

        Raises:
            ScheduleDeclared: A registry that runs declares this name.
            InvalidPayload: As for `declare`.
            UnknownHandler: As for `declare`.
        """
        ...

    async def remove_schedule(self, name: str) -> None:
        """Delete a schedule; its jobs stay.

        Raises:
            UnknownSchedule: No schedule has this name.
            ScheduleDeclared: A registry that runs declares it.
        """
        ...

    async def schedules(self) -> Timetable:
        """Return all schedules, and the time."""
        ...

    async def pause_schedule(self, name: str, *, paused: bool) -> None:
        """Let a schedule fire no more, or fire again, those ticks that come after this moment.

        Raises:
            UnknownSchedule: No schedule has this name.
        """
        ...

    async def fire(self, seen: ScheduleRow, tick: float, job: Submission) -> bool:
        """Accept a job for a tick, and let no tick up to this one fire again, in one step.

        That it does not accept the job because of its `exclusive` (`Busy`) makes no difference to the tick.

        Args:
            seen: The row in which the tick was found due.
            tick: The tick.
            job: Its job, without a key.

        Returns:
            Whether it fired. Not if the row is not as it was seen, because the tick has fired, say.

        Raises:
            QueueFull: Too many jobs wait; the tick may fire later.
            UnknownHandler: As for `declare`.
        """
        ...
