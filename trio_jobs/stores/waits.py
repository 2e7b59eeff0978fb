"""The verbs that wait for changes of a database, and read again when a signal says that one may have come.

Those that claim are here too: `due` waits for nothing where a claim left due jobs behind.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Generic, TypeAlias, TypeVar

import trio

from .._common.errors import check_cursor
from .._model.job import Event, Job
from .contract import Claim, Claimant
from .records import JobEnd
from .rows import Rows
from .signals import Row, Signals

S = TypeVar("S", bound=Signals)
Found: TypeAlias = tuple[list[Event], bool, int]
"""Events of a job, whether the job is over, and its newest cursor."""


class Waits(ABC, Generic[S]):
    """Waits, and reads again whenever a signal says that something may have changed."""

    _signals: S
    _rows: Rows
    _more = -1  # the rings of `work` when a claim left due jobs behind

    @abstractmethod
    def _check(self) -> None:
        """Check that the database may be used."""
        ...

    @abstractmethod
    def _check_open(self) -> None:
        """Check that the store was not closed."""
        ...

    @abstractmethod
    async def _page(self, job_id: str, after: int, limit: int, *, waited: bool) -> Found:
        """Return up to `limit` events behind a cursor. A checkpoint, if there are any and not `waited`."""
        ...

    @abstractmethod
    async def _end_row(self, job_id: str) -> Row | None:
        """Return the row of a job's snapshot, if it has ended."""
        ...

    @abstractmethod
    async def _find_heard(self, places: Mapping[str, int]) -> set[str]:
        """Return the jobs that have an input behind a cursor, or that are gone."""
        ...

    @abstractmethod
    async def _next_due(self, handlers: Collection[str]) -> tuple[float, float]:
        """Return when the first job of these handlers is due that may start, and the time."""
        ...

    @abstractmethod
    async def _next_overdue(self) -> tuple[float, float]:
        """Return when the first lease or queue timeout passes, and the time."""
        ...

    @abstractmethod
    async def _find_cancelling(self) -> dict[str, float]:
        """Return the running jobs whose cancellation was requested, and the grace."""
        ...

    @abstractmethod
    async def _claim(
        self, limit: int, handlers: Collection[str], worker: Claimant
    ) -> tuple[list[Claim], bool]:
        """Return what was started of these handlers, and whether yet another job of them is due."""
        ...

    async def claim(self, limit: int, worker: Claimant) -> list[Claim]:
        """See `Store.claim`."""
        seen = self._signals.work.count
        claims, more = await self._claim(limit, self._rows.claimed, worker)
        self._more = seen if more else -1
        return claims

    async def claim_services(self, worker: Claimant) -> list[Claim]:
        """See `services.KeepsServices`."""
        names = self._rows.services
        return (await self._claim(len(names), names, worker))[0]  # there is one of each

    async def follow(self, job_id: str, after: int, limit: int) -> list[Event]:
        """See `Store.follow`."""
        waited = False
        with self._signals.events_of(job_id) as grown:
            while True:
                self._check()
                seen = grown.count
                events, over, seq = await self._page(job_id, after, limit, waited=waited)
                if events:
                    return events
                seen += grown.note(seq)
                check_cursor(job_id, after, seq)
                if over:
                    return events
                self._check_open()
                await grown.wait_past(seen)
                waited = True

    async def ended(self, job_id: str) -> Job:
        """See `Store.ended`."""
        return self._rows.job_of(await self._end_of(job_id))

    async def end(self, job_id: str) -> JobEnd:
        """See `KnowsEnds.end`."""
        return self._rows.end_of(await self._end_of(job_id))

    async def _end_of(self, job_id: str) -> Row:
        """Return the row of a job's snapshot, once it has ended."""
        self._check()
        with self._signals.end_of(job_id) as end:
            seen, row = end.count, None
            if job_id not in self._signals.open:
                row = await self._end_row(job_id)
            while row is None:
                self._check_open()
                await end.wait_past(seen)
                seen, row = end.count, end.row or await self._end_row(job_id)
        return row

    async def listening(self, places: Mapping[str, int]) -> Collection[str]:
        """See `Store.listening`."""
        with self._signals.listening(places) as heard:
            while True:
                self._check()
                seen = heard.count
                if found := heard.found or await self._find_heard(heard.places):
                    return found
                self._check_open()
                await heard.wait_past(seen)

    async def due(self) -> None:
        """See `Store.due`."""
        known, self._more = self._more, -1
        if known != self._signals.work.count:  # else the last claim left due jobs
            await self._due(self._rows.claimed)

    async def due_services(self) -> None:
        """See `services.KeepsServices`."""
        await self._due(self._rows.services)

    async def _due(self, handlers: Collection[str]) -> None:
        work = self._signals.work
        while True:
            seen = work.count
            moment, now = await self._next_due(handlers)
            if moment <= now:
                return
            with trio.move_on_after(moment - now):
                await work.wait_past(seen)

    async def overdue(self) -> None:
        """See `Store.overdue`."""
        alarm = self._signals.alarm
        while True:
            seen, alarm.moment = alarm.count, math.inf  # any moment that comes up during the read counts
            alarm.moment, now = await self._next_overdue()
            if alarm.moment <= now:
                return
            with trio.move_on_after(alarm.moment - now):
                await alarm.wait_past(seen)

    async def cancelling(self, heard: Mapping[str, float]) -> Mapping[str, float]:
        """See `Store.cancelling`."""
        while True:
            seen = self._signals.requests.count
            found = await self._find_cancelling()
            if found.items() - heard.items():
                return found
            await self._signals.requests.wait_past(seen)
