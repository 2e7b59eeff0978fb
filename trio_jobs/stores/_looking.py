"""The verbs of the memory store that change nothing: those that look at jobs, and those that wait."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

import attrs
import trio

from .._common.bell import Bell
from .._common.errors import UnknownJob, check_cursor
from .._common.states import State
from .._model.job import Event, Job
from .._model.summary import Page
from . import rules
from ._lanes import Lanes
from ._queue import Queue
from ._roll import Roll
from ._row import Row
from .contract import Submission, Where
from .log import Log
from .records import JobEnd


class LookingVerbs:
    """The jobs, what wakes the tasks that wait, and the verbs that look and wait."""

    durable = False

    def __init__(self) -> None:
        self._rows = Roll()
        self._waiting = Queue[str]()
        self._services: dict[str, None] = {}  # those that wait
        self._lanes: Lanes | None = None  # of the handlers that have limits or are paused, once there is one
        self._all_paused = False
        self._expiring = Queue[str]()
        self._leases = Queue[str]()
        self._work = Bell()
        self._alarm = Bell()
        self._cancelling: dict[str, float] = {}
        self._requests = Bell()
        self._heard = Bell()
        self._time = trio.lowlevel.current_clock().current_time  # bound once, as each token reads it
        # Wall time is read once: a job's times then keep their order when the wall clock is set.
        self._epoch = datetime.now(UTC).timestamp() - self._time()

    # ------------------------------------------------------------ looking

    def _row(self, job_id: str) -> Row:
        if (row := self._rows.get(job_id)) is None:
            raise UnknownJob(job_id) from None
        return row

    async def get(self, job_id: str) -> Job:
        """See `Store.get`."""
        row = self._row(job_id)
        job = row.snapshot(self._epoch)
        if row.state not in rules.WAITING:
            return job
        now, paused, limit = self._time(), self._all_paused, None
        if self._lanes is not None:
            paused = paused or job.handler in self._lanes.paused
            limit = self._lanes.limit_over(job.handler, job.limit_key, now)
        busy = bool(self._rows.count(Where({State.RUNNING})))
        found = rules.waiting_for(job, now + self._epoch, busy=busy, paused=paused, limit=limit)
        return attrs.evolve(job, waiting_for=found)

    async def submission(self, job_id: str) -> Submission:
        """See `KeepsSubmissions.submission`."""
        return self._row(job_id).submission

    async def find(self, where: Where, limit: int, *, after: str | None = None, newest: bool = False) -> Page:
        """See `Store.find`."""
        return self._rows.find(where, limit, after, newest=newest, epoch=self._epoch)

    async def count(self, where: Where) -> Mapping[State, int]:
        """See `Store.count`."""
        return self._rows.count(where)

    async def read(self, job_id: str, after: int, limit: int) -> list[Event]:
        """See `Store.read`."""
        return self._row(job_id).log.read(after, limit)

    async def history(self, job_id: str) -> list[Event]:
        """See `Store.history`."""
        return self._row(job_id).log.history()

    def log(self, job_id: str) -> Log:
        """Return a job's log, for code that reads and writes it in place."""
        return self._row(job_id).log

    async def inputs(self, job_id: str, after: int, limit: int) -> list[Event]:
        """See `Store.inputs`."""
        log = self._row(job_id).log
        check_cursor(job_id, after, log.last_seq)
        return log.read_inputs(after, limit)

    # ------------------------------------------------------------ waiting

    async def follow(self, job_id: str, after: int, limit: int) -> list[Event]:
        """See `Store.follow`."""
        row = self._row(job_id)
        events = row.log.read(after, limit)
        if events or row.finished is not None:
            await trio.lowlevel.checkpoint()
        check_cursor(job_id, after, row.log.last_seq)
        while not events and row.finished is None:
            await row.log.wait()
            events = row.log.read(after, limit)
        return events

    async def ended(self, job_id: str) -> Job:
        """See `Store.ended`."""
        row = self._row(job_id)
        await self.end(job_id)
        return row.snapshot(self._epoch)

    async def end(self, job_id: str) -> JobEnd:
        """See `KnowsEnds.end`."""
        row = self._row(job_id)
        if row.finished is not None:
            await trio.lowlevel.checkpoint()
        while row.finished is None:
            row.waiters = row.waiters or Bell()
            await row.waiters.wait()
        return JobEnd(row.state, row.reason, row.message, row.error, row.result, row.attempt, row.replaced_by)

    async def due(self) -> None:
        """See `Store.due`."""
        while (when := self._next_start()) > self._time():
            with trio.move_on_at(when):
                await self._work.wait()

    async def due_services(self) -> None:
        """See `services.KeepsServices`."""
        while (when := self._next_service()[0]) > self._time():
            with trio.move_on_at(when):
                await self._work.wait()

    def _next_service(self) -> tuple[float, str]:
        """Return when the next service is due, and its id. There are few."""
        paused = frozenset[str]() if self._lanes is None else self._lanes.paused
        rows = [] if self._all_paused else [self._rows[job_id] for job_id in self._services]
        due = [(row.due, row.submission.id) for row in rows if row.submission.handler not in paused]
        return min(due, default=(math.inf, ""))

    def _next_start(self) -> float:
        if self._all_paused:
            return math.inf
        due = self._waiting.next_due()
        return due if self._lanes is None else min(due, self._lanes.next_start(self._time()))

    async def overdue(self) -> None:
        """See `Store.overdue`."""
        while (when := min(self._expiring.next_due(), self._leases.next_due())) > self._time():
            with trio.move_on_at(when):
                await self._alarm.wait()

    async def cancelling(self, heard: Mapping[str, float]) -> Mapping[str, float]:
        """See `Store.cancelling`."""
        while not self._cancelling.items() - heard.items():
            await self._requests.wait()
        return dict(self._cancelling)

    async def listening(self, places: Mapping[str, int]) -> Collection[str]:
        """See `Store.listening`."""
        await trio.lowlevel.checkpoint()
        while not (heard := [job_id for job_id, place in places.items() if self._hears(job_id, place)]):
            await self._heard.wait()
        return heard

    def _hears(self, job_id: str, place: int) -> bool:
        row = self._rows.get(job_id)
        return row is None or row.log.inputs.last > place or row.log.last_seq < place
