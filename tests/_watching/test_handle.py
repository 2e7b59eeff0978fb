"""A handle watches one job and cancels it; its reports agree with the job's real end."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.inside import worker_of
from trio_jobs import (
    CancelReport,
    InvalidPayload,
    JobCancelled,
    JobContext,
    JobFailed,
    JobHandle,
    JobTimedOut,
    KeyConflict,
    Kind,
    Reason,
    Retention,
    Retry,
    State,
    Timeouts,
    UnknownJob,
    open_registry,
)
from trio_jobs.stores.contract import Claimant
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.stores.submission import submission


async def count_up(job: JobContext[int], n: int) -> int:
    for i in range(n):
        await job.send(i)
    return n


async def sleep(job: JobContext[Any], seconds: float = 1e6) -> str:
    await trio.sleep(seconds)
    return "slept"


async def fail(job: JobContext[Any]) -> None:
    raise ValueError("no such model")


async def clean_up(job: JobContext[Any], seconds: float) -> None:
    """Sleep until cancelled, and take a while to end after that."""
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)


# ------------------------------------------------------------------------------- watching


async def test_what_cannot_be_sent(autojump_clock: MockClock) -> None:
    """No inputs at all, and keys that are empty, too long or no text."""
    async with open_registry() as jobs:
        handle = await jobs.submit(sleep, 1)
        with pytest.raises(ValueError, match="at least one input"):
            await handle.send_many([])
        for key, error in [("", ValueError), ("k" * 257, ValueError), ("\0", InvalidPayload), (7, TypeError)]:
            with pytest.raises(error, match="key"):
                await handle.send("value", key=cast("Any", key))
        assert await handle.send("value", key="k" * 256) == await handle.send("value", key="k" * 256)
        with pytest.raises(KeyConflict):
            await handle.send_many(["value", "value"], key="k" * 256)


async def test_result_is_what_the_handler_returned(autojump_clock: MockClock) -> None:
    """`result` gives the handler's value, the same object, before and after the end, any number of times."""
    value = {"answer": [42]}

    async def give(job: JobContext[Any]) -> dict[str, list[int]]:
        await trio.sleep(1)
        return value

    async with open_registry() as jobs:
        handle = await jobs.submit(give)
        assert await handle.result() is value
        assert await handle.result() is value
        assert (await handle.snapshot()).result is value


async def test_result_raises_how_the_job_ended(autojump_clock: MockClock) -> None:
    """`result` raises JobFailed, JobTimedOut or JobCancelled, each with its facts in attributes."""
    async with open_registry() as jobs:
        failed = await jobs.submit(fail)
        with pytest.raises(JobFailed) as failure:
            await failed.result()
        assert not isinstance(failure.value, JobTimedOut)
        assert (failure.value.job_id, failure.value.reason) == (failed.id, Reason.ERROR)
        assert failure.value.attempt == 1
        assert failure.value.error is not None
        assert (failure.value.error.type, failure.value.error.message) == ("ValueError", "no such model")

        slow = await jobs.submit(sleep, timeout=5)
        with pytest.raises(TimeoutError, match=r"timed out after 5s") as timed_out:
            await slow.result()
        assert isinstance(timed_out.value, JobTimedOut)
        assert timed_out.value.reason is Reason.TIMEOUT

        stopped = await jobs.submit(sleep)
        await stopped.cancel()
        with pytest.raises(JobCancelled, match="was cancelled") as cancelled:
            await stopped.result()
        assert (cancelled.value.job_id, cancelled.value.reason) == (stopped.id, Reason.USER)


@pytest.mark.parametrize("running", [False, True])
async def test_the_free_text_of_a_cancel_is_told(autojump_clock: MockClock, running: bool) -> None:
    """The canceller's text is in the error and in the log, whether the job had started or not."""
    async with open_registry(capacity=int(running)) as jobs:
        handle = await jobs.submit(sleep)
        await wait_all_tasks_blocked()
        await handle.cancel("not needed")
        assert (await handle.history())[-1].data.message == "not needed"
        with pytest.raises(JobCancelled, match="not needed") as cancelled:
            await handle.result()
        assert cancelled.value.message == "not needed"


@pytest.mark.parametrize(
    ("fn", "options", "state"),
    [
        (partial(count_up, n=0), {}, State.COMPLETED),
        (fail, {}, State.FAILED),
        (sleep, {"timeout": 1}, State.FAILED),
    ],
)
async def test_wait_returns_the_ended_job_however_it_ended(
    autojump_clock: MockClock, fn: Any, options: Any, state: State
) -> None:
    """`wait` returns the job at the moment of its end, and raises for no end."""
    async with open_registry() as jobs:
        handle = await jobs.submit(fn, **options)
        job = await handle.wait()
        assert job.state is state
        assert job.finished_at is not None
        assert job == await handle.snapshot()


async def test_cancelling_a_waiter_leaves_the_job_alone(autojump_clock: MockClock) -> None:
    """Cancelling a `wait` or `result` does not cancel the job, which completes."""
    async with open_registry() as jobs:
        handle = await jobs.submit(sleep, 10)
        with trio.move_on_after(1) as scope:
            await handle.wait()
        assert scope.cancelled_caught
        with trio.move_on_after(1) as scope:
            await handle.result()
        assert scope.cancelled_caught
        assert await handle.result() == "slept"


async def test_many_waiters_are_all_told(autojump_clock: MockClock) -> None:
    """All tasks that wait for one job get its result, at the same time."""
    told: list[float] = []
    async with open_registry() as jobs:
        handle = await jobs.submit(sleep, 10)
        began = trio.current_time()

        async def waiter() -> None:
            assert await handle.result() == "slept"
            told.append(trio.current_time() - began)

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(waiter)
    assert told == [pytest.approx(10)] * 50


async def test_who_waited_is_told_though_the_job_is_forgotten_at_once(autojump_clock: MockClock) -> None:
    """Tasks that wait for a job get its end although retention drops the job at the same moment."""
    told: list[object] = []

    async def result(handle: JobHandle[Any, str]) -> None:
        told.append(await handle.result())

    async def cancel(handle: JobHandle[Any, str]) -> None:
        told.append((await handle.cancel(grace=100)).outcome)

    async def wait(handle: JobHandle[Any, str]) -> None:
        told.append((await handle.wait()).state)

    async with open_registry(retention=Retention(finished=1)) as jobs:
        async with trio.open_nursery() as nursery:
            for handle in [await jobs.submit(sleep, 5) for _ in range(3)]:
                for ask in (result, cancel, wait):
                    nursery.start_soon(ask, handle)
        assert await jobs.count() == 1
    assert {one: told.count(one) for one in told} == {"slept": 3, "finished_first": 3, State.COMPLETED: 3}


async def test_the_snapshot_follows_the_job(autojump_clock: MockClock) -> None:
    """A snapshot says where the job is now: when it was made, started and ended, and how often it ran."""
    async with open_registry(capacity=1) as jobs:
        first = await jobs.submit(sleep, 5)
        handle = await jobs.submit(sleep, 10, tags={"user": "7"}, metadata={"n": [1]}, owner="ann")
        queued = await handle.snapshot()
        assert (queued.state, queued.attempt, queued.started_at) == (State.QUEUED, 0, None)
        assert queued.next_attempt_at == queued.created_at
        assert (queued.tags, queued.metadata, queued.owner) == ({"user": "7"}, {"n": [1]}, "ann")
        await first.wait()
        await wait_all_tasks_blocked()
        running = await handle.snapshot()
        assert (running.state, running.attempt, running.spent) == (State.RUNNING, 1, 1)
        assert running.next_attempt_at is None
        job = await handle.wait()
        assert job.started_at is not None
        assert job.finished_at is not None
        assert (job.started_at - job.created_at).total_seconds() == pytest.approx(5)
        assert (job.finished_at - job.started_at).total_seconds() == pytest.approx(10)
        assert job.handler == "sleep"


async def test_history_is_the_log_without_tokens_and_progress(autojump_clock: MockClock) -> None:
    """`history` has each lifecycle event and saved value, with the attempt that wrote it."""

    async def busy(job: JobContext[int]) -> None:
        await job.send(1)
        await job.progress(1, 2)
        await job.save("half")
        if job.attempt == 1:
            raise OSError("once")

    async with open_registry() as jobs:
        handle = await jobs.submit(busy, retry=Retry(attempts=2, initial=3, jitter=0))
        await handle.wait()
        history = await handle.history()
        assert [(event.attempt, event.kind) for event in history] == [
            (0, Kind.SUBMITTED),
            (1, Kind.STARTED),
            (1, Kind.SAVED),
            (1, Kind.RETRIED),
            (2, Kind.STARTED),
            (2, Kind.SAVED),
            (2, Kind.COMPLETED),
        ]
        retried = history[3].data
        assert (retried.reason, retried.delay) == (Reason.ERROR, 3)
        assert retried.error.message == "once"


async def test_handles_on_one_job_are_equal(autojump_clock: MockClock) -> None:
    """Handles are equal, and have the same hash, exactly if they are of one job of one registry."""
    async with open_registry() as jobs, open_registry() as others:
        one = await jobs.submit(sleep)
        two = await jobs.submit(sleep)
        assert one == await jobs.get(one.id)
        assert len({one, await jobs.get(one.id), two}) == 2
        assert one != two
        assert one != one.id
        assert one != JobHandle(worker_of(others), one.id)
        assert repr(one) == f"<JobHandle {one.id}>"


async def test_a_removed_job_is_unknown_to_its_handle(autojump_clock: MockClock) -> None:
    """After the job was removed, every method of its handle raises UnknownJob."""
    async with open_registry() as jobs:
        handle = await jobs.submit(count_up, 1)
        await handle.wait()
        await jobs.remove(handle.id)
        for ask in (handle.snapshot, handle.wait, handle.result, handle.history, handle.cancel):
            with pytest.raises(UnknownJob):
                await ask()
        with pytest.raises(UnknownJob):
            await handle.request_cancel()
        with pytest.raises(UnknownJob):
            async with handle.events():
                pass
        with pytest.raises(UnknownJob):
            async with handle.stream():
                pass


# ------------------------------------------------------------------------------- cancelling


async def test_cancel_a_queued_job(autojump_clock: MockClock) -> None:
    """A job that waits in the queue is CANCELLED at once and never starts."""
    async with open_registry(capacity=1) as jobs:
        busy = await jobs.submit(sleep)
        handle = await jobs.submit(sleep)
        report = await handle.cancel("changed my mind")
        assert report == CancelReport("cancelled", 0.0)
        job = await handle.snapshot()
        assert (job.state, job.reason, job.attempt) == (State.CANCELLED, Reason.USER, 0)
        assert [event.kind for event in await handle.history()] == [
            Kind.SUBMITTED,
            Kind.CANCEL_REQUESTED,
            Kind.CANCELLED,
        ]
        assert (await busy.snapshot()).state is State.RUNNING


async def test_cancel_a_delayed_job(autojump_clock: MockClock) -> None:
    """A job that is not due yet is CANCELLED at once and does not start when its time comes."""
    async with open_registry() as jobs:
        handle = await jobs.submit(sleep, delay=100)
        assert (await handle.cancel()).outcome == "cancelled"
        await trio.sleep(200)
        assert (await handle.snapshot()).attempt == 0


async def test_cancel_a_running_job_reports_after_its_nursery_has_closed(autojump_clock: MockClock) -> None:
    """`cancelled` is reported, and CANCELLED written, only after the last task of the job has ended."""
    alive = 0

    async def helper() -> None:
        nonlocal alive
        alive += 1
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(3)
            alive -= 1

    async def spread(job: JobContext[Any]) -> None:
        job.nursery.start_soon(helper)
        await helper()

    async with open_registry() as jobs:
        handle = await jobs.submit(spread)
        await wait_all_tasks_blocked()
        assert alive == 2
        report = await handle.cancel()
        assert alive == 0
        assert report.outcome == "cancelled"
        assert report.took == pytest.approx(3)
        assert report.stack is None
        job = await handle.snapshot()
        assert (job.state, job.reason) == (State.CANCELLED, Reason.USER)


async def test_cancel_a_job_that_waits_to_retry(autojump_clock: MockClock) -> None:
    """A job between two attempts is CANCELLED at once and not retried."""
    async with open_registry() as jobs:
        handle = await jobs.submit(fail, retry=Retry(attempts=5, initial=60, jitter=0))
        await wait_all_tasks_blocked()
        assert (await handle.snapshot()).state is State.RETRYING
        assert await handle.cancel() == CancelReport("cancelled", 0.0)
        await trio.sleep(1000)
        job = await handle.snapshot()
        assert (job.state, job.attempt) == (State.CANCELLED, 1)


async def test_a_retry_that_was_to_come_is_not_made_once_cancellation_was_asked(
    autojump_clock: MockClock,
) -> None:
    """A running job that fails after a request to cancel is not retried: it is CANCELLED."""

    async def fail_when_told(job: JobContext[Any]) -> None:
        await job.cancel_requested.wait()
        raise OSError("connection lost")

    async with open_registry() as jobs:
        handle = await jobs.submit(fail_when_told, retry=Retry(attempts=5))
        await wait_all_tasks_blocked()
        report = await handle.cancel("stop", grace=10)
        job = await handle.snapshot()
        assert report.outcome == "cancelled"
        assert (job.state, job.reason, job.attempt) == (State.CANCELLED, Reason.USER, 1)
        assert job.error is not None
        assert job.error.message == "connection lost"


@pytest.mark.parametrize("fn", [partial(count_up, n=1), fail, partial(sleep, seconds=9)])
async def test_cancel_a_job_that_is_over(autojump_clock: MockClock, fn: Any) -> None:
    """For a job that has ended the outcome is `already_over`, and its log does not change."""
    async with open_registry() as jobs:
        handle = await jobs.submit(fn, timeout=5)
        before = await handle.wait()
        assert await handle.cancel() == CancelReport("already_over", 0.0)
        assert await handle.request_cancel() is False
        assert await handle.snapshot() == before


async def test_cancel_an_unknown_id(autojump_clock: MockClock) -> None:
    """An unknown id raises UnknownJob, and the next job runs."""
    async with open_registry() as jobs:
        with pytest.raises(UnknownJob, match="'nobody'") as unknown:
            await jobs.cancel("nobody")
        assert unknown.value.job_id == "nobody"
        handle = await jobs.submit(count_up, 3)
        handle.id = "nobody"
        with pytest.raises(UnknownJob):
            await handle.request_cancel()
        assert await jobs.count() == 1
        assert [job.state for job in await jobs.find()] != [State.CANCELLED]


async def test_grace_lets_the_handler_end_by_itself(autojump_clock: MockClock) -> None:
    """Within the grace a handler that watches `cancel_requested` may complete, and that end counts."""

    async def finish_up(job: JobContext[str]) -> str:
        await job.cancel_requested.wait()
        await trio.sleep(2)
        await job.send("last words")
        return "tidy"

    async with open_registry() as jobs:
        handle = await jobs.submit(finish_up)
        await wait_all_tasks_blocked()
        report = await handle.cancel(grace=5)
        assert report.outcome == "finished_first"
        assert report.took == pytest.approx(2)
        assert await handle.result() == "tidy"
        assert (await handle.snapshot()).cancel_requested_at is not None


async def test_after_the_grace_the_handler_is_cancelled(autojump_clock: MockClock) -> None:
    """A handler that ignores the request is cancelled exactly when the grace is over."""
    async with open_registry() as jobs:
        handle = await jobs.submit(sleep)
        await wait_all_tasks_blocked()
        report = await handle.cancel(grace=5)
        assert report.outcome == "cancelled"
        assert report.took == pytest.approx(5)


async def test_a_second_cancel_may_shorten_the_grace_but_not_stretch_it(autojump_clock: MockClock) -> None:
    """Of several requests the one whose grace ends first counts; the log has one request."""
    async with open_registry() as jobs:
        handle = await jobs.submit(sleep)
        await wait_all_tasks_blocked()
        began = trio.current_time()
        assert await handle.request_cancel(grace=50)
        assert await handle.request_cancel(grace=5)
        assert await handle.request_cancel(grace=500)
        await handle.wait()
        assert trio.current_time() - began == pytest.approx(5)
        kinds = [event.kind for event in await handle.history()]
        assert kinds.count(Kind.CANCEL_REQUESTED) == 1


async def test_cancel_twice(autojump_clock: MockClock) -> None:
    """Two cancels at once both report `cancelled`, for one CANCELLED; a third one `already_over`."""
    reports = []
    async with open_registry() as jobs:
        handle = await jobs.submit(clean_up, 3)
        await wait_all_tasks_blocked()

        async def cancel() -> None:
            reports.append(await handle.cancel())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel)
            nursery.start_soon(cancel)
        assert [report.outcome for report in reports] == ["cancelled", "cancelled"]
        assert (await handle.cancel()).outcome == "already_over"
        kinds = [event.kind for event in await handle.history()]
        assert kinds.count(Kind.CANCEL_REQUESTED) == kinds.count(Kind.CANCELLED) == 1


async def test_a_job_may_cancel_itself(autojump_clock: MockClock) -> None:
    """A handler that cancels its own job is cancelled at that call."""
    reached = False

    async with open_registry() as jobs:

        async def suicide(job: JobContext[Any]) -> None:
            nonlocal reached
            await (await jobs.get(job.id)).cancel("enough")
            reached = True

        job = await (await jobs.submit(suicide)).wait()
        assert (job.state, job.reason) == (State.CANCELLED, Reason.USER)
        assert not reached


async def test_completion_that_comes_first_wins(autojump_clock: MockClock) -> None:
    """A handler that returned before the request completes, and the report says so."""
    async with open_registry() as jobs:

        async def ask_and_return(job: JobContext[Any]) -> str:
            assert await (await jobs.get(job.id)).request_cancel(grace=1)
            return "done"

        handle = await jobs.submit(ask_and_return)
        job = await handle.wait()
        assert (job.state, job.result) == (State.COMPLETED, "done")
        assert (await handle.cancel()).outcome == "already_over"


async def test_a_cancel_that_comes_first_may_still_lose_to_a_value(autojump_clock: MockClock) -> None:
    """A handler that is cancelled and returns a value all the same has completed."""

    async def return_anyway(job: JobContext[Any]) -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(2)
        return "whole"

    async with open_registry() as jobs:
        handle = await jobs.submit(return_anyway)
        await wait_all_tasks_blocked()
        assert (await handle.cancel()).outcome == "finished_first"
        assert await handle.result() == "whole"


async def test_a_cancel_that_races_with_completion_tells_the_truth(autojump_clock: MockClock) -> None:
    """Whichever is first in one scheduler step: the report and the job's only end agree."""
    async with open_registry() as jobs:
        for _ in range(100):
            go = trio.Event()

            async def wait_for(job: JobContext[Any], go: trio.Event) -> None:
                await go.wait()

            handle = await jobs.submit(wait_for, go)
            await wait_all_tasks_blocked()
            reports: list[CancelReport] = []

            async def cancel(handle: JobHandle[Any, Any], reports: list[CancelReport]) -> None:
                reports.append(await handle.cancel())

            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel, handle, reports)
                go.set()
            state = (await handle.snapshot()).state
            if reports[0].outcome == "cancelled":
                assert state is State.CANCELLED
            else:
                assert reports[0].outcome in {"finished_first", "already_over"}
                assert state is State.COMPLETED
            assert sum(event.kind.ends for event in await handle.history()) == 1


async def test_cancelling_the_cancel_leaves_the_request_in_force(autojump_clock: MockClock) -> None:
    """Cancelling the wait for the report leaves the request in force: the job ends CANCELLED."""
    async with open_registry() as jobs:
        handle = await jobs.submit(clean_up, 30)
        await wait_all_tasks_blocked()
        with trio.move_on_after(1) as scope:
            await handle.cancel()
        assert scope.cancelled_caught
        assert (await handle.snapshot()).state is State.RUNNING
        assert (await handle.wait()).state is State.CANCELLED


async def test_a_cancel_that_is_cancelled_before_it_began_asked_nothing(autojump_clock: MockClock) -> None:
    """A `request_cancel` in a cancelled scope raises Cancelled and does not change the job."""
    async with open_registry() as jobs:
        handle = await jobs.submit(sleep, 5)
        with trio.CancelScope() as scope:
            scope.cancel()
            await handle.request_cancel()
        assert scope.cancelled_caught
        assert await handle.result() == "slept"


# ------------------------------------------------------------------------------- stuck


async def test_a_handler_that_shields_is_reported_as_stuck_with_its_stack(autojump_clock: MockClock) -> None:
    """A job that still runs after `patience` is `stuck`, not cancelled, and the stack names its tasks."""

    async def far_down() -> None:
        await trio.sleep(100)

    async def shielding(job: JobContext[Any]) -> None:
        with trio.CancelScope(shield=True):
            job.nursery.start_soon(far_down)
            await far_down()

    async with open_registry() as jobs:
        handle = await jobs.submit(shielding)
        await wait_all_tasks_blocked()
        report = await handle.cancel(grace=2, patience=5)
        assert report.outcome == "stuck"
        assert report.took == pytest.approx(7)
        assert report.stack is not None
        assert f"shielding {handle.id}" in report.stack
        assert "in far_down" in report.stack
        assert "await trio.sleep(100)" in report.stack
        job = await handle.snapshot()
        assert job.state is State.RUNNING
        assert job.cancel_requested_at is not None
        # `far_down` in the nursery was not shielded; the handler returns a value, so nothing was cut short
        # in its own body, but the scope caught the helper's cancellation.
        assert (await handle.wait()).state is State.CANCELLED


async def test_a_handler_that_swallows_cancelled_is_reported_as_stuck() -> None:
    """A loop that catches every Cancelled keeps its job RUNNING, and the report shows the loop."""
    clock = MockClock()
    give_up = False

    async def swallowing(job: JobContext[Any]) -> None:
        while not give_up:
            try:
                await trio.sleep(1)
            except trio.Cancelled:
                pass  # what a handler must not do

    async def main() -> None:
        nonlocal give_up
        reports = []
        async with open_registry() as jobs, trio.open_nursery() as nursery:
            handle = await jobs.submit(swallowing)
            await wait_all_tasks_blocked()

            async def cancel() -> None:
                reports.append(await handle.cancel())

            nursery.start_soon(cancel)
            while not reports:  # the handler never blocks, so this clock has to be pushed
                clock.jump(1)
                await trio.lowlevel.checkpoint()
            assert reports[0].outcome == "stuck"
            assert "in swallowing" in (reports[0].stack or "")
            assert (await handle.snapshot()).state is State.RUNNING
            give_up = True
            await handle.wait()

    # A run of its own: this clock is pushed by hand.
    await trio.to_thread.run_sync(partial(trio.run, main, clock=clock))


async def test_a_handler_in_a_thread_is_reported_as_stuck() -> None:
    """A thread cannot be cancelled: its job is stuck while it runs, and completes if it returns."""
    release = threading.Event()

    async def in_a_thread(job: JobContext[Any]) -> bool:
        return await trio.to_thread.run_sync(release.wait, 60)

    async with open_registry() as jobs:
        handle = await jobs.submit(in_a_thread)
        while (await handle.snapshot()).state is not State.RUNNING:
            await trio.lowlevel.checkpoint()
        await wait_all_tasks_blocked()
        try:
            report = await handle.cancel(patience=0.05)
        finally:
            release.set()
        assert report.outcome == "stuck"
        assert "in in_a_thread" in (report.stack or "")
        assert "run_sync" in (report.stack or "")
        job = await handle.wait()
        assert (job.state, job.result) == (State.COMPLETED, True)


async def test_a_job_that_somebody_else_runs_is_requested(autojump_clock: MockClock) -> None:
    """If another process runs the attempt and its worker is silent, the report is `requested`."""
    store = MemoryStore()
    async with open_registry(store) as jobs:
        (job_id,), _ = await store.submit([submission(sleep, (), {})], 1, Claimant("elsewhere"))
        handle = await jobs.get(job_id)
        report = await handle.cancel(patience=3)
        assert report.outcome == "requested"
        assert report.took == pytest.approx(3)
        assert (await handle.snapshot()).cancel_requested_at is not None


@pytest.mark.parametrize("name", ["grace", "patience"])
@pytest.mark.parametrize("value", [-1, float("nan"), True, "1", None])
async def test_bad_durations_cancel_nothing(autojump_clock: MockClock, name: str, value: object) -> None:
    """A grace or patience that is no duration is refused by name, before anything is written."""
    async with open_registry() as jobs:
        handle = await jobs.submit(sleep)
        with pytest.raises((TypeError, ValueError), match=f"^{name} "):
            await handle.cancel(**cast("Any", {name: value}))
        assert (await handle.snapshot()).cancel_requested_at is None


async def test_the_timeout_that_passed_first_is_the_reason(autojump_clock: MockClock) -> None:
    """Cancelling a job whose timeout has fired does not change the reason of its end."""
    async with open_registry() as jobs:
        handle = await jobs.submit(clean_up, 10, timeouts=Timeouts(run=5))
        await trio.sleep(6)
        report = await handle.cancel()
        job = await handle.snapshot()
        assert report.outcome == "finished_first"
        assert (job.state, job.reason) == (State.FAILED, Reason.TIMEOUT)
