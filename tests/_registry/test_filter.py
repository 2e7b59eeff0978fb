"""Filters: which jobs they select, and that all pages of them are read."""

from __future__ import annotations

import pytest

from trio_jobs import JobContext, State, open_registry
from trio_jobs.stores import Where
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.testing.checks.kit import accept, make


async def wait(job: JobContext[None]) -> None:
    """Do nothing."""


async def test_more_jobs_than_a_page_holds() -> None:
    """Cancelling by a filter covers all pages, and each page keeps its bound."""
    async with open_registry(capacity=0) as jobs:
        await jobs.submit_many(wait, [()] * 2345, tags={"a": "b"})
        with pytest.raises(ValueError, match="a page has at most 1000 jobs"):
            await jobs.find(limit=1001)
        assert await jobs.cancel_where(tags={"a": "b"}) == 2345
        assert await jobs.count(state=State.CANCELLED) == 2345


async def test_a_search_that_finds_nothing_for_long() -> None:
    """A page ends also when 20,000 jobs were examined: it is then empty, and has a `next`."""
    store = MemoryStore()
    await accept(store, *(make() for _ in range(20_001)))
    (last,) = await accept(store, make(tags={"a": "b"}))
    page = await store.find(Where(tags={"a": "b"}), 9)
    assert list(page) == []
    rest = await store.find(Where(tags={"a": "b"}), 9, after=page.next)
    assert ([job.id for job in rest], rest.next) == ([last], None)
