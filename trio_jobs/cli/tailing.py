"""What `trio-jobs top` shows: the counts of a store or server, and the ends of the logs of running jobs."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import attrs
import trio

from .._common.errors import StreamGap, TrioJobsError
from .._common.states import UNFINISHED, State
from .._model.job import Event, Kind, Progress, Statistics
from .._model.summary import JobSummary
from .._registry.registry import JobRegistry
from .._watching.handle import JobHandle
from ..stores.contract import Where
from .escape import one_line, shown
from .opening import OpenJobs

_WINDOW: Final = 5.0
"""Seconds over which tokens are counted."""
_RATES: Final = 10.0
"""Seconds over which submitted and ended jobs are counted."""
_OLDEST: Final = 50  # waiting jobs that are looked at for the oldest one that is due
_WAITING, _ENDED = 5, 5  # how many are shown
_TO_FIRST: Final = 100  # events in which the first token is looked for
_WORDS: Final = 200


@attrs.define
class Tail:
    """The end of the log of a job.

    Attributes:
        first: Seconds from the start of the attempt to its first token; None before that.
        words: The last characters that it sent, on one line.
        scope: Ends `follow`.
    """

    first: float | None = None
    words: str = ""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _live: int = 0  # events up to this one are of before
    _started: float = 0.0
    _since: float = attrs.field(factory=trio.current_time)
    _arrived: deque[float] = attrs.field(factory=deque[float])

    async def follow(self, jobs: OpenJobs, job: JobSummary) -> None:
        """Read a job's log to its end; how it began, and then from where it is now. Holds up no handler."""
        self._live = job.last_seq
        with self.scope, suppress(TrioJobsError, trio.EndOfChannel):  # it ended, or the next look tells why
            handle = await jobs.get(job.id)
            starts = [event for event in await handle.history() if event.kind is Kind.STARTED]
            self.take(starts[-1])
            place = await self._read(handle, starts[-1].seq, _TO_FIRST)
            await self._read(handle, max(place, job.last_seq - _TO_FIRST), None)

    async def _read(self, handle: JobHandle[Any, Any], after: int, most: int | None) -> int:
        """Read events, and return the cursor of the last; with `most`, until the first token at most."""
        seen = 0
        async with handle.events(after, policy="gap") as events:
            while most is None or (seen < most and self.first is None and events.cursor < self._live):
                try:
                    self.take(await events.receive())
                except StreamGap:
                    continue
                seen += 1
            return events.cursor

    def take(self, event: Event) -> None:
        """Take in an event."""
        if event.kind is Kind.STARTED:
            self.first, self.words, self._started = None, "", event.timestamp
        if event.kind is not Kind.TOKEN:
            return
        if self.first is None:
            self.first = event.timestamp - self._started
        self.words = (self.words + one_line(shown(event.data)))[-_WORDS:]
        if event.seq > self._live:
            self._arrived.append(trio.current_time())

    def per_second(self) -> float:
        """Return how many tokens came per second, over the last five; at first, since it is followed."""
        now = trio.current_time()
        while self._arrived and self._arrived[0] < now - _WINDOW:
            self._arrived.popleft()
        return len(self._arrived) / max(1.0, min(_WINDOW, now - self._since))


@attrs.frozen(kw_only=True)
class Sample:
    """What was seen at one moment.

    Attributes:
        at: When.
        statistics: Of the store; a caller who may not see it gets the states of its own jobs.
        submitted: Jobs per second that came, of late; None at first.
        ended: Jobs per second that ended, of late; None at first.
        oldest: For how many seconds a waiting job has been due, of the 50 that came first; None if none is.
        jobs: Running jobs, then some that wait, then some that failed, the newest of each first.
    """

    at: datetime
    statistics: Statistics
    submitted: float | None
    ended: float | None
    oldest: float | None
    jobs: list[JobSummary]


class Watch:
    """Looks at jobs again and again, and follows those that run.

    Args:
        jobs: The jobs.
        nursery: Runs the tasks that follow them.
        limit: How many running jobs are looked at.

    Attributes:
        tails: The ends of the logs of running jobs, by id.
    """

    def __init__(self, jobs: OpenJobs, nursery: trio.Nursery, limit: int) -> None:
        self.tails: dict[str, Tail] = {}
        self._jobs, self._nursery, self._limit = jobs, nursery, limit
        self._counts: deque[tuple[float, int, int]] = deque()

    async def look(self) -> Sample:
        """Return what is there now."""
        find = self._jobs.find
        statistics = await _statistics(self._jobs)
        running = await find(limit=self._limit, newest=True, state=State.RUNNING)
        first = await find(limit=_OLDEST, state=[State.QUEUED, State.RETRYING])
        failed = await find(limit=_ENDED, newest=True, state=State.FAILED)
        self._follow(running.jobs)
        now = datetime.now(UTC)
        submitted, ended = self._rates(statistics)
        due = [(now - job.next_attempt_at).total_seconds() for job in first if job.next_attempt_at]
        return Sample(
            at=now,
            statistics=statistics,
            submitted=submitted,
            ended=ended,
            oldest=max((one for one in due if one >= 0), default=None),
            jobs=[*running, *first[:_WAITING], *failed],
        )

    def _rates(self, statistics: Statistics) -> tuple[float | None, float | None]:
        all_jobs = sum(statistics.states.values())
        over = all_jobs - sum(statistics.states.get(state, 0) for state in UNFINISHED)
        now = trio.current_time()
        while len(self._counts) > 1 and self._counts[0][0] < now - _RATES:
            self._counts.popleft()
        self._counts.append((now, all_jobs, over))
        then, all_before, over_before = self._counts[0]
        if now <= then:
            return None, None
        # Jobs that were removed meanwhile are missing in both.
        return max(0.0, (all_jobs - all_before) / (now - then)), max(0.0, (over - over_before) / (now - then))

    def _follow(self, running: tuple[JobSummary, ...]) -> None:
        ids = {job.id for job in running}
        for job_id in self.tails.keys() - ids:
            self.tails.pop(job_id).scope.cancel(reason="the job runs no more")
        for job in running:
            if job.id not in self.tails:
                self.tails[job.id] = Tail()
                self._nursery.start_soon(self.tails[job.id].follow, self._jobs, job)


async def _statistics(jobs: OpenJobs) -> Statistics:
    if isinstance(jobs, JobRegistry):
        return await jobs.statistics()
    from .server import count_by_state, statistics  # they need the client

    found = await statistics(jobs)
    if found is not None:
        return found
    states = await count_by_state(jobs, Where())
    return Statistics(states=states, running=0, capacity=0, paused=False, readers=0)


def progress_of(progress: Progress | None) -> str:
    """Return progress in a few characters."""
    if progress is None:
        return ""
    if progress.total:
        return f"{progress.done / progress.total:.0%}"
    return f"{progress.done:g}"
