"""Jobs with one exclusive name, as a program sees them, in memory and in a file of two registries."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_jobs import (
    Busy,
    JobCancelled,
    JobContext,
    JobRegistry,
    Reason,
    Schedule,
    State,
    handler,
    open_registry,
)

RUNNING: list[str] = []


@handler(name="turn")
async def turn(job: JobContext[str], name: str, cleans_up: bool = False) -> str:
    """Run until cancelled, or return at once, and note what runs beside it."""
    RUNNING.append(name)
    try:
        await job.send("started")
        if not name.startswith("quick"):
            await trio.sleep_forever()
    finally:
        if cleans_up:
            with trio.CancelScope(shield=True):
                for _ in range(20):
                    await trio.lowlevel.checkpoint()
        assert [name] == RUNNING
        RUNNING.remove(name)
    return name


async def opened(stack: AsyncExitStack, store: str, folder: Path) -> list[JobRegistry]:
    """Return the registries through which jobs are submitted: one in memory, or two of a file."""
    where, count = ("memory://", 1) if store == "memory" else (f"sqlite:///{folder / 'jobs.db'}", 2)
    opening = [open_registry(where, handlers=[turn]) for _ in range(count)]
    return [await stack.enter_async_context(one) for one in opening]


async def started(handle: Any) -> None:
    async with handle.stream() as tokens:
        assert await tokens.receive() == "started"


@pytest.mark.parametrize("store", ["memory", "file"])
async def test_the_next_one_starts_when_the_cancelled_one_has_stopped(store: str, tmp_path: Path) -> None:
    """With `cancel` the handler that runs is cancelled at once, wherever it runs, and none runs beside it."""
    async with AsyncExitStack() as stack:
        jobs = await opened(stack, store, tmp_path)
        handles = list[Any]()
        with trio.fail_after(30):
            for number in range(4):
                where = jobs[number % len(jobs)]
                name = f"slow {number}" if number < 3 else "quick"
                handles.append(await where.submit(turn, name, True, exclusive="chat", on_busy="cancel"))
                if number < 3:
                    await started(handles[-1])
            assert await handles[-1].result() == "quick"
            for handle in handles[:-1]:
                job = await handle.wait()
                assert (job.state, job.reason) == (State.CANCELLED, Reason.USER)
                assert job.message == "another job is to take its place"


@pytest.mark.parametrize("store", ["memory", "file"])
async def test_who_waits_for_a_replaced_job_is_told_by_which(store: str, tmp_path: Path) -> None:
    """`result` and a stream of a job that is replaced raise `JobCancelled`, which names the new job."""
    async with AsyncExitStack() as stack:
        jobs = (await opened(stack, store, tmp_path))[0]
        with trio.fail_after(30):
            first = await jobs.submit(turn, "slow", exclusive="chat")
            await started(first)
            second = await jobs.submit(turn, "quick 2", exclusive="chat", on_busy="replace")
            assert (await second.snapshot()).behind == first.id
            third = await jobs.submit(turn, "quick 3", exclusive="chat", on_busy="replace")
            for call in (second.result(), second.stream().__aenter__()):
                with pytest.raises(JobCancelled) as caught:
                    async with AsyncExitStack() as streams:
                        found: Any = await call
                        streams.push_async_exit(found)
                        await found.receive()
                assert (caught.value.reason, caught.value.replaced_by) == (Reason.REPLACED, third.id)
            with pytest.raises(Busy) as busy:
                await jobs.submit(turn, "quick 4", exclusive="chat")
            assert busy.value.job_id == first.id
            attached = await jobs.submit(turn, "quick 5", exclusive="chat", on_busy="attach")
            assert attached.id == first.id
            await first.cancel()
            assert await third.result() == "quick 3"
            assert (await third.snapshot()).behind is None


async def test_a_tick_cancels_the_job_of_the_one_before(autojump_clock: MockClock) -> None:
    """A schedule whose jobs `cancel` ends the one that runs with the next tick, in memory as well."""
    every = Schedule(turn, ("slow",), every=60, options={"exclusive": "import", "on_busy": "cancel"})
    async with open_registry(handlers=[turn], schedules=[every]) as jobs:
        await trio.sleep(150)
        states = [job.state for job in await jobs.find()]
        assert states == [State.CANCELLED, State.RUNNING]
