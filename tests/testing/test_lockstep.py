"""A file in lockstep: virtual time waits for it, and a seed determines what happens."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import trio

from trio_jobs import JobContext, StoreUnavailable, open_registry
from trio_jobs.stores import Where
from trio_jobs.testing import open_sqlite_in_lockstep
from trio_jobs.testing._seeded import run_seeded


async def nap(job: JobContext[int], seconds: float) -> float:
    for number in range(3):
        await job.send(number)
        await trio.sleep(seconds)
    return seconds


async def test_time_passes_only_as_it_is_waited_for(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A job of three days in a file takes three days of virtual time, and almost no real time."""
    began, real = trio.current_time(), time.monotonic()
    async with (
        open_sqlite_in_lockstep(tmp_path / "jobs.db", handlers=[nap]) as store,
        open_registry(store, handlers=[nap], lease=100_000) as jobs,
    ):
        handle = await jobs.submit(nap, 86_400)
        await handle.wait()
        log = await store.read(handle.id, 0, 100)
    assert trio.current_time() - began == 3 * 86_400
    assert log[-1].timestamp - log[0].timestamp == 3 * 86_400
    assert time.monotonic() - real < 60


def course(path: Path, seed: int) -> list[object]:
    """Return what happens to jobs that end at the same moment, by their logs."""
    seen: list[object] = []

    async def watch(jobs: object, store: object, number: int) -> None:
        handle = await jobs.submit(nap, 1 + number % 2)  # type: ignore[attr-defined]
        await handle.wait()
        seen.append((number, trio.current_time()))

    async def live() -> None:
        async with (
            open_sqlite_in_lockstep(path, handlers=[nap]) as store,
            open_registry(store, handlers=[nap], capacity=3) as jobs,
        ):
            async with trio.open_nursery() as nursery:
                for number in range(6):
                    nursery.start_soon(watch, jobs, store, number)
            for job in await store.find(Where(), 10):
                seen.append([(event.kind, event.timestamp) for event in await store.read(job.id, 0, 100)])

    run_seeded(live, seed)
    return seen


def test_the_same_seed_takes_the_same_course(tmp_path: Path) -> None:
    """A seed determines what happens in a file, in which order and when; another seed gives another order."""
    courses = [course(tmp_path / f"{turn}.db", seed) for turn, seed in enumerate((1, 1, 2, 3))]
    assert courses[0] == courses[1]
    assert courses[0] not in courses[2:]


async def test_no_thread_is_started(tmp_path: Path) -> None:
    """Errors of SQLite are raised, and it works in the run's own thread."""
    with pytest.raises(StoreUnavailable, match="there is no folder"):
        async with open_sqlite_in_lockstep(tmp_path / "none" / "jobs.db"):
            pass
    # Threads of tests before this one may end meanwhile: only a new one counts.
    before = set(threading.enumerate())
    async with open_sqlite_in_lockstep(tmp_path / "jobs.db") as store:
        await store.find(Where(), 1)
        assert set(threading.enumerate()) <= before
