"""The store in a database keeps the contract, and agrees with the one in memory."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.postgres import Server
from trio_jobs.stores import Store
from trio_jobs.stores.postgres import open_postgres
from trio_jobs.testing import (
    QUEUE_LIMIT,
    RETENTION,
    Check,
    StoreMachine,
    narrow_store_checks,
    store_checks,
)
from trio_jobs.testing.checks import SCENES
from trio_jobs.testing.checks.kit import other_work, service_work, work

OpenIn: TypeAlias = Callable[..., AbstractAsyncContextManager[Store]]
EMPTY = """SELECT format('DELETE FROM trio_jobs.%I', tablename) FROM pg_tables
WHERE schemaname = 'trio_jobs' AND tablename <> 'meta' ORDER BY tablename <> 'job'"""


@pytest.fixture(scope="module")
def open_in(postgres_server: Server) -> Iterator[OpenIn]:
    """Open the store of a folder: all use one schema in turn, which is emptied for a new one."""
    name, last = f"test_{secrets.token_hex(8)}", list[Path]()
    postgres_server.query(f"CREATE DATABASE {name}")

    @asynccontextmanager
    async def opened(folder: Path, **limits: Any) -> AsyncGenerator[Store]:
        if last != [folder]:
            last[:] = [folder]
            empty(postgres_server.url(name))
        url = postgres_server.url(name)
        async with open_postgres(url, handlers=[work, other_work, service_work], **limits) as store:
            yield store

    yield opened
    postgres_server.query(f"DROP DATABASE {name} WITH (FORCE)")


def empty(url: str) -> None:
    with psycopg.connect(url) as db:
        for (delete,) in db.execute(EMPTY).fetchall():
            db.execute(delete)


def marked(check: Check) -> Any:
    return pytest.param(check, marks=[pytest.mark.deep] * str(check).startswith("racing."))


@pytest.mark.parametrize("check", [marked(check) for check in store_checks()], ids=str)
def test_the_contract(check: Check, open_in: OpenIn) -> None:
    """Each claim of the contract holds."""
    check.run(open_in)


@pytest.mark.deep
@pytest.mark.parametrize("check", store_checks(thorough=True)[len(store_checks()) - len(SCENES) :], ids=str)
def test_each_verb_beside_each_other_one(check: Check, open_in: OpenIn) -> None:
    """Any two concurrent verbs on one job have the result of one of the two orders."""
    check.run(open_in)


@pytest.mark.parametrize("check", narrow_store_checks(), ids=str)
def test_limits(check: Check, open_in: OpenIn) -> None:
    """Each claim about limits holds."""
    check.run(lambda folder: open_in(folder, queue_limit=QUEUE_LIMIT, retention=RETENTION))
