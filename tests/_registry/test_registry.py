"""The registry end to end: what it accepts, when jobs run, and how they are found, cancelled and removed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_jobs
from trio_jobs import (
    IllegalTransition,
    JobContext,
    JobFailed,
    KeyConflict,
    Kind,
    Permanent,
    Priority,
    Progress,
    QueueFull,
    Reason,
    Retention,
    Retry,
    RetryAfter,
    State,
    Timeouts,
    UnknownJob,
    open_registry,
)
from trio_jobs.stores import PENALTY


async def echo(job: JobContext[Any], value: object = None) -> object:
    return value


async def sleep(job: JobContext[Any], seconds: float = 1e6) -> str:
    await trio.sleep(seconds)
    return "slept"


async def fail(job: JobContext[Any], error: type[Exception] = OSError) -> None:
    raise error(f"attempt {job.attempt}")


def seconds(later: datetime | None, earlier: datetime) -> float:
    assert later is not None
    return (later - earlier).total_seconds()


# ------------------------------------------------------------------------------- submitting


async def test_submit_many_accepts_all_in_order(autojump_clock: MockClock) -> None:
    """A batch gives a handle for each tuple of arguments, in order, all with the same options."""
    async with open_registry(capacity=3) as jobs:
        handles = await jobs.submit_many(echo, ((n,) for n in range(20)), tags={"batch": "1"})
        assert [await handle.result() for handle in handles] == list(range(20))
        assert await jobs.count(tags={"batch": "1"}) == 20
        assert await jobs.submit_many(echo, []) == []


async def test_submit_many_accepts_all_or_none(autojump_clock: MockClock) -> None:
    """A batch with one bad tuple, or that exceeds the queue limit, leaves no job."""
    async with open_registry(capacity=0, queue_limit=3) as jobs:
        with pytest.raises(TypeError, match="takes 0 to 1 arguments"):
            await jobs.submit_many(echo, [(1,), (1, 2)])  # type: ignore[arg-type]
        with pytest.raises(QueueFull):
            await jobs.submit_many(echo, [(n,) for n in range(4)])
        assert await jobs.count() == 0


async def test_a_cancelled_submit_submitted_nothing(autojump_clock: MockClock) -> None:
    """`submit` and `submit_many` in a cancelled scope leave no job, and raise Cancelled."""
    async with open_registry() as jobs:
        for submit in (jobs.submit(echo), jobs.submit_many(echo, [()])):
            with trio.CancelScope() as scope:
                scope.cancel()
                await submit
            assert scope.cancelled_caught
        assert await jobs.count() == 0


async def test_submit_returns_its_handle_although_it_is_cancelled_meanwhile(
    autojump_clock: MockClock,
) -> None:
    """A cancelled `submit` whose job was accepted returns the handle, so that no job is without one."""
    async with open_registry() as jobs:
        with trio.CancelScope() as scope:
            trio.lowlevel.current_trio_token().run_sync_soon(scope.cancel)
            handle = await jobs.submit(echo, 1)
        assert await handle.result() == 1


async def test_every_async_method_is_a_checkpoint(autojump_clock: MockClock) -> None:
    """Each call lets other tasks run and raises Cancelled if cancelled, even if it need not wait."""
    async with open_registry() as jobs:
        handle = await jobs.submit(echo)
        await handle.wait()
        done = await jobs.submit(echo)
        await done.wait()

        for call in (
            lambda: jobs.submit(echo),
            lambda: jobs.submit_many(echo, []),
            lambda: jobs.get(handle.id),
            jobs.find,
            jobs.count,
            jobs.statistics,
            lambda: jobs.cancel(handle.id),
            jobs.cancel_where,
            lambda: jobs.prune(older_than=1000),
            handle.snapshot,
            handle.wait,
            handle.result,
            handle.history,
            handle.request_cancel,
            lambda: jobs.remove(done.id),
        ):
            with trio.testing.assert_checkpoints():
                await call()


async def test_the_name_is_in_the_log(autojump_clock: MockClock) -> None:
    """`started` events have the name of the registry that ran the attempt."""
    async with open_registry(name="blue") as jobs:
        assert jobs.name == "blue"
        handle = await jobs.submit(echo)
        await handle.wait()
        assert [event.data for event in await handle.history() if event.kind is Kind.STARTED] == ["blue"]


async def test_a_handler_keeps_its_mark(autojump_clock: MockClock) -> None:
    """The options of `handler` hold for its jobs unless `submit` gives others."""

    @trio_jobs.handler(name="render", timeout=5, priority=Priority.LOW)
    async def marked(job: JobContext[Any]) -> None:
        await trio.sleep_forever()

    async with open_registry() as jobs:
        job = await (await jobs.submit(marked)).wait()
        assert (job.handler, job.reason, job.priority) == ("render", Reason.TIMEOUT, Priority.LOW)
        job = await (await jobs.submit(marked, timeout=7, priority=Priority.HIGH)).wait()
        assert (job.timeouts.run, job.priority) == (7, Priority.HIGH)


# ------------------------------------------------------------------------------- capacity


@given(
    durations=st.lists(st.integers(0, 5), min_size=1, max_size=20),
    capacity=st.integers(1, 5),
    data=st.data(),
)
def test_capacity_is_never_exceeded_and_never_left_idle(
    durations: list[int], capacity: int, data: st.DataObject
) -> None:
    """Never more than `capacity` attempts run, and no job waits while a slot is free: jobs start exactly
    when a queue with that many servers would start them."""
    gaps = data.draw(st.lists(st.integers(0, 3), min_size=len(durations), max_size=len(durations)))
    running = most = 0
    started: list[float] = []

    async def work(job: JobContext[Any], duration: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        started.append(trio.current_time())
        await trio.sleep(duration)
        running -= 1

    async def main() -> list[float]:
        async with open_registry(capacity=capacity, on_exit="drain") as jobs:
            began = trio.current_time()
            for gap, duration in zip(gaps, durations, strict=True):
                await trio.sleep(gap)
                await jobs.submit(work, duration)
                await wait_all_tasks_blocked()
                assert (await jobs.statistics()).running == running
        return [at - began for at in started]

    starts = trio.run(main, clock=MockClock(autojump_threshold=0))
    assert most <= capacity
    free_at, now, wanted = [0.0] * capacity, 0.0, []
    for gap, duration in zip(gaps, durations, strict=True):
        now += gap
        slot = min(range(capacity), key=free_at.__getitem__)
        start = max(now, free_at[slot])
        free_at[slot] = start + duration
        wanted.append(start)
    assert starts == pytest.approx(wanted)


async def test_a_slot_is_free_again_after_every_kind_of_end(autojump_clock: MockClock) -> None:
    """A job that completes, fails, times out, is cancelled or waits to retry gives its slot back."""
    async with open_registry(capacity=1) as jobs:
        await (await jobs.submit(echo)).wait()
        await (await jobs.submit(fail)).wait()
        await (await jobs.submit(sleep, timeout=1)).wait()
        cancelled = await jobs.submit(sleep)
        await wait_all_tasks_blocked()
        await cancelled.cancel()
        await jobs.submit(fail, retry=Retry(attempts=2, initial=50, maximum=50))
        with trio.fail_after(1):
            assert await (await jobs.submit(echo, "free")).result() == "free"
        assert (await jobs.statistics()).running == 0


async def test_statistics(autojump_clock: MockClock) -> None:
    """The registry says how many jobs are in each state, how much runs here, and who reads."""
    async with open_registry(capacity=2) as jobs:
        await (await jobs.submit(echo)).wait()
        for _ in range(5):
            handle = await jobs.submit(sleep)
        await wait_all_tasks_blocked()
        async with handle.stream(), handle.events():
            seen = await jobs.statistics()
        assert seen.states == {State.COMPLETED: 1, State.RUNNING: 2, State.QUEUED: 3}
        assert (seen.running, seen.capacity, seen.paused, seen.readers) == (2, 2, False, 2)
        jobs.pause()
        seen = await jobs.statistics()
        assert (seen.paused, seen.readers) == (True, 0)


async def test_capacity_0_submits_and_watches_only(autojump_clock: MockClock) -> None:
    """Without capacity jobs are kept and can be watched and cancelled, but none starts."""
    async with open_registry(capacity=0) as jobs:
        handle = await jobs.submit(echo)
        await trio.sleep(1000)
        assert (await handle.snapshot()).state is State.QUEUED
        assert (await handle.cancel()).outcome == "cancelled"


# ------------------------------------------------------------------------------- pause


async def test_pause_and_resume(autojump_clock: MockClock) -> None:
    """Paused, what runs runs on and nothing starts; resumed, what waited starts at once."""
    async with open_registry(capacity=2) as jobs:
        runs = await jobs.submit(sleep, 10)
        jobs.pause()
        jobs.pause()
        waits = await jobs.submit(echo, 1)
        retries = await jobs.submit(echo, 2, delay=5)
        assert await runs.result() == "slept"
        await trio.sleep(100)
        assert (await waits.snapshot()).state is State.QUEUED
        jobs.resume()
        with trio.fail_after(1):
            assert [await waits.result(), await retries.result()] == [1, 2]
        jobs.resume()
        assert await (await jobs.submit(echo, 3)).result() == 3


async def test_running_says_what_runs_here(autojump_clock: MockClock) -> None:
    """`running` has the jobs that run, with the names of their handlers; none that waits or has ended."""
    async with open_registry(capacity=1) as jobs:
        runs = await jobs.submit(sleep, 10)
        await jobs.submit(echo, 1)
        assert jobs.running == {runs.id: "sleep"}
        await runs.wait()
        await trio.sleep(1)
        assert jobs.running == {}


async def test_timeouts_run_on_while_paused(autojump_clock: MockClock) -> None:
    """Run timeouts and queue timeouts pass in a paused registry too."""
    async with open_registry() as jobs:
        runs = await jobs.submit(sleep, timeout=10)
        await wait_all_tasks_blocked()
        jobs.pause()
        waits = await jobs.submit(echo, timeouts=Timeouts(queue=20))
        began = trio.current_time()
        assert (await runs.wait()).reason is Reason.TIMEOUT
        assert trio.current_time() - began == pytest.approx(10)
        assert (await waits.wait()).reason is Reason.QUEUE_TIMEOUT
        assert trio.current_time() - began == pytest.approx(20)


# ------------------------------------------------------------------------------- when


async def test_delay(autojump_clock: MockClock) -> None:
    """A delayed job starts exactly when its delay is over, and has that time in its snapshot."""
    async with open_registry() as jobs:
        handle = await jobs.submit(echo, delay=90)
        queued = await handle.snapshot()
        assert seconds(queued.next_attempt_at, queued.created_at) == pytest.approx(90)
        job = await handle.wait()
        assert seconds(job.started_at, job.created_at) == pytest.approx(90)


async def test_run_at(autojump_clock: MockClock) -> None:
    """A job starts at the wall time that was asked for; a time in the past means now."""
    async with open_registry() as jobs:
        at = datetime.now(UTC) + timedelta(hours=3)
        handle = await jobs.submit(echo, run_at=at)
        past = await jobs.submit(echo, run_at=datetime.now(UTC) - timedelta(hours=3))
        job = await past.wait()
        assert seconds(job.started_at, job.created_at) == pytest.approx(0)
        assert abs(seconds((await handle.snapshot()).next_attempt_at, at)) < 0.001
        job = await handle.wait()
        assert abs(seconds(job.started_at, at)) < 0.001


async def test_a_job_that_becomes_due_does_not_wait_for_a_later_one(autojump_clock: MockClock) -> None:
    """Jobs with different delays start in the order in which they become due, whenever submitted."""
    async with open_registry() as jobs:
        handles = {delay: await jobs.submit(echo, delay=delay) for delay in (30, 10, 20, 0)}
        for delay, handle in handles.items():
            job = await handle.wait()
            assert seconds(job.started_at, job.created_at) == pytest.approx(delay)


# ------------------------------------------------------------------------------- priority


@given(st.lists(st.tuples(st.integers(0, 900), st.sampled_from(Priority)), min_size=1, max_size=15))
def test_jobs_start_in_the_order_of_their_rank(wanted: list[tuple[int, Priority]]) -> None:
    """Jobs that wait start in the order of due time plus penalty, and of arrival where that is equal."""
    order: list[int] = []

    async def note(job: JobContext[Any], n: int) -> None:
        order.append(n)

    async def main() -> list[int]:
        ranks, now = [], 0
        async with open_registry(capacity=1) as jobs:
            jobs.pause()
            for n, (gap, priority) in enumerate(wanted):
                await trio.sleep(gap)
                now += gap
                await jobs.submit(note, n, priority=priority)
                ranks.append((now + PENALTY[priority], n))
            jobs.resume()
            await wait_all_tasks_blocked()
        return [n for _, n in sorted(ranks)]

    assert trio.run(main, clock=MockClock(autojump_threshold=0)) == order


async def test_a_low_job_does_not_starve(autojump_clock: MockClock) -> None:
    """Under an endless load of urgent jobs a LOW job starts within its penalty and the length of one job."""
    async with open_registry(capacity=1) as jobs:
        low = await jobs.submit(echo, priority=Priority.LOW, delay=0.5)
        async with trio.open_nursery() as nursery:

            async def load() -> None:
                while True:
                    await jobs.submit(sleep, 100, priority=Priority.URGENT)
                    await trio.sleep(50)  # twice as much as one slot can do

            nursery.start_soon(load)
            job = await low.wait()
            nursery.cancel_scope.cancel()
        waited = seconds(job.started_at, job.created_at)
        # Every urgent job that was due up to 1,800 s after it ranks before it, and no other.
        assert PENALTY[Priority.LOW] <= waited <= 2 * (PENALTY[Priority.LOW] + 100)


async def test_priority_counts_only_among_jobs_that_are_due(autojump_clock: MockClock) -> None:
    """An urgent job that is not due yet delays no other job."""
    async with open_registry(capacity=1) as jobs:
        urgent = await jobs.submit(echo, priority=Priority.URGENT, delay=10)
        low = await jobs.submit(echo, priority=3)
        job = await low.wait()
        assert seconds(job.started_at, job.created_at) == 0
        assert job.priority is Priority.LOW
        assert (await urgent.snapshot()).state is State.QUEUED


# ------------------------------------------------------------------------------- retry


async def test_retries_wait_longer_each_time_up_to_the_maximum(autojump_clock: MockClock) -> None:
    """Attempts are spaced as `Retry` defines, each is in the log, and the budget bounds them."""
    async with open_registry() as jobs:
        rule = Retry(attempts=5, initial=10, factor=3, maximum=60, jitter=0)
        handle = await jobs.submit(fail, retry=rule)
        job = await handle.wait()
        assert (job.state, job.reason, job.attempt, job.spent) == (State.FAILED, Reason.ERROR, 5, 5)
        assert job.error is not None
        assert job.error.message == "attempt 5"
        history = await handle.history()
        starts = [event.at for event in history if event.kind is Kind.STARTED]
        gaps = [seconds(b, a) for a, b in itertools.pairwise(starts)]
        assert gaps == pytest.approx([10, 30, 60, 60])
        assert [event.data.delay for event in history if event.kind is Kind.RETRIED] == [10, 30, 60, 60]


async def test_what_on_does_not_name_is_not_retried(autojump_clock: MockClock) -> None:
    """An error that `on` does not name fails the job at once; in a group, any leaf that it names counts."""

    async def fail_in_nursery(job: JobContext[Any]) -> None:
        if job.attempt == 1:
            job.nursery.start_soon(fail, job, ConnectionError)
            await trio.sleep_forever()

    async with open_registry() as jobs:
        rule = Retry(attempts=3, on=ConnectionError)
        assert (await (await jobs.submit(fail, KeyError, retry=rule)).wait()).attempt == 1
        assert (await (await jobs.submit(fail, ConnectionError, retry=rule)).wait()).attempt == 3
        job = await (await jobs.submit(fail_in_nursery, retry=rule)).wait()
        assert (job.state, job.attempt) == (State.COMPLETED, 2)


async def test_timeouts_follow_the_retry_rule(autojump_clock: MockClock) -> None:
    """A run timeout is retried as a TimeoutError would be; a queue timeout is not retried."""

    async def slow_once(job: JobContext[Any]) -> int:
        await trio.sleep(0 if job.attempt == 2 else 100)
        return job.attempt

    async with open_registry() as jobs:
        handle = await jobs.submit(slow_once, timeout=5, retry=Retry(attempts=2, on=TimeoutError))
        assert await handle.result() == 2
        jobs.pause()
        late = await jobs.submit(echo, timeouts=Timeouts(queue=5), retry=Retry(attempts=2))
        job = await late.wait()
        assert (job.state, job.reason, job.attempt) == (State.FAILED, Reason.QUEUE_TIMEOUT, 0)


async def test_a_handler_steers_its_end(autojump_clock: MockClock) -> None:
    """`RetryAfter` runs the job again after its seconds and spends no attempt; `Permanent` fails it."""

    async def snooze(job: JobContext[Any]) -> float:
        if job.attempt < 4:
            raise RetryAfter(1000)
        return trio.current_time()

    async def give_up(job: JobContext[Any]) -> None:
        raise Permanent(ValueError("bad prompt"))

    async with open_registry() as jobs:
        began = trio.current_time()
        handle = await jobs.submit(snooze)
        assert await handle.result() - began == pytest.approx(3000)
        job = await handle.snapshot()
        assert (job.attempt, job.spent) == (4, 1)
        hopeless = await jobs.submit(give_up, retry=Retry(attempts=9))
        with pytest.raises(JobFailed, match="bad prompt") as failed:
            await hopeless.result()
        assert failed.value.attempt == 1


async def test_saved_is_carried_across_attempts(autojump_clock: MockClock) -> None:
    """The next attempt and the snapshot have the value that an attempt saved last."""
    seen: list[Any] = []

    async def step(job: JobContext[int]) -> str:
        seen.append(job.saved)
        at = job.saved or 0
        for n in range(at, 10):
            await job.save(n + 1)
            assert job.saved == n + 1
            if n % 4 == 3:
                raise OSError("crash")
        return "through"

    async with open_registry() as jobs:
        handle = await jobs.submit(step, retry=Retry(attempts=9))
        assert await handle.result() == "through"
        assert seen == [None, 4, 8]
        assert (await handle.snapshot()).saved == 10


async def test_progress_is_in_the_log(autojump_clock: MockClock) -> None:
    """Readers get the progress that a handler reported, unchanged."""

    async def work(job: JobContext[Any]) -> None:
        await job.progress(1)
        await job.progress(2.5, 10, "halfway, nearly")

    async with open_registry() as jobs:
        handle = await jobs.submit(work)
        async with handle.events() as events:
            said = [event.data async for event in events if event.kind is Kind.PROGRESS]
        assert said == [Progress(1), Progress(2.5, 10, "halfway, nearly")]


# ------------------------------------------------------------------------------- key


async def test_the_same_key_for_the_same_is_the_same_job(autojump_clock: MockClock) -> None:
    """Submitting the same again under a key returns the existing job, in whatever state it is."""
    async with open_registry() as jobs:
        for fn, state in ((echo, State.COMPLETED), (fail, State.FAILED)):
            first = await jobs.submit(fn, key=f"k-{state}", tags={"a": "b"})
            again = await jobs.submit(fn, key=f"k-{state}", tags={"a": "b"})
            assert first == again
            await first.wait()
            over = await jobs.submit(fn, key=f"k-{state}", tags={"a": "b"})
            assert (over, (await over.snapshot()).state) == (first, state)
            assert (await over.snapshot()).key == f"k-{state}"
        assert await jobs.count() == 2


@pytest.mark.parametrize(
    ("fn", "args", "options"),
    [
        (fail, (), {}),
        (echo, (2,), {}),
        (echo, (), {}),
        (echo, (1,), {"timeout": 5}),
        (echo, (1,), {"tags": {"user": "7"}}),
        (echo, (1,), {"priority": Priority.HIGH}),
    ],
)
async def test_the_same_key_for_something_else_is_a_conflict(
    autojump_clock: MockClock, fn: Any, args: tuple[Any, ...], options: Any
) -> None:
    """Another handler, other arguments or other options under a used key are refused."""
    async with open_registry() as jobs:
        first = await jobs.submit(echo, 1, key="k")
        with pytest.raises(KeyConflict, match="'k'") as conflict:
            await jobs.submit(fn, *args, key="k", **options)
        assert (conflict.value.key, conflict.value.job_id) == ("k", first.id)
        assert await jobs.count() == 1


async def test_a_key_is_its_owners_and_free_after_removal(autojump_clock: MockClock) -> None:
    """Two owners may use one key; after the job was removed the key can be used anew."""
    async with open_registry() as jobs:
        mine = await jobs.submit(echo, key="k", owner="ann")
        theirs = await jobs.submit(echo, key="k", owner="bob")
        assert mine != theirs
        await mine.wait()
        await jobs.remove(mine.id)
        assert await jobs.submit(fail, key="k", owner="ann") not in {mine, theirs}


async def test_the_same_key_at_the_same_time(autojump_clock: MockClock) -> None:
    """Of a hundred tasks that submit the same under one key, all get one job, and it runs once."""
    runs = 0

    async def work(job: JobContext[Any]) -> None:
        nonlocal runs
        runs += 1
        await trio.sleep(1)

    found = set()
    async with open_registry() as jobs:

        async def submit() -> None:
            handle = await jobs.submit(work, key="k")
            found.add(handle)
            await handle.wait()

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(submit)
    assert (len(found), runs) == (1, 1)


# ------------------------------------------------------------------------------- queue bound


async def test_the_queue_is_bounded(autojump_clock: MockClock) -> None:
    """One job more than may wait is refused and not stored; starts and cancels make room."""
    async with open_registry(capacity=1, queue_limit=3) as jobs:
        runs = await jobs.submit(sleep, 10)
        await wait_all_tasks_blocked()
        waits = [await jobs.submit(sleep) for _ in range(3)]
        with pytest.raises(QueueFull, match="3 jobs wait already") as full:
            await jobs.submit(sleep)
        assert full.value.limit == 3
        assert await jobs.count() == 4
        await waits[0].cancel()
        waits.append(await jobs.submit(sleep))
        with pytest.raises(QueueFull):
            await jobs.submit(sleep)
        await runs.wait()
        await wait_all_tasks_blocked()
        await jobs.submit(sleep)


async def test_a_full_queue_still_finds_a_job_by_its_key(autojump_clock: MockClock) -> None:
    """Submitting again under a key needs no room in the queue."""
    async with open_registry(capacity=0, queue_limit=1) as jobs:
        handle = await jobs.submit(echo, key="k")
        assert await jobs.submit(echo, key="k") == handle


# ------------------------------------------------------------------------------- finding


async def test_a_list_shows_arguments_that_json_does_not_have() -> None:
    """A list has the beginning of arguments; of those that JSON has no form for, as Python writes them."""
    async with open_registry(capacity=0) as jobs:
        await jobs.submit(echo, {(1, 2): "x"})
        assert [job.args_text for job in await jobs.find()] == ["({(1, 2): 'x'},)"]


async def test_find_and_count(autojump_clock: MockClock) -> None:
    """A filter gives exactly the jobs that match each given field, the oldest first."""

    async def parent(job: JobContext[Any]) -> None:
        await job.spawn(sleep)

    async with open_registry(capacity=4) as jobs:
        done = await jobs.submit(echo, tags={"user": "7", "kind": "a"})
        await done.wait()
        seven = await jobs.submit(sleep, tags={"user": "7"}, owner="ann")
        eight = await jobs.submit(sleep, tags={"user": "8"}, owner="bob")
        family = await jobs.submit(parent)
        await wait_all_tasks_blocked()
        late = await jobs.submit(sleep, delay=100)
        (child,) = await jobs.find(parent=family.id)

        async def ids(**where: Any) -> list[str]:
            found = await jobs.find(**where)
            assert await jobs.count(**where) == len(found)
            return [job.id for job in found]

        everything = [done.id, seven.id, eight.id, family.id, child.id, late.id]
        assert await ids() == everything
        assert await ids(state=State.COMPLETED) == [done.id]
        assert await ids(state="queued") == [late.id]
        assert await ids(state={State.QUEUED, State.COMPLETED}) == [done.id, late.id]
        assert await ids(state=[]) == []
        assert await ids(tags={}) == everything
        assert await ids(tags={"user": "7"}) == [done.id, seven.id]
        assert await ids(tags={"user": "7", "kind": "a"}) == [done.id]
        assert await ids(tags={"user": "7"}, state=State.RUNNING) == [seven.id]
        assert await ids(handler="echo") == [done.id]
        assert await ids(owner="bob") == [eight.id]
        assert await ids(owner="bob", handler="echo") == []
        assert await ids(parent="nobody") == []
        assert [job.id for job in await jobs.find(limit=2)] == everything[:2]
        assert not await jobs.find(limit=0)
        assert [job.id for job in await jobs.find(limit=2, newest=True)] == everything[::-1][:2]


async def test_get(autojump_clock: MockClock) -> None:
    """An id gives a handle equal to the first one; an unknown id raises UnknownJob."""
    async with open_registry() as jobs:
        handle = await jobs.submit(echo, 7)
        found = await jobs.get(handle.id)
        assert await found.result() == 7
        for unknown in ("", "nobody", handle.id.upper() + "x", "x" * 10_000, "\0", "☃"):
            with pytest.raises(UnknownJob) as error:
                await jobs.get(unknown)
            assert error.value.job_id == unknown
            assert len(str(error.value)) < 200


async def test_cancel_where(autojump_clock: MockClock) -> None:
    """Cancellation is requested of each unfinished job that matches, and no other; the count is returned."""
    async with open_registry(capacity=3) as jobs:
        mine: Mapping[str, str] = {"user": "7"}
        done = await jobs.submit(echo, tags=mine)
        await done.wait()
        retrying = await jobs.submit(fail, tags=mine, retry=Retry(attempts=2))
        await wait_all_tasks_blocked()
        running = await jobs.submit(sleep, tags=mine)
        other = await jobs.submit(sleep, tags={"user": "8"})
        delayed = await jobs.submit(sleep, tags=mine, delay=9)
        await wait_all_tasks_blocked()
        assert await jobs.cancel_where("logged out", tags=mine) == 3
        for handle in (running, retrying, delayed):
            job = await handle.wait()
            assert (job.state, job.reason) == (State.CANCELLED, Reason.USER)
            assert "logged out" in [event.data for event in await handle.history()]
        assert (await done.snapshot()).state is State.COMPLETED
        assert (await other.snapshot()).state is State.RUNNING
        assert await jobs.cancel_where(tags=mine) == 0
        assert await jobs.cancel_where() == 1


async def test_cancel_where_of_jobs_that_go_meanwhile(autojump_clock: MockClock) -> None:
    """A job that ends or is removed during `cancel_where` raises no error, and is not counted."""
    async with open_registry(capacity=0) as jobs:
        handles = [await jobs.submit(echo) for _ in range(10)]

        async def cancel_last() -> None:
            await handles[-1].request_cancel()
            await jobs.remove(handles[-1].id)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_last)
            asked = await jobs.cancel_where()
        assert asked in {9, 10}
        assert await jobs.count(state=State.QUEUED) == 0


# ------------------------------------------------------------------------------- forgetting


async def test_remove(autojump_clock: MockClock) -> None:
    """A job that has ended can be removed, once; one that has not ended cannot."""
    async with open_registry(capacity=1) as jobs:
        done = await jobs.submit(echo)
        await done.wait()
        await jobs.remove(done.id)
        for call in (jobs.remove, jobs.get, jobs.cancel):
            with pytest.raises(UnknownJob):
                await call(done.id)
        assert await jobs.count() == 0
        running, queued = await jobs.submit(sleep), await jobs.submit(sleep)
        await wait_all_tasks_blocked()
        for handle, state in ((running, State.RUNNING), (queued, State.QUEUED)):
            with pytest.raises(IllegalTransition, match="cancel it first") as illegal:
                await jobs.remove(handle.id)
            assert illegal.value.state is state
        assert await jobs.count() == 2


async def test_a_reader_of_a_job_that_is_removed_is_told(autojump_clock: MockClock) -> None:
    """A reader of a job that is removed gets UnknownJob."""

    async def say(job: JobContext[str]) -> None:
        await job.send_many(["a", "b"])

    async with open_registry() as jobs:
        handle = await jobs.submit(say)
        await handle.wait()
        async with handle.stream(after=5) as tokens, handle.events(after=5) as events:
            await jobs.remove(handle.id)
            for reader in (tokens, events):
                with trio.fail_after(1), pytest.raises(UnknownJob):
                    await reader.receive()


async def test_prune(autojump_clock: MockClock) -> None:
    """Jobs that ended longer ago than asked are removed and counted; all others stay."""
    async with open_registry() as jobs:
        old = [await jobs.submit(echo) for _ in range(3)]
        running = await jobs.submit(sleep)
        await trio.sleep(100)
        young = await jobs.submit(echo)
        await young.wait()
        await trio.sleep(10)
        assert await jobs.prune(older_than=200) == 0
        assert await jobs.prune(older_than=50) == 3
        assert {job.id for job in await jobs.find()} == {running.id, young.id}
        assert await jobs.prune(older_than=0) == 1
        assert await jobs.count() == 1
        for handle in old:
            with pytest.raises(UnknownJob):
                await handle.snapshot()


async def test_the_number_of_ended_jobs_is_bounded(autojump_clock: MockClock) -> None:
    """Of jobs that have ended the newest stay, as many as retention keeps; unfinished ones all stay."""
    async with open_registry(retention=Retention(finished=5)) as jobs:
        running = await jobs.submit(sleep)
        handles = [await jobs.submit(echo) for _ in range(20)]
        await wait_all_tasks_blocked()
        kept = [job.id for job in await jobs.find()]
        assert kept == [running.id] + [handle.id for handle in handles[-5:]]


async def test_jobs_see_the_context_of_the_registry(autojump_clock: MockClock) -> None:
    """A job has the context variables that were set when the registry was opened, whenever it starts; a child
    has those of the handler that spawned it."""
    variable: ContextVar[str] = ContextVar("variable", default="none")

    async def look(job: JobContext[Any]) -> str:
        return variable.get()

    async def parent(job: JobContext[Any]) -> str:
        variable.set("parent")
        return await (await job.spawn(look)).result()

    variable.set("opener")
    async with open_registry(capacity=1) as jobs:
        variable.set("submitter")
        handles = [await jobs.submit(look, delay=delay) for delay in (0, 0, 5)]
        assert [await handle.result() for handle in handles] == ["opener"] * 3
        assert await (await jobs.submit(parent)).result() == "parent"


async def test_a_count_that_stops() -> None:
    """Counts that counters keep are exact; counts that need a search stop at 10,000."""
    async with open_registry(capacity=0) as jobs:
        await jobs.submit_many(nothing_to_do, [()] * 10_001, tags={"a": "b"})
        assert await jobs.count() == await jobs.count(handler="nothing_to_do") == 10_001
        found = await jobs.count(tags={"a": "b"})
        assert (repr(found), found) == ("AtLeast(10000)", 10_000)
        assert repr(await jobs.count(tags={"a": "c"})) == "0"


async def nothing_to_do(job: object) -> None: ...
