"""What a registry says that it is doing is so."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from trio_jobs import JobContext, Retry, Schedule, open_registry
from trio_jobs._registry.gauges import gauges_of
from trio_jobs.stores import Store
from trio_jobs.stores.memory import MemoryStore


async def sends(job: JobContext[int], number: int) -> None:
    await job.send_many(range(number))
    await trio.sleep_forever()


async def nothing(job: JobContext[int]) -> None:
    await trio.lowlevel.checkpoint()


async def fails(job: JobContext[int]) -> None:
    raise ValueError


async def test_a_registry_at_rest() -> None:
    """Where nothing waits and nobody reads, all of it is 0."""
    async with open_registry() as jobs:
        await (await jobs.submit(nothing)).wait()
        found = await gauges_of(jobs)
        assert (found.lag, found.oldest_due, found.late) == (0, 0, 0)
        assert found.statistics == await jobs.statistics()


async def test_the_lag_of_readers() -> None:
    """The lag is that of the slowest reader; a reader that has read all, or left, has none."""
    async with open_registry() as jobs:
        handle = await jobs.submit(sends, 10)
        async with handle.events(policy="gap") as fast, handle.events(policy="gap") as slow:
            for _ in range(12):  # submitted and started are events, too
                await fast.receive()
            assert (await gauges_of(jobs)).lag == 12
            for _ in range(7):
                await slow.receive()
            assert (await gauges_of(jobs)).lag == 5
        assert (await gauges_of(jobs)).lag == 0


@pytest.mark.parametrize(("before", "age"), [(0, 10), (3, 10), (150, 10), (1000, 0)])
async def test_the_oldest_due_job(before: int, age: int, autojump_clock: MockClock) -> None:
    """Jobs that are due later do not count, nor hide one that is due, unless a thousand came first."""
    async with open_registry(capacity=0) as jobs:
        await jobs.submit_many(nothing, [()] * before, delay=1000)
        await trio.sleep(5)
        await jobs.submit(nothing)
        await trio.sleep(3)
        await jobs.submit(nothing)
        await trio.sleep(7)
        assert (await gauges_of(jobs)).oldest_due == pytest.approx(age)


async def test_a_job_that_is_to_run_again_may_be_the_oldest(autojump_clock: MockClock) -> None:
    """A job that waits to be tried again counts from when it is due."""
    async with open_registry(capacity=1) as jobs:
        again = await jobs.submit(fails, retry=Retry(attempts=2, initial=60, jitter=0))
        await jobs.submit(sends, 0)
        await trio.sleep(100)
        await jobs.submit(nothing)
        assert (await again.snapshot()).state == "retrying"
        await trio.sleep(10)
        assert (await gauges_of(jobs)).oldest_due == pytest.approx(50)


async def test_how_late_a_schedule_is(autojump_clock: MockClock) -> None:
    """A tick that is due and cannot fire is late, unless the schedule is paused."""
    every = Schedule(nothing, every=60, name="often")
    async with open_registry(capacity=0, queue_limit=1, schedules=[every]) as jobs:
        await jobs.submit(nothing)
        await trio.sleep(45)
        assert (await gauges_of(jobs)).late == 0
        await trio.sleep(20)
        assert (await gauges_of(jobs)).late == pytest.approx(5)
        await jobs.schedules.pause("often")
        assert (await gauges_of(jobs)).late == 0


class NoSchedules:
    """A store that keeps no schedules."""

    def __init__(self) -> None:
        self._store = MemoryStore()

    def __getattr__(self, name: str) -> Any:
        if name == "schedules":
            raise AttributeError(name)
        return getattr(self._store, name)


async def test_a_store_without_schedules() -> None:
    """A store of one's own that keeps no schedules has none that are late, and jobs age by the wall clock."""
    async with open_registry(cast("Store", NoSchedules()), capacity=0) as jobs:
        await jobs.submit(nothing)
        found = await gauges_of(jobs)
        assert found.late == 0
        assert 0 < found.oldest_due < 30
