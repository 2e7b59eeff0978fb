"""Schedules in a file: their rows, and the verbs about them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..._common.errors import Busy
from ..contract import Claimant, Submission
from ..rows import Rows, Written
from ..schedule_text import ScheduleTexts
from . import verbs
from .calls import FileCalls
from .clock import Clock
from .group import Group, Row, Transaction

if TYPE_CHECKING:  # few programs have schedules
    from ..._model.schedule import Schedule
    from ..schedules import ScheduleRow, Timetable

_NOBODY: Final = Claimant("")
_Kept: TypeAlias = Mapping[str, Any]
"""What is kept of a schedule; see `ScheduleTexts.kept`."""


class ScheduleCalls(FileCalls):
    """Calls about schedules; see `KeepsSchedules`."""

    def __init__(self, path: Path, rows: Rows, writer: Group, reader: Group, *, now: Clock) -> None:
        super().__init__(path, writer, reader, now=now)
        self._rows = rows
        self._texts = ScheduleTexts(rows)

    async def declare(self, schedules: Sequence[Schedule]) -> None:
        """See `KeepsSchedules.declare`."""
        kept = [self._texts.kept(one) for one in schedules]
        await self._write(lambda tx: _declare(tx, kept))

    async def keep_declared(self, names: Collection[str]) -> None:
        """See `KeepsSchedules.keep_declared`."""
        await self._write(lambda tx: _keep_declared(tx, names))

    async def add_schedule(self, schedule: Schedule) -> None:
        """See `KeepsSchedules.add_schedule`."""
        kept = self._texts.kept(schedule)
        await self._write(lambda tx: _add(tx, kept))

    async def remove_schedule(self, name: str) -> None:
        """See `KeepsSchedules.remove_schedule`."""
        await self._write(lambda tx: _remove(tx, name))

    async def schedules(self) -> Timetable:
        """See `KeepsSchedules.schedules`."""
        from ..schedules import ScheduleRow, Timetable

        found = list[ScheduleRow]()
        for text, anchor, last, revision, paused, added, until in await self._read(_listed):
            if (schedule := self._texts.read(text)) is not None:
                found.append(ScheduleRow(schedule, anchor, last, revision, bool(paused), bool(added), until))
        return Timetable(self._now(), found)

    async def pause_schedule(self, name: str, *, paused: bool) -> None:
        """See `KeepsSchedules.pause_schedule`."""
        await self._write(lambda tx: _pause(tx, name, paused=paused))

    async def fire(self, seen: ScheduleRow, tick: float, job: Submission) -> bool:
        """See `KeepsSchedules.fire`."""
        new, handlers = self._rows.written(job), self._rows.handlers
        fired = await self._write(lambda tx: _fire(tx, seen, tick, new, handlers))
        if fired:
            self._signals.work.ring()
        return fired


def _listed(tx: Transaction) -> list[Row]:
    return [*tx.run("schedules")]


def _declare(tx: Transaction, kept: Sequence[_Kept]) -> None:
    tx.check_compat()
    for one in kept:
        tx.run("keep_schedule", **one, now=tx.now)
    _keep_declared(tx, [one["name"] for one in kept])


def _keep_declared(tx: Transaction, names: Collection[str]) -> None:
    from ..schedules import DECLARED

    tx.check_compat()
    for name in names:
        tx.run("claim_schedule", name=name, added=False, until=tx.now + DECLARED)


def _add(tx: Transaction, kept: _Kept) -> None:
    tx.check_compat()
    _check_undeclared(kept["name"], tx.one("schedule", name=kept["name"], now=tx.now))
    tx.run("keep_schedule", **kept, now=tx.now)
    tx.run("claim_schedule", name=kept["name"], added=True, until=0)


def _remove(tx: Transaction, name: str) -> None:
    tx.check_compat()
    _check_undeclared(name, _there(tx, name))
    tx.run("remove_schedule", name=name)


def _there(tx: Transaction, name: str) -> Row:
    if (row := tx.one("schedule", name=name, now=tx.now)) is None:
        from ..schedules import UnknownSchedule

        raise UnknownSchedule(name)
    return row


def _check_undeclared(name: str, row: Row | None) -> None:
    if row is not None and row[0]:
        from ..schedules import ScheduleDeclared

        raise ScheduleDeclared(name)


def _pause(tx: Transaction, name: str, *, paused: bool) -> None:
    tx.check_compat()
    _there(tx, name)
    tx.run("pause_schedule", name=name, paused=paused, now=tx.now)


def _fire(
    tx: Transaction,
    seen: ScheduleRow,
    tick: float,
    job: Written,
    handlers: Mapping[str, Callable[..., Awaitable[Any]]],
) -> bool:
    seen_as = {"name": seen.schedule.name, "revision": seen.revision, "last": seen.last_tick}
    tx.run("fire_schedule", **seen_as, tick=tick)
    if not tx.db.changes():
        return False
    with suppress(Busy):  # after any other error all is undone
        verbs.submit(tx, [job], 0, handlers, _NOBODY)
    return True
