"""The store in memory keeps the contract: alone, with narrow limits, and shared by several connections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from trio.testing import MockClock

from trio_jobs import Reason, Retention
from trio_jobs.stores import Store
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.testing import Check, Connection, check_store, narrow_store_checks, store_checks
from trio_jobs.testing.checks import QUEUE_LIMIT, RETENTION


def virtual() -> MockClock:
    return MockClock(autojump_threshold=0)


@asynccontextmanager
async def open_store(folder: Path) -> AsyncIterator[Store]:
    store = MemoryStore()
    yield store
    store.close(Reason.SHUTDOWN)


@asynccontextmanager
async def open_narrow(folder: Path, retention: Retention = RETENTION) -> AsyncIterator[Store]:
    store = MemoryStore(queue_limit=QUEUE_LIMIT, retention=retention)
    yield store
    store.close(Reason.SHUTDOWN)


class Shared:
    """The stores of the folders of one check."""

    def __init__(self) -> None:
        self.stores: dict[Path, MemoryStore] = {}

    @asynccontextmanager
    async def open(self, folder: Path) -> AsyncIterator[Store]:
        if folder not in self.stores:
            self.stores[folder] = MemoryStore()
        line = Connection(self.stores[folder])
        yield line
        line.close(Reason.SHUTDOWN)


@pytest.mark.parametrize("check", store_checks(), ids=str)
def test_alone(check: Check) -> None:
    """Each claim of the contract holds."""
    check.run(open_store, clock=virtual)


@pytest.mark.parametrize("check", narrow_store_checks(), ids=str)
def test_limits(check: Check) -> None:
    """Each claim about limits holds."""
    check.run(open_narrow, clock=virtual)


@pytest.mark.parametrize("check", store_checks(), ids=str)
def test_shared(check: Check) -> None:
    """Each claim of the contract holds through connections, those about durable stores included."""
    check.run(Shared().open, clock=virtual)


@pytest.mark.deep
def test_each_verb_beside_each_other_one() -> None:
    """Any two concurrent verbs on one job have the result of one of the two orders."""
    check_store(open_store, clock=virtual, thorough=True)
    check_store(Shared().open, clock=virtual, thorough=True)


@pytest.mark.deep
def test_in_real_time() -> None:
    """Each claim of the contract holds on a real clock as well."""
    check_store(open_store, open_narrow=open_narrow)
