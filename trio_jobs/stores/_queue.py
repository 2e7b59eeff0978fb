"""Keep the jobs that wait, by when they are due and, once due, by rank."""

from __future__ import annotations

import heapq
import itertools
import math
from typing import Generic, TypeVar

K = TypeVar("K")


class Queue(Generic[K]):
    """Two heaps: jobs that are not due yet, by due time, and jobs that are, by rank.

    A job that leaves the queue by cancellation stays in its heap as a stale entry, which `pop` skips. When
    more than half of the entries are stale, both heaps are rebuilt, so the cost per job stays logarithmic
    and the memory stays in proportion to the jobs that really wait.

    Attributes:
        tickets: The ticket of each waiting job's valid entry, by job id; empty if no job waits.
    """

    def __init__(self) -> None:
        self._later: list[tuple[float, int, float, int, K]] = []
        self._ready: list[tuple[float, int, int, K]] = []
        self.tickets: dict[K, int] = {}
        self._counter = itertools.count()

    def __len__(self) -> int:
        return len(self.tickets)

    def add(self, job_id: K, due: float, penalty: float, now: float = -math.inf, number: int = 0) -> None:
        """Add a job. Jobs of equal rank leave in the order of their numbers, and then of their coming here.

        A job that is due by `now` is ranked at once, which spares `pop` a long first step after a pause.
        """
        ticket = self.tickets[job_id] = next(self._counter)
        if due <= now:
            heapq.heappush(self._ready, (due + penalty, number, ticket, job_id))
        else:
            heapq.heappush(self._later, (due, ticket, due + penalty, number, job_id))

    def discard(self, job_id: K) -> None:
        """Remove a job, if it waits."""
        self.tickets.pop(job_id, None)
        stale = len(self._later) + len(self._ready) - len(self.tickets)
        if stale > len(self.tickets) + 64:
            self._later = [entry for entry in self._later if self.tickets.get(entry[4]) == entry[1]]
            self._ready = [entry for entry in self._ready if self.tickets.get(entry[3]) == entry[2]]
            heapq.heapify(self._later)
            heapq.heapify(self._ready)

    def pop(self, now: float) -> K | None:
        """Remove and return the due job of the lowest rank; return None if no job is due."""
        self._rank(now)
        while self._ready:
            _, _, ticket, job_id = heapq.heappop(self._ready)
            if self.tickets.get(job_id) == ticket:
                del self.tickets[job_id]
                return job_id
        return None

    def best(self, now: float) -> tuple[float, K | None]:
        """Return the rank of the job that `pop` would give, and the job; `inf` and None if no job is due."""
        self._rank(now)
        return (self._ready[0][0], self._ready[0][3]) if self._is_ready() else (math.inf, None)

    def _is_ready(self) -> bool:
        """Return whether a job is ranked, which is the first then: stale entries before it are dropped."""
        while self._ready and self.tickets.get(self._ready[0][3]) != self._ready[0][2]:
            heapq.heappop(self._ready)
        return bool(self._ready)

    def first(self, limit: int, now: float) -> list[tuple[float, K]]:
        """Return the jobs that `pop` would give, up to `limit`, with their ranks. Examines all due jobs."""
        self._rank(now)
        waiting = (entry for entry in self._ready if self.tickets.get(entry[3]) == entry[2])
        return [(rank, job_id) for rank, _, _, job_id in heapq.nsmallest(limit, waiting)]

    def _rank(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            _, ticket, rank, number, job_id = heapq.heappop(self._later)
            heapq.heappush(self._ready, (rank, number, ticket, job_id))

    def next_due(self) -> float:
        """Return when `pop` may find a job: `-inf` if one is due already, `inf` if none waits."""
        return -math.inf if self._is_ready() else self.next_later()

    def next_later(self) -> float:
        """Return when the next job is due that is not ranked yet; `inf` if there is none."""
        while self._later and self.tickets.get(self._later[0][4]) != self._later[0][1]:
            heapq.heappop(self._later)  # else each renewed lease would wake the task that sweeps
        return self._later[0][0] if self._later else math.inf
