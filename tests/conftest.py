"""Sources of randomness: Hypothesis by profile, Trio's scheduler and `random` by a seed that is printed."""

from __future__ import annotations

import os
import random
import secrets
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from trio.testing import MockClock

from tests import postgres
from tests.inside import seed_scheduler

# Nothing is left to chance: a failure is a failure of the change. The gates `deep` and `harness` look
# somewhere new each time; `--hypothesis-profile=fresh` and a `TRIO_JOBS_SEED` do so here.
settings.register_profile(
    "same", max_examples=30, deadline=None, print_blob=True, derandomize=True, database=None
)
settings.register_profile("fresh", max_examples=200, deadline=None, print_blob=True)
settings.load_profile("same")

if "PYTEST_XDIST_WORKER" in os.environ:
    for name in "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG":
        os.environ.pop(name, None)  # tests are measured, what they start is not

SEED = os.environ.get("TRIO_JOBS_SEED", "0")


def pytest_configure() -> None:
    """Handle Ctrl-C also where it is ignored, as in a background process of a script."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    """Print the seed, so that a failure can be reproduced."""
    return f"trio_jobs: TRIO_JOBS_SEED={SEED}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test id that differs between processes: the suite could not run in parallel."""
    if unstable := [item.nodeid for item in items if " at 0x" in item.nodeid]:
        raise pytest.UsageError(f"an address is in the name of a test: {unstable[0]}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Seed each test, alike whether it runs alone or in the suite."""
    random.seed(f"{SEED} {item.nodeid}")
    # Trio schedules by this generator, deterministically once Hypothesis is imported.
    seed_scheduler(f"{SEED} {item.nodeid}")


@pytest.fixture
def socket_clock() -> MockClock:
    """Return a clock for tests with both ends of a socket in one run: it jumps when neither can proceed.

    Bytes that one end sends are read by the other as soon as the system delivers them, in real time.
    """
    return MockClock(autojump_threshold=0.02)


@pytest.fixture(scope="session")
def postgres_installed() -> None:
    """Skip tests of PostgreSQL where it is not installed; on CI, let them fail."""
    if why := postgres.missing():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)


@pytest.fixture(scope="session")
def postgres_server(
    postgres_installed: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[postgres.Server]:
    """Return the server that all tests of the run share. It does not outlive the run."""
    folder = tmp_path_factory.getbasetemp()
    with postgres.shared(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: postgres.Server) -> Iterator[str]:
    """Return the URL of a database of this test's own, which is empty."""
    name = f"test_{secrets.token_hex(8)}"
    postgres_server.query(f"CREATE DATABASE {name}")
    yield postgres_server.url(name)
    postgres_server.query(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def own_server(postgres_installed: None) -> Iterator[Callable[..., postgres.Server]]:
    """Return a function that starts a server of this test's own, which may be killed."""
    servers: list[postgres.Server] = []

    def start(**given: Any) -> postgres.Server:
        servers.append(postgres.Server(**given))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.remove()
