"""What a registry and its store are doing at one moment, in numbers; it is looked up when it is asked for."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Final

import attrs

from .._common.states import State
from .._model.job import Statistics
from .._model.ticks import due_tick
from ..stores.contract import Store, Where
from ..stores.rules import date_of
from ..stores.schedules import KeepsSchedules, Timetable
from .inside import worker_of

if TYPE_CHECKING:
    from .._running.worker import Worker
    from .registry import JobRegistry

_PAGE: Final = 100
_PAGES: Final = 10


@attrs.frozen
class Gauges:
    """A registry and its store at one moment.

    Attributes:
        statistics: As `JobRegistry.statistics` returns them.
        lag: How many events the slowest reader here is behind the job's attempt here.
        oldest_due: For how many seconds the job that is due longest has been due; 0 if none is.
        late: For how many seconds the tick of a schedule that is due longest has been due; 0 if none is.
    """

    statistics: Statistics
    lag: int
    oldest_due: float
    late: float


async def gauges_of(jobs: JobRegistry) -> Gauges:
    """Look up the gauges of a registry; a checkpoint. Raises what `JobRegistry.statistics` raises."""
    statistics = await jobs.statistics()
    worker = worker_of(jobs)
    store, now, late = worker.store, time.time(), 0.0
    if isinstance(store, KeepsSchedules):
        table = await store.schedules()
        now, late = table.now, _late(table)  # by the clock of the store
    return Gauges(statistics, _lag(worker), await _oldest_due(store, now), late)


def _lag(worker: Worker) -> int:
    attempts = worker.attempts
    here = [(readers, attempts[job_id]) for job_id, readers in worker.readers.items() if job_id in attempts]
    return max((lag for readers, attempt in here for lag in readers.behind(attempt.writer.seq)), default=0)


def _late(table: Timetable) -> float:
    ticks = [
        due_tick(row.schedule, row.last_tick, table.now, row.anchor)
        for row in table.rows
        if not row.paused and (row.added or row.is_declared(table.now))
    ]
    return max((table.now - tick for tick in ticks if tick is not None), default=0.0)


async def _oldest_due(store: Store, now: float) -> float:
    """Return for how long the job that is due longest has been due.

    No job is due before it was submitted, so it ends where none that follows can be due any earlier. Only if
    a thousand jobs that are due later come first, it is not found.
    """
    oldest = moment = date_of(now)
    for state in (State.QUEUED, State.RETRYING):
        oldest = await _oldest_in(store, state, oldest)
    return (moment - oldest).total_seconds()


async def _oldest_in(store: Store, state: State, oldest: datetime) -> datetime:
    after = None
    for _ in range(_PAGES):
        page = await store.find(Where({state}), _PAGE, after=after)
        for job in page:
            if job.created_at >= oldest:
                return oldest
            if job.next_attempt_at is not None and job.next_attempt_at < oldest:
                oldest = job.next_attempt_at
        if (after := page.next) is None:
            break
    return oldest
