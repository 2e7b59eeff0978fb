"""The store in a database keeps the contract, and agrees with the one in memory."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
import pytest
import trio
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.postgres import Server
from tests.stores.postgres.lockstep import open_in_lockstep
from trio_jobs import Retention
from trio_jobs.stores import Store
from trio_jobs.stores.postgres import open_postgres
from trio_jobs.testing import (
    QUEUE_LIMIT,
    RETENTION,
    Check,
    JobMachine,
    StoreMachine,
    narrow_store_checks,
    store_checks,
)
from trio_jobs.testing.checks.kit import other_work, service_work, work

OpenIn: TypeAlias = Callable[..., AbstractAsyncContextManager[Store]]
EMPTY = """SELECT format('DELETE FROM trio_jobs.%I', tablename) FROM pg_tables
WHERE schemaname = 'trio_jobs' AND tablename <> 'meta' ORDER BY tablename <> 'job'"""


def emptied(server: Server, opener: Any) -> Iterator[OpenIn]:
    """Give what opens the store of a folder: all use one schema in turn, which is emptied for a new one."""
    name, last = f"test_{secrets.token_hex(8)}", list[Path]()
    server.query(f"CREATE DATABASE {name}")
    url = server.url(name)
    trio.run(make, url)

    @asynccontextmanager
    async def opened(folder: Path, **given: Any) -> AsyncGenerator[Store]:
        if last != [folder]:
            last[:] = [folder]
            empty(url)
        async with opener(url, **{"handlers": [work, other_work, service_work], **given}) as store:
            yield store

    yield opened
    server.query(f"DROP DATABASE {name} WITH (FORCE)")


async def make(url: str) -> None:
    async with open_postgres(url):
        pass


@pytest.fixture(scope="module")
def open_in(postgres_server: Server) -> Iterator[OpenIn]:
    yield from emptied(postgres_server, open_postgres)


@pytest.fixture(scope="module")
def open_slowly(postgres_server: Server) -> Iterator[OpenIn]:
    """Give what opens stores in virtual time."""
    yield from emptied(postgres_server, open_in_lockstep)


def empty(url: str) -> None:
    with psycopg.connect(url) as db:
        for (delete,) in db.execute(EMPTY).fetchall():
            db.execute(delete)


# All claims take more than a minute together.
SOON = (
    "claiming.",
    "closing.",
    "ending.",
    "looking.",
    "reading.",
    "resubmitting.",
    "scheduling.",
    "services.services_are_claimed_apart",
    "sharing.",
    "spawning.",
    "submitting.",
    "waiting.",
    "writing.",
)


def marked(check: Check) -> Any:
    return pytest.param(check, marks=[pytest.mark.deep] * (not str(check).startswith(SOON)))


@pytest.mark.parametrize("check", [marked(check) for check in store_checks()], ids=str)
def test_the_contract(check: Check, open_in: OpenIn) -> None:
    """Each claim of the contract holds."""
    check.run(open_in)


@pytest.mark.deep
@pytest.mark.parametrize("check", narrow_store_checks(), ids=str)
def test_limits(check: Check, open_in: OpenIn) -> None:
    """Each claim about limits holds."""
    check.run(lambda folder: open_in(folder, queue_limit=QUEUE_LIMIT, retention=RETENTION))


class PostgresMachine(StoreMachine):
    """Random programs of verbs, through two connections that open and close."""

    at: OpenIn
    real_time_limit = 120.0

    def open_store(self, folder: Path) -> AbstractAsyncContextManager[Store]:
        return self.at(folder)


@pytest.mark.parametrize("examples", [2, pytest.param(10, marks=pytest.mark.deep)])
def test_it_agrees_with_the_store_in_memory(examples: int, open_slowly: OpenIn) -> None:
    """For any sequence of calls, both stores answer the same and keep the same logs."""

    class Machine(PostgresMachine):
        at = staticmethod(open_slowly)

    run_state_machine_as_test(Machine, settings=hunt(examples, 30))


@pytest.mark.parametrize("examples", [2, pytest.param(10, marks=pytest.mark.deep)])
def test_random_lives_break_no_promise(examples: int, open_slowly: OpenIn) -> None:
    """Random lives of scripted jobs, on workers that crash and come back, pass."""

    class Lives(JobMachine):
        real_time_limit = 120.0

        def open_store(self) -> AbstractAsyncContextManager[Store]:
            return open_slowly(self.folder, handlers=self.journalled, retention=Retention(inputs=6))

    run_state_machine_as_test(Lives, settings=hunt(examples, 20))


def hunt(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],  # to shrink takes minutes
        suppress_health_check=[
            HealthCheck.data_too_large,
            HealthCheck.filter_too_much,
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
        ],
    )
