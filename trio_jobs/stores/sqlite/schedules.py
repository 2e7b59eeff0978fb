"""Schedules in a file: their rows, and the verbs about them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..._common.errors import Busy, TrioJobsError
from ..._json.values import decode, encode
from ..._model.handler import handler as marked
from ..contract import Claimant, Submission
from ..submission import submission
from . import verbs
from .calls import FileCalls
from .clock import Clock
from .group import Group, Row, Transaction
from .rows import Rows, Written

if TYPE_CHECKING:  # few programs have schedules
    from ..._model.schedule import Schedule
    from ..schedules import ScheduleRow, Timetable

logger = logging.getLogger("trio_jobs")
_RULE: Final = ("name", "cron", "timezone", "every", "missed", "late", "jitter")
_JOB: Final = ("handler", "args", "options", "metadata", "priority", "owner")
_CACHED: Final = 1000  # of schedules that are read, as each check of a rule takes long
_NOBODY: Final = Claimant("")


class ScheduleCalls(FileCalls):
    """Calls about schedules; see `KeepsSchedules`."""

    def __init__(self, path: Path, rows: Rows, writer: Group, reader: Group, *, now: Clock) -> None:
        super().__init__(path, writer, reader, now=now)
        self._rows = rows
        self._schedule_of = lru_cache(_CACHED)(partial(_schedule_of, rows))

    async def declare(self, schedules: Sequence[Schedule]) -> None:
        """See `KeepsSchedules.declare`."""
        texts = [(one.name, one.every, _text_of(self._rows, one)) for one in schedules]
        await self._write(lambda tx: _declare(tx, texts))

    async def schedules(self) -> Timetable:
        """See `KeepsSchedules.schedules`."""
        from ..schedules import ScheduleRow, Timetable

        found = list[ScheduleRow]()
        for text, anchor, last, revision, paused in await self._read(_listed):
            if (schedule := self._schedule_of(text)) is not None:
                found.append(ScheduleRow(schedule, anchor, last, revision, bool(paused)))
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


def _declare(tx: Transaction, texts: Sequence[tuple[str, float | None, str]]) -> None:
    tx.check_compat()
    for name, every, text in texts:
        tx.run("declare_schedule", name=name, every=every, text=text, now=tx.now)


def _pause(tx: Transaction, name: str, *, paused: bool) -> None:
    tx.check_compat()
    if tx.one("schedule", name=name) is None:
        from ..schedules import UnknownSchedule

        raise UnknownSchedule(name)
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
