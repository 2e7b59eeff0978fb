"""Wake-ups inside a process that are not lost between looking and waiting."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import TypeVar

from ..._bell import Bell
from ..._job import Job

S = TypeVar("S", bound="Signal")


class Signal:
    """A bell that counts: who looked when it had rung `count` times waits for the next time only.

    Attributes:
        count: How often it has rung.
    """

    def __init__(self) -> None:
        self.count = 0
        self._bell = Bell()

    def ring(self) -> None:
        """Wake all who wait."""
        self.count += 1
        self._bell.ring()

    async def wait_past(self, count: int) -> None:
        """Wait until it has rung more often than that."""
        while self.count == count:
            await self._bell.wait()


class Alarm(Signal):
    """A signal for who waits for a moment: it rings only if there may be an earlier one.

    Attributes:
        moment: What is waited for; nothing yet while who waits has still to look.
    """

    def __init__(self) -> None:
        super().__init__()
        self.moment = math.inf

    def ring(self, moment: float = -math.inf) -> None:
        """Wake all who wait for a later moment."""
        if moment < self.moment:
            super().ring()


class End(Signal):
    """Rings when a job ends.

    Attributes:
        job: The job, if who ended it looked at it.
    """

    job: Job | None = None


class Signals:
    """What there is to wait for in this process.

    Attributes:
        work: Rings when there may be work to claim.
        alarm: Rings when something may lapse or expire earlier than was known.
        requests: Rings when a cancellation may have been requested.
    """

    def __init__(self) -> None:
        self.work = Signal()
        self.alarm = Alarm()
        self.requests = Signal()
        self._logs: dict[str, tuple[Signal, int]] = {}
        self._ends: dict[str, tuple[End, int]] = {}

    @contextmanager
    def events_of(self, job_id: str) -> Generator[Signal]:
        """Give, for the length of a block, what rings when a job's log grows."""
        yield from _watched(self._logs, job_id, Signal)

    @contextmanager
    def end_of(self, job_id: str) -> Generator[End]:
        """Give, for the length of a block, what rings when a job ends."""
        yield from _watched(self._ends, job_id, End)

    def awaited(self, job_id: str) -> bool:
        """Return whether somebody waits for a job's end; any thread may ask."""
        return job_id in self._ends

    def tell(self, job: Job) -> None:
        """Tell those who wait for a job's end what it has become; they wake by `ended`."""
        if job.id in self._ends:
            self._ends[job.id][0].job = job

    def grown(self, job_ids: Iterable[str]) -> None:
        """Wake who waits for events of these jobs."""
        for job_id in job_ids:
            if job_id in self._logs:
                self._logs[job_id][0].ring()

    def ended(self, job_ids: Iterable[str]) -> None:
        """Wake who waits for the ends of these jobs."""
        for job_id in job_ids:
            if job_id in self._ends:
                self._ends[job_id][0].ring()

    def ring_all(self) -> None:
        """Wake everybody."""
        for signal in (self.work, self.alarm, self.requests):
            signal.ring()
        self.grown(self._logs)
        self.ended(self._ends)


def _watched(signals: dict[str, tuple[S, int]], job_id: str, make: Callable[[], S]) -> Generator[S]:
    signal, watchers = signals.get(job_id) or (make(), 0)
    signals[job_id] = signal, watchers + 1
    try:
        yield signal
    finally:
        watchers = signals[job_id][1] - 1
        if watchers:
            signals[job_id] = signal, watchers
        else:
            del signals[job_id]
