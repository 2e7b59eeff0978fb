"""A worker ends jobs whose queue timeout has passed, at that time, and no others."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_jobs import JobContext, JobTimedOut, Kind, Reason, Retry, State, Timeouts, open_registry


async def sleep(job: JobContext[Any], seconds: float = 1e6) -> None:
    await trio.sleep(seconds)


async def test_an_expired_job_says_so(autojump_clock: MockClock) -> None:
    """A job that was not started in time is FAILED without an attempt, and is not retried."""
    async with open_registry(capacity=0) as jobs:
        handle = await jobs.submit(sleep, timeouts=Timeouts(queue=2.5), retry=Retry(attempts=3))
        with pytest.raises(JobTimedOut, match=r"Job was not started within 2.5s") as expired:
            await handle.result()
        assert (expired.value.reason, expired.value.attempt) == (Reason.QUEUE_TIMEOUT, 0)
        assert [event.kind for event in await handle.history()] == [Kind.SUBMITTED, Kind.EXPIRED]


async def test_the_clock_runs_from_when_the_job_is_due(autojump_clock: MockClock) -> None:
    """The delay of a job does not count as waiting."""
    async with open_registry(capacity=0) as jobs:
        began = trio.current_time()
        handle = await jobs.submit(sleep, delay=100, timeouts=Timeouts(queue=5))
        await handle.wait()
        assert trio.current_time() - began == pytest.approx(105)


async def test_a_job_that_has_started_is_safe(autojump_clock: MockClock) -> None:
    """After the first start the queue timeout ends neither a long run nor a retry."""

    async def fail_once(job: JobContext[Any]) -> None:
        await trio.sleep(10)
        if job.attempt == 1:
            raise OSError

    async with open_registry() as jobs:
        handle = await jobs.submit(
            fail_once, timeouts=Timeouts(queue=1), retry=Retry(attempts=2, initial=50, maximum=50)
        )
        assert (await handle.wait()).state is State.COMPLETED


async def test_a_cancelled_job_does_not_expire(autojump_clock: MockClock) -> None:
    """A job that was cancelled in the queue keeps that end."""
    async with open_registry(capacity=0) as jobs:
        handle = await jobs.submit(sleep, timeouts=Timeouts(queue=5))
        await handle.cancel()
        before = await handle.snapshot()
        await trio.sleep(100)
        assert await handle.snapshot() == before


async def test_a_claim_starts_no_job_that_is_too_late(autojump_clock: MockClock) -> None:
    """A job whose time passes when a slot becomes free is started or expired, never both."""
    async with open_registry(capacity=1) as jobs:
        for _ in range(20):
            await jobs.submit(sleep, 5)
            await wait_all_tasks_blocked()
            handle = await jobs.submit(sleep, 0, timeouts=Timeouts(queue=5))
            job = await handle.wait()
            assert (job.state, job.attempt) in {(State.COMPLETED, 1), (State.FAILED, 0)}
            assert sum(event.kind.ends for event in await handle.history()) == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(0, 6)), max_size=20))
def test_each_job_expires_exactly_at_its_time(wanted: list[tuple[int, int, int]]) -> None:
    """Each job that is not started ends at its due time plus its queue timeout, in any order of arrival."""

    async def main() -> None:
        async with open_registry(capacity=0) as jobs:
            handles = []
            for gap, delay, limit in wanted:
                await trio.sleep(gap)
                handles.append(await jobs.submit(sleep, delay=delay, timeouts=Timeouts(queue=limit)))
            for handle, (_, delay, limit) in zip(handles, wanted, strict=True):
                job = await handle.wait()
                assert job.finished_at is not None
                waited = (job.finished_at - job.created_at).total_seconds()
                assert waited == pytest.approx(delay + limit, abs=0.001)

    trio.run(main, clock=MockClock(autojump_threshold=0))
