"""The jobs of the memory store, in the order of their coming, and which of them are meant by a filter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from .._states import State
from .._store import Where
from .._summary import EXAMINED, PAGE_JOBS, JobSummary, Page, page_of, place_of
from ._row import Row


def find(
    rows: Mapping[str, Row], where: Where, limit: int, after: str | None, *, newest: bool, epoch: float
) -> Page:
    """Return a page of the jobs that match; see `Store.find` and `Row.snapshot`."""
    place, limit = place_of(after), min(limit, PAGE_JOBS)
    ordered = reversed(list(rows.values())) if newest else iter(rows.values())
    behind = (
        row for row in ordered if place is None or (row.number < place if newest else row.number > place)
    )
    found = list[tuple[int, JobSummary]]()
    for looked, row in enumerate(behind, 1):
        if row.matches(where):
            found.append((row.number, row.summary(epoch)))
        if len(found) > limit:
            break
        if looked == EXAMINED:
            return page_of(found, limit, row.number)
    return page_of(found, limit, None)


def count(rows: Mapping[str, Row], where: Where) -> Mapping[State, int]:
    """Return how many jobs match in each state."""
    return Counter(row.state for row in rows.values() if row.matches(where))
