"""The worker: it claims jobs for its free slots, runs each attempt in a task, and records its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_jobs import JobContext, State, StoreUnavailable
from trio_jobs._running import shortcuts
from trio_jobs._running import worker as running
from trio_jobs.stores.contract import Claimant, Where
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.stores.submission import submission
from trio_jobs.testing import Connection


async def sleep(job: JobContext[Any], seconds: float = 1e6) -> None:
    await trio.sleep(seconds)


@asynccontextmanager
async def open_worker(capacity: int = 1, *, claims: bool = True) -> AsyncIterator[running.Worker]:
    """Run a worker on a store of its own; stop it when the block is left."""
    async with trio.open_nursery() as nursery:
        worker = running.Worker(MemoryStore(), nursery, Claimant("test"), capacity=capacity, window=8)
        if claims:
            nursery.start_soon(worker.run)
        yield worker
        worker.stop(0)


def new(seconds: float = 1e6, **options: Any) -> Any:
    return submission(sleep, (seconds,), options)


async def test_a_submit_starts_the_job_at_once(autojump_clock: MockClock) -> None:
    """With a free slot a job runs as soon as it is accepted, without a claim."""
    async with open_worker(claims=False) as worker:
        (job_id,) = await worker.submit([new()])
        assert (worker.running, list(worker.attempts)) == (1, [job_id])
        assert (await worker.store.get(job_id)).state is State.RUNNING


async def test_no_more_is_claimed_than_there_are_slots(autojump_clock: MockClock) -> None:
    """A batch larger than the capacity fills the slots; the rest starts as slots become free."""
    async with open_worker(capacity=2) as worker:
        await worker.submit([new(5) for _ in range(5)])
        for running in (2, 2, 1, 0):
            await wait_all_tasks_blocked()
            assert worker.running == running
            assert (await worker.store.count(Where())).get(State.RUNNING, 0) == running
            await trio.sleep(5)


async def test_the_worker_finds_what_others_submitted(autojump_clock: MockClock) -> None:
    """The worker also claims jobs that others submitted, or that become due or ready to retry."""
    async with open_worker(capacity=3) as worker:
        await wait_all_tasks_blocked()
        (job_id,), _ = await worker.store.submit([new(1)], 0, Claimant("elsewhere"))
        with trio.fail_after(2):
            await worker.store.ended(job_id)
        (job_id,), _ = await worker.store.submit([new(1, delay=50)], 0, Claimant("elsewhere"))
        with trio.fail_after(52):
            await worker.store.ended(job_id)


async def test_a_job_in_the_store_from_before_is_claimed(autojump_clock: MockClock) -> None:
    """A new worker claims jobs that already wait."""
    async with open_worker(claims=False) as worker:
        (job_id,), _ = await worker.store.submit([new(1)], 0, Claimant("elsewhere"))
        await wait_all_tasks_blocked()
        assert (await worker.store.get(job_id)).state is State.QUEUED
        worker.nursery.start_soon(worker.run)
        with trio.fail_after(2):
            await worker.store.ended(job_id)


async def test_no_claim_takes_the_slot_of_a_submit(autojump_clock: MockClock) -> None:
    """The worker does not claim while `due` waits, so that the slots are free for submits."""
    async with open_worker() as worker:
        asked: list[int] = []
        claim = worker.store.claim

        async def counted(limit: int, worker: Claimant) -> Any:
            asked.append(limit)
            return await claim(limit, worker)

        worker.store.claim = counted  # type: ignore[method-assign]
        for _ in range(3):
            (job_id,) = await worker.submit([new(1)])
            await worker.store.ended(job_id)
        assert asked == []
        await worker.submit([new(1), new(1)])
        await worker.wait_idle()
        await wait_all_tasks_blocked()
        assert asked == [1]


async def test_an_ended_attempt_leaves_no_trace(autojump_clock: MockClock) -> None:
    """After an attempt its slot is free, and its entry is gone; so are its readers' if none is left."""
    async with open_worker() as worker:
        (job_id,) = await worker.submit([new(1, when_unread="cancel", linger=100)])
        await wait_all_tasks_blocked()
        assert job_id in worker.readers
        await worker.store.ended(job_id)
        await worker.wait_idle()
        assert (worker.running, worker.attempts, dict(worker.readers)) == (0, {}, {})


async def test_wait_idle(autojump_clock: MockClock) -> None:
    """`wait_idle` returns when the last attempt is over, and at once if none runs."""
    async with open_worker(capacity=3) as worker:
        with trio.fail_after(1):
            await worker.wait_idle()
        began = trio.current_time()
        await worker.submit([new(3), new(9), new(6)])
        await worker.wait_idle()
        assert trio.current_time() - began == pytest.approx(9)


async def test_the_task_is_named_after_its_job(autojump_clock: MockClock) -> None:
    """A task dump says which handler and which job a task belongs to."""
    async with open_worker() as worker:
        (job_id,) = await worker.submit([new()])
        await wait_all_tasks_blocked()
        assert f"sleep {job_id}" in {task.name for task in worker.nursery.child_tasks}


async def test_a_closed_worker_says_so(autojump_clock: MockClock) -> None:
    """`check_open` raises exactly if the registry was left."""
    async with open_worker() as worker:
        worker.check_open()
        worker.closed = True
        with pytest.raises(trio.ClosedResourceError, match="'async with' block was left"):
            worker.check_open()


async def test_an_interrupt_cancels_everything_under_the_worker(autojump_clock: MockClock) -> None:
    """Ctrl-C in a handler cancels the nursery of all jobs, and is recorded."""
    async with trio.open_nursery() as nursery:
        worker = running.Worker(MemoryStore(), nursery, Claimant("test"), capacity=1, window=8)
        nursery.start_soon(worker.run)
        await worker.submit([new()])
        assert not worker.interrupted
        worker.interrupt()
    assert worker.interrupted
    assert not worker.attempts


@given(st.lists(st.one_of(st.sampled_from(["pause", "resume"]), st.integers(0, 4)), max_size=25))
def test_slots_are_counted_right_under_any_program(steps: list[str | int]) -> None:
    """Whatever is submitted, paused and resumed: `running` counts the attempts, is at most the capacity, and
    no job waits while a slot is free and the registry not paused."""

    async def main() -> None:
        async with open_worker(capacity=3) as worker:
            for step in steps:
                if isinstance(step, int):
                    await worker.submit([new(step)])
                else:
                    worker.pause(paused=step == "pause")
                await wait_all_tasks_blocked()
                count = await worker.store.count(Where())
                assert worker.running == len(worker.attempts) == count.get(State.RUNNING, 0) <= 3
                if not worker.paused and worker.running < 3:
                    assert not count.get(State.QUEUED, 0)
                await trio.sleep(1)

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("refused", [False, True])
async def test_slots_that_a_slow_submit_did_not_fill_are_claimed_for(
    autojump_clock: MockClock, *, refused: bool
) -> None:
    """A submit under way holds the free slots; after it, waiting jobs are claimed for those it left."""

    class Slow(Connection):
        async def call(self, name: str, verb: Any) -> Any:
            if name == "submit":
                await trio.sleep(10)
                if refused:
                    raise StoreUnavailable("refused")
            return await super().call(name, verb)

    store = MemoryStore()
    async with trio.open_nursery() as nursery:
        worker = running.Worker(Slow(store), nursery, Claimant("test"), capacity=1, window=8)
        nursery.start_soon(worker.run)

        async def submit() -> None:
            with suppress(StoreUnavailable):
                await worker.submit([new(1, delay=1e3)])

        nursery.start_soon(submit)
        await trio.sleep(1)
        (job_id,), _ = await store.submit([new(1)], 0, Claimant("elsewhere"))
        with trio.fail_after(20):
            await store.ended(job_id)
        nursery.cancel_scope.cancel()


async def test_a_slot_is_kept_until_the_end_is_recorded(autojump_clock: MockClock) -> None:
    """While the store records the end of a job, no other job is claimed for its slot."""

    class Slow(Connection):
        async def call(self, name: str, verb: Any) -> Any:
            if name == "finish":
                await trio.sleep(10)
            return await super().call(name, verb)

    store = MemoryStore()
    async with trio.open_nursery() as nursery:
        worker = running.Worker(Slow(store), nursery, Claimant("test"), capacity=1, window=8)
        nursery.start_soon(worker.run)
        await worker.submit([new(1), new(1)])
        await trio.sleep(5)
        states = Counter({state: count for state, count in (await store.count(Where())).items() if count})
        assert states == {State.RUNNING: 1, State.QUEUED: 1}
        nursery.cancel_scope.cancel()


async def test_a_slot_is_kept_between_two_tries(autojump_clock: MockClock) -> None:
    """Where an end and the next claim are one step, no claim is made while the store is unavailable."""
    calls: list[str] = []

    class Refusing(Connection):
        async def call(self, name: str, verb: Any) -> Any:
            calls.append(name)
            if name == "finish" and calls.count(name) < 3:
                raise StoreUnavailable("refused")
            return await super().call(name, verb)

    store = MemoryStore()
    async with trio.open_nursery() as nursery:
        worker = running.Worker(
            Refusing(store),
            nursery,
            Claimant("test"),
            capacity=1,
            window=8,
            shortcuts=shortcuts.Shortcuts(batches=True),
        )
        nursery.start_soon(worker.run)
        _, second = await worker.submit([new(1), new(1)])
        await store.ended(second)
        nursery.cancel_scope.cancel()
    assert calls == ["submit", "finish", "finish", "finish", "claim", "finish"]
