"""The private parts that tests read, each in one place: those of a registry, and Trio's scheduler."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

import trio
from trio.testing import MockClock

from trio_jobs._running.deadlines import Deadlines

if TYPE_CHECKING:
    from trio_jobs import JobRegistry
    from trio_jobs.client import RemoteRegistry
    from trio_jobs.stores import Store

__all__ = [
    "Deadlines",
    "epoch_of",
    "link_of",
    "rows_of",
    "scheduler",
    "seed_scheduler",
    "simulate",
    "store_of",
    "worker_of",
]


def worker_of(jobs: JobRegistry) -> Any:
    """Return the worker of a registry, which has its attempts and its readers."""
    return cast("Any", jobs)._worker


def store_of(jobs: JobRegistry) -> Store:
    """Return the store of a registry, which can be read after the registry was left."""
    return cast("Store", worker_of(jobs).store)


def rows_of(store: Any) -> dict[str, Any]:
    """Return the rows of a store in memory by job, which can be read without a checkpoint."""
    return cast("dict[str, Any]", store._rows)


def epoch_of(store: Any) -> float:
    """Return when the clock of a store in memory was 0, in seconds since 1970."""
    return cast("float", store._epoch)


def scheduler() -> tuple[bool, random.Random]:
    """Return whether Trio's scheduler is deterministic, as it is under Hypothesis, and its generator."""
    run = cast("Any", trio)._core._run
    return run._ALLOW_DETERMINISTIC_SCHEDULING, run._r


def seed_scheduler(seed: object) -> None:
    """Give Trio's scheduler the schedule that belongs to `seed`."""
    scheduler()[1].seed(str(seed))


def link_of(remote: RemoteRegistry) -> Any:
    """Return the connection of a client to its server."""
    return remote._link


def simulate(scenario: Callable[..., Awaitable[Any]], *args: Any, seed: int = 0) -> None:
    """Run a scenario in virtual time, under the schedule that belongs to `seed`."""
    random.seed(seed)
    seed_scheduler(seed)
    trio.run(scenario, *args, clock=MockClock(autojump_threshold=0))
