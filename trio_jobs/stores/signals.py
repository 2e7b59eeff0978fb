"""Wake the tasks that wait for changes of a database, without losing a change before the wait."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from .._common.bell import Bell

S = TypeVar("S", bound="Signal")
Row: TypeAlias = tuple[Any, ...]


class Changes(Protocol):
    """What one transaction of this process did."""

    @property
    def started(self) -> Sequence[str]:
        """The ids of the jobs that it started."""
        ...

    @property
    def grown(self) -> Sequence[str]:
        """The ids of the jobs whose logs have grown."""
        ...

    @property
    def heard(self) -> Mapping[str, float]:
        """The jobs that got inputs, with the newest cursor of these; infinity for a deleted job."""
        ...

    @property
    def ended(self) -> Mapping[str, Row | None]:
        """The ids of the jobs that have ended, with the rows of their snapshots, if they are known."""
        ...

    @property
    def asked(self) -> bool:
        """Whether a cancellation was requested, or a grace shortened, of a job that runs."""
        ...

    @property
    def handed_on(self) -> bool:
        """Whether a job may start that another one was in the way of."""
        ...


class Signal:
    """A bell that counts its rings: a task that looked at `count` rings waits for the next ring only.

    Attributes:
        count: How often it has rung.
    """

    def __init__(self) -> None:
        self.count = 0
        self._bell = Bell()

    def ring(self) -> None:
        """Wake all tasks that wait."""
        self.count += 1
        self._bell.ring()

    async def wait_past(self, count: int) -> None:
        """Wait until the signal has rung more than `count` times."""
        while self.count == count:
            await self._bell.wait()


class Alarm(Signal):
    """A signal for a task that waits for a moment: it rings only if an earlier moment may have come up.

    Attributes:
        moment: The moment the task waits for; infinity while the task still reads it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.moment = math.inf

    def ring(self, moment: float = -math.inf) -> None:
        """Wake all tasks that wait for a later moment."""
        if moment < self.moment:
            super().ring()


class Log(Signal):
    """Rings when a job's log grows.

    Attributes:
        seq: The newest event that a task which waits here has found in the log.
    """

    seq = -1

    def note(self, seq: int) -> bool:
        """Record the newest event that was read; if it is new, wake the tasks that wait behind another one.

        No later ring would wake these: `seq` says that the event is known in this process. It is less than
        before if the database has lost its last writes.

        Returns:
            Whether it is new.
        """
        new = seq != self.seq
        if new:
            self.seq = seq
            self.ring()
        return new


class End(Signal):
    """Rings when a job ends.

    Attributes:
        row: The row of the job's snapshot, if this process ended the job.
    """

    row: Row | None = None


class Heard(Signal):
    """Rings when jobs may have inputs.

    Args:
        places: A cursor of each job.

    Attributes:
        places: The same.
        found: Of these jobs, those to which this process has sent inputs behind the cursor, or that it has
            removed.
    """

    def __init__(self, places: Mapping[str, int]) -> None:
        super().__init__()
        self.places = dict(places)
        self.found = set[str]()

    def on_inputs(self, heard: Mapping[str, float]) -> None:
        """Ring if one of the jobs is among those that got inputs, with the newest cursor of these."""
        found = {job_id for job_id, seq in heard.items() if seq > self.places.get(job_id, math.inf)}
        if found:
            self.found |= found
            self.ring()


class Watched(Generic[S]):
    """Gives, for the length of a block, the signal of a job, which all watchers of the job share.

    Args:
        signals: The signals by job, with the number of watchers of each.
        job_id: The job.
        make: Makes a signal.
    """

    __slots__ = ("_job_id", "_make", "_signals")

    def __init__(self, signals: dict[str, tuple[S, int]], job_id: str, make: Callable[[], S]) -> None:
        self._signals = signals
        self._job_id = job_id
        self._make = make

    def __enter__(self) -> S:
        """Begin to watch, and return the signal."""
        signal, watchers = self._signals.get(self._job_id) or (self._make(), 0)
        self._signals[self._job_id] = signal, watchers + 1
        return signal

    def __exit__(self, *_: object) -> None:
        """Stop watching; the last watcher deletes the signal."""
        signal, watchers = self._signals.pop(self._job_id)
        if watchers > 1:
            self._signals[self._job_id] = signal, watchers - 1


class Signals:
    """Wakes the tasks of this process that wait for changes of a database.

    Attributes:
        work: Rings when there may be work to claim.
        alarm: Rings when a lease may lapse, or a job expire, earlier than was known.
        requests: Rings when a cancellation may have been requested.
        open: The ids of jobs that this process started and that, as far as it can know, have not ended.
    """

    def __init__(self) -> None:
        self.work = Signal()
        self.alarm = Alarm()
        self.requests = Signal()
        self.open = set[str]()
        self._logs: dict[str, tuple[Log, int]] = {}
        self._ends: dict[str, tuple[End, int]] = {}
        self._heard: list[Heard] = []

    def events_of(self, job_id: str) -> Watched[Log]:
        """Give, for the length of a block, the signal that rings when a job's log grows."""
        return Watched(self._logs, job_id, Log)

    def end_of(self, job_id: str) -> Watched[End]:
        """Give, for the length of a block, the signal that rings when a job ends."""
        return Watched(self._ends, job_id, End)

    @contextmanager
    def listening(self, places: Mapping[str, int]) -> Generator[Heard]:
        """Give, for the length of a block, the signal that rings when one of these jobs may have an input."""
        heard = Heard(places)
        self._heard.append(heard)
        try:
            yield heard
        finally:
            self._heard.remove(heard)

    def on_changes(self, changes: Changes) -> None:
        """Wake the tasks that wait for what a transaction did."""
        self.open.update(changes.started)
        self._grown(changes.grown)
        self._ended(changes.ended)
        if changes.asked:
            self.requests.ring()
        if changes.handed_on:
            self.work.ring()
        if changes.heard:
            for heard in self._heard:
                heard.on_inputs(changes.heard)

    def _grown(self, job_ids: Iterable[str]) -> None:
        for job_id in job_ids:
            if job_id in self._logs:
                self._logs[job_id][0].ring()

    def _ended(self, rows: Mapping[str, Row | None]) -> None:
        self.open.difference_update(rows)
        for job_id, row in rows.items():
            if job_id in self._ends:
                end = self._ends[job_id][0]
                end.row = row
                end.ring()

    def watched(self) -> set[str]:
        """Return the ids of the jobs for whose events or end a task waits."""
        return {*self._logs, *self._ends}

    def on_news(self, news: Mapping[str, tuple[int, bool]]) -> None:
        """Wake the tasks that wait for what other processes have done.

        Args:
            news: The newest cursor of each job that is watched, and whether it has ended; deleted jobs are
                not in it. Anything else may have changed as well.
        """
        self.ring_shared()
        gone = (math.inf, True)
        for job_id, (log, _) in self._logs.items():
            seq = news.get(job_id, gone)[0]
            if seq != log.seq:
                log.seq = int(min(seq, log.seq))  # less if the database has lost what was found before
                log.ring()
        self._ended(dict.fromkeys(job for job in self._ends if news.get(job, gone)[1]))

    def ring_all(self) -> None:
        """Wake all tasks, because anything in the database may have changed."""
        self.ring_shared()
        self._grown(self._logs)
        self._ended(dict.fromkeys(self._ends))

    def ring_shared(self) -> None:
        """Wake the tasks that wait for anything but the log or the end of one job."""
        for signal in (self.work, self.alarm, self.requests, *self._heard):
            signal.ring()
        self.open.clear()
