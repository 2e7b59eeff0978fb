"""The store in a file keeps the contract, and agrees with the one in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from trio.testing import MockClock

from trio_jobs.stores import Store
from trio_jobs.stores.sqlite import open_sqlite
from trio_jobs.testing import (
    QUEUE_LIMIT,
    RETENTION,
    Check,
    StoreMachine,
    narrow_store_checks,
    open_sqlite_in_lockstep,
    store_checks,
)
from trio_jobs.testing.checks import SCENES
from trio_jobs.testing.checks.kit import other_work, service_work, work

opened = partial(open_sqlite, handlers=[work, other_work, service_work])


in_lockstep = partial(open_sqlite_in_lockstep, handlers=[work, other_work, service_work])


@asynccontextmanager
async def open_in(folder: Path, opener: Any = opened, **limits: Any) -> AsyncIterator[Store]:
    async with opener(folder / "jobs.db", **limits) as store:
        yield store


open_narrow = partial(open_in, queue_limit=QUEUE_LIMIT, retention=RETENTION)


def virtual() -> MockClock:
    return MockClock(autojump_threshold=0)


# What needs threads, or real time: several connections, and of the races those that take below a second.
SOON = ("sharing.", "racing.a_job_that_waits_to_run_again", "racing.a_job_that_is_to_be_cancelled")


def is_alone(check: Check) -> bool:
    return not str(check).startswith(("sharing.", "racing."))


def marked(check: Check) -> Any:
    return pytest.param(check, marks=[pytest.mark.deep] * (not str(check).startswith(SOON)))


@pytest.mark.parametrize("check", [*filter(is_alone, store_checks())], ids=str)
def test_the_contract_in_virtual_time(check: Check) -> None:
    """Each claim of the contract about one connection holds."""
    check.run(partial(open_in, opener=in_lockstep), clock=virtual)


@pytest.mark.parametrize("check", [marked(check) for check in store_checks()], ids=str)
def test_the_contract(check: Check) -> None:
    """Each claim of the contract holds, with threads and in real time."""
    check.run(open_in)


@pytest.mark.deep
@pytest.mark.parametrize("check", store_checks(thorough=True)[len(store_checks()) - len(SCENES) :], ids=str)
def test_each_verb_beside_each_other_one(check: Check) -> None:
    """Any two concurrent verbs on one job have the result of one of the two orders."""
    check.run(open_in)


@pytest.mark.parametrize("check", narrow_store_checks(), ids=str)
def test_limits_in_virtual_time(check: Check) -> None:
    """Each claim about limits holds."""
    check.run(partial(open_narrow, opener=in_lockstep), clock=virtual)


@pytest.mark.deep
@pytest.mark.parametrize("check", narrow_store_checks(), ids=str)
def test_limits(check: Check) -> None:
    """Each claim about limits holds, with threads and in real time."""
    check.run(open_narrow)


class SqliteMachine(StoreMachine):
    """Random programs of verbs, through two connections that open and close."""

    @asynccontextmanager
    async def open_store(self, folder: Path) -> AsyncIterator[Store]:
        virtual = trio.lowlevel.current_clock()  # also for threads
        async with opened(folder / "jobs.db", clock=lambda: virtual.current_time() + 1e9) as store:
            yield store


@pytest.mark.parametrize("examples", [8, pytest.param(100, marks=pytest.mark.deep)])
def test_it_agrees_with_the_store_in_memory(examples: int) -> None:
    """For any sequence of calls, both stores answer the same and keep the same logs."""
    run_state_machine_as_test(
        SqliteMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink what uses threads takes minutes
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
