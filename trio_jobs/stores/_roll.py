"""Keep the jobs of the memory store by id, in the order of submission, and counted by state."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from .._common.errors import QueueFull
from .._common.states import Reason, State
from .._model.job import PENALTY
from .._model.summary import EXAMINED, JobSummary, Page, page_of, place_of
from ._row import Row
from .contract import COUNTED, Submission, Where
from .records import PAGE_JOBS
from .rules import WAITING, due_at, rooms

_NONE: Mapping[State, int] = {}
_AWAITING = Reason.AWAITING_INPUT  # bound once: Python 3.11 finds the members of an enum slowly


def _names(row: Row) -> list[tuple[str, str]]:
    """Return the names of the totals that a job is counted in."""
    owner, names = row.submission.options.owner, [("handler", row.submission.handler)]
    return names if owner is None else [*names, ("owner", owner)]


class Roll(dict[str, Row]):
    """Maps ids to jobs. Only `add`, `move` and `forget` may change it.

    Attributes:
        awaiting: How many jobs await an input. The bounds of the queue do not count them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._by_number: dict[int, Row] = {}
        self._order: list[int] = []  # numbers, rising; some of jobs that are gone
        self._newest = 0
        # Of plain dicts: to count with a Counter takes twice as long.
        self._totals = defaultdict[tuple[str, str], dict[State, int]](lambda: dict.fromkeys(State, 0))
        self.awaiting = 0
        self._awaiting = Counter[str | None]()  # the same, by owner
        self._places: dict[tuple[str, str | None], Sequence[dict[State, int]]] = {}

    def add(self, row: Row) -> Row:
        """Add a job, and give it its number."""
        self._newest += 1
        row.number = self._newest
        self[row.submission.id] = self._by_number[row.number] = row
        self._order.append(row.number)
        place = row.submission.handler, row.submission.options.owner
        if (totals := self._places.get(place)) is None:
            totals = self._places[place] = tuple(map(self._totals.__getitem__, _names(row)))
        row.totals = totals
        for total in totals:
            total[row.state] += 1
        return row

    def move(self, row: Row, state: State, reason: Reason | None = None) -> None:
        """Set the state of a job, and the reason."""
        if reason is not row.reason:  # as seldom
            if (more := (reason is _AWAITING) - (row.reason is _AWAITING)) != 0:
                owner = row.submission.options.owner
                self.awaiting += more
                self._awaiting[owner] += more
                if not self._awaiting[owner]:
                    del self._awaiting[owner]
            row.reason = reason
        before, row.state = row.state, state
        for total in row.totals:
            total[before] -= 1
            total[state] += 1

    def forget(self, job_id: str) -> Row:
        """Remove a job, and return its row."""
        row = self.pop(job_id)
        del self._by_number[row.number]
        for name, total in zip(_names(row), row.totals, strict=True):
            total[row.state] -= 1
            if not any(total.values()):
                del self._totals[name]
                self._places.clear()
        if len(self._order) > 2 * len(self) + 64:
            self._order = list(self._by_number)
            self._places.clear()
        return row

    # ------------------------------------------------------------ looking

    def starting(
        self,
        due: Sequence[tuple[float, str]],
        batch: Sequence[Submission],
        limit: int,
        now: float,
        *,
        epoch: float,
    ) -> Counter[str | None]:
        """Return how many jobs of each owner start at once if a batch is submitted, in it or not.

        Those that awaited an input take a slot too, but are not among them: no bound counted them before.

        Args:
            due: The ranks and ids of jobs that wait and are due.
            batch: The jobs to be submitted.
            limit: How many start at most.
            now: See `due_at`.
            epoch: See `due_at`.
        """
        rows = [(rank, self[job_id]) for rank, job_id in due]
        ranked = [(rank, row.submission, row.reason is _AWAITING) for rank, row in rows]
        coming = [(due_at(new.options, now, epoch), new) for new in batch]
        ranked += [(when + PENALTY[new.options.priority], new, False) for when, new in coming if when <= now]
        ranked.sort(key=lambda one: one[0])
        return Counter(new.options.owner for _, new, awaited in ranked[:limit] if not awaited)

    def check_room(self, batch: Sequence[Submission], starting: Mapping[str | None, int]) -> None:
        """Check that no owner has too many jobs that wait; see `Submission.room`.

        Args:
            batch: The jobs to be submitted.
            starting: See `starting`.

        Raises:
            QueueFull: An owner has too many.
        """
        for owner, room in rooms(batch).items():
            total = self._totals.get(("owner", owner), _NONE)
            waiting = sum(total.get(state, 0) for state in WAITING) - self._awaiting[owner]
            if waiting + sum(new.options.owner == owner for new in batch) - starting.get(owner, 0) > room:
                raise QueueFull(room, owner=owner)

    def count(self, where: Where) -> Mapping[State, int]:
        """Return how many jobs match in each state; see `Store.count`."""
        if where.searched:
            found = (row for row in self.values() if row.matches(where))
            return Counter(row.state for row, _ in zip(found, range(COUNTED), strict=False))
        if where.owner is not None:
            totals = [self._totals.get(("owner", where.owner), _NONE)]
        elif where.handler is not None:
            totals = [self._totals.get(("handler", where.handler), _NONE)]
        else:
            totals = [total for (what, _), total in self._totals.items() if what == "handler"]
        states = State if where.states is None else where.states
        counted = {state: sum(total.get(state, 0) for total in totals) for state in states}
        return {state: jobs for state, jobs in counted.items() if jobs}

    def find(self, where: Where, limit: int, after: str | None, *, newest: bool, epoch: float) -> Page:
        """Return a page of the jobs that match; see `Store.find` and `Row.snapshot`."""
        limit = min(limit, PAGE_JOBS)
        found = list[tuple[int, JobSummary]]()
        for looked, row in enumerate(self._behind(place_of(after), newest=newest), 1):
            if row.matches(where):
                found.append((row.number, row.summary(epoch)))
            if len(found) > limit:
                break
            if looked == EXAMINED:
                return page_of(found, limit, row.number)
        return page_of(found, limit, None)

    def _behind(self, place: int | None, *, newest: bool) -> Iterator[Row]:
        order = self._order
        if newest:
            start = len(order) if place is None else bisect_left(order, place)
            numbers = (order[index] for index in range(start - 1, -1, -1))
        else:
            start = 0 if place is None else bisect_right(order, place)
            numbers = (order[index] for index in range(start, len(order)))
        return (self._by_number[number] for number in numbers if number in self._by_number)
