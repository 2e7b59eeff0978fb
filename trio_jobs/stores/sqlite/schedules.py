"""Schedules in a file: their rows, and the verbs about them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..._common.errors import Busy, TrioJobsError
from ..._json.values import decode, encode
from ..._model.handler import handler as marked
from ..contract import Claimant, Submission
from ..rows import Rows, Written
from ..submission import submission
from . import verbs
from .calls import FileCalls
from .clock import Clock
from .group import Group, Row, Transaction

if TYPE_CHECKING:  # few programs have schedules
    from ..._model.schedule import Schedule
    from ..schedules import ScheduleRow, Timetable

logger = logging.getLogger("trio_jobs")
_RULE: Final = ("name", "cron", "timezone", "every", "missed", "late", "jitter")
_JOB: Final = ("handler", "args", "options", "metadata", "priority", "owner")
_CACHED: Final = 1000  # of schedules that are read, as each check of a rule takes long
_NOBODY: Final = Claimant("")
_Kept: TypeAlias = Mapping[str, Any]
"""What is kept of a schedule: its `name`, its `every`, and what it says as `text`."""


class ScheduleCalls(FileCalls):
    """Calls about schedules; see `KeepsSchedules`."""

    def __init__(self, path: Path, rows: Rows, writer: Group, reader: Group, *, now: Clock) -> None:
        super().__init__(path, writer, reader, now=now)
        self._rows = rows
        self._schedule_of = lru_cache(_CACHED)(partial(_schedule_of, rows))

    async def declare(self, schedules: Sequence[Schedule]) -> None:
        """See `KeepsSchedules.declare`."""
        kept = [self._kept(one) for one in schedules]
        await self._write(lambda tx: _declare(tx, kept))

    async def keep_declared(self, names: Collection[str]) -> None:
        """See `KeepsSchedules.keep_declared`."""
        await self._write(lambda tx: _keep_declared(tx, names))

    async def add_schedule(self, schedule: Schedule) -> None:
        """See `KeepsSchedules.add_schedule`."""
        kept = self._kept(schedule)
        await self._write(lambda tx: _add(tx, kept))

    async def remove_schedule(self, name: str) -> None:
        """See `KeepsSchedules.remove_schedule`."""
        await self._write(lambda tx: _remove(tx, name))

    def _kept(self, one: Schedule) -> _Kept:
        return {"name": one.name, "every": one.every, "text": _text_of(self._rows, one)}

    async def schedules(self) -> Timetable:
        """See `KeepsSchedules.schedules`."""
        from ..schedules import ScheduleRow, Timetable

        found = list[ScheduleRow]()
        for text, anchor, last, revision, paused, added, until in await self._read(_listed):
            if (schedule := self._schedule_of(text)) is not None:
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


# ------------------------------------------------------------ text and records


def _text_of(rows: Rows, one: Schedule) -> str:
    """Return what a schedule says as JSON."""
    job = rows.written(submission(one.handler, one.args, one.options)).values
    said = {name: getattr(one, name) for name in _RULE} | {name: job[name] for name in _JOB}
    return encode("a schedule", said).decode()


def _schedule_of(rows: Rows, text: str) -> Schedule | None:
    """Return a schedule as a record; None, and a warning, if it cannot be read."""
    from ..._model.schedule import Schedule, given_of

    try:
        said: dict[str, Any] = decode(text)
        handler, *job = (said[name] for name in _JOB)
        rule = {name: said[name] for name in _RULE}
        if handler not in rows.handlers:
            return Schedule(_unknown(handler), tuple(decode(job[0])), **rule)
        made: Row = ("", handler, *job, None, 0, 0, None, 0, 0, None)
        new = rows.claim_of(made).submission
        return Schedule(new.target, new.args, options=given_of(new.options), **rule)
    except (TrioJobsError, ImportError, LookupError, TypeError, ValueError) as error:
        logger.warning("a schedule in the file cannot be read: %s", error)
        return None


def _unknown(name: str) -> Callable[..., Awaitable[Any]]:
    """Return what stands for a handler that this registry was not given."""

    @marked(name=name)
    async def unknown(*_: object) -> None:  # noqa: ASYNC124  # in the place of a handler
        """Take any arguments."""

    return unknown
