"""How an attempt ended, how that is classified, and that the worker goes on whatever the handler did."""

from __future__ import annotations

import contextlib
import itertools
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from math import inf
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.inside import simulate, store_of, worker_of
from trio_jobs import (
    AwaitInput,
    Ended,
    Event,
    Job,
    JobCancelled,
    JobContext,
    JobFailed,
    JobHandle,
    JobTimedOut,
    Kind,
    LeaseLost,
    Permanent,
    Reason,
    Retry,
    RetryAfter,
    State,
    Timeouts,
    open_registry,
)
from trio_jobs._running.outcome import Run, conclude
from trio_jobs.stores import Options, Transition
from trio_jobs.stores.contract import Claim, Outcome, Submission, Where
from trio_jobs.stores.submission import submission

Handler = Callable[[JobContext[Any]], Awaitable[Any]]


async def quick(job: JobContext[Any]) -> str:
    return "quick"


async def forever(job: JobContext[Any]) -> None:
    await trio.sleep_forever()


async def run(handler: Handler, **options: Any) -> tuple[Job, list[Event]]:
    """Run one job to its end, check that the worker still works, and return the job and its log."""
    async with open_registry(capacity=1) as jobs:
        handle = await jobs.submit(handler, **options)
        job = await handle.wait()
        assert await (await jobs.submit(quick)).result() == "quick"
        return job, await log_of(handle)


async def log_of(handle: JobHandle[Any, Any]) -> list[Event]:
    """Return the whole log of a job that has ended, and check that it is dense and ends once."""
    async with handle.events() as events:
        log = [event async for event in events]
    check_log(log)
    return log


def check_log(log: list[Event]) -> None:
    assert [event.seq for event in log] == list(range(1, len(log) + 1))
    assert [event.kind.ends for event in log] == [False] * (len(log) - 1) + [True]


def kinds(log: list[Event]) -> list[str]:
    return [str(event.kind) for event in log]


# ---------------------------------------------------------------- conclude, the pure function

LIMITS = Timeouts(run=5, first_token=2, idle=1.5)
TRY_ON = Retry(attempts=2, initial=8, jitter=0)


def ended_as(
    *,
    retry: Retry | None = TRY_ON,
    outside: Reason = Reason.SHUTDOWN,
    durable: bool = False,
    spent: int = 1,
    **how: Any,
) -> Outcome:
    claim = Claim(Submission("id", "h", forever, (), Options(timeouts=LIMITS)), 1, spent, None, 2)
    return conclude(Run(claim, **how), retry=retry, outside=outside, durable=durable)


OUCH = ValueError("ouch")
TWO_SNOOZES = ExceptionGroup("", [OUCH, RetryAfter(3), RetryAfter(7)])
NESTED = ExceptionGroup("", [ExceptionGroup("", [KeyError(1)]), OUCH])
RAN_OUT, NO_TOKEN = "Job timed out after 5s", "Job sent no token within 2s"
NO_QUEUE = "a child has no queue to wait in; raise it in the parent"
TWO_WAITS = ExceptionGroup("", [AwaitInput(timeout=9), AwaitInput("a"), AwaitInput("b", 4)])
NOTHING = "Job sent nothing for 1.5s"
C, F, X, R = Transition.COMPLETED, Transition.FAILED, Transition.CANCELLED, Transition.RETRIED
ROWS: list[tuple[dict[str, Any], Transition, Reason | None, str | None, float | None]] = [
    # A value was returned, and nothing that forbids it had happened.
    ({"returned": True}, C, None, None, None),
    ({"returned": True, "cause": Reason.USER}, C, None, None, None),
    ({"returned": True, "cause": Reason.SHUTDOWN}, C, None, None, None),
    ({"returned": True, "cause": Reason.UNREAD}, C, None, None, None),
    ({"returned": True, "cause": Reason.PARENT}, C, None, None, None),
    # A value after the deadline, or after a token that was too large, comes too late.
    ({"returned": True, "cause": Reason.TIMEOUT, "spent": 2}, F, Reason.TIMEOUT, RAN_OUT, None),
    ({"returned": True, "cause": Reason.LIMIT, "refused": "big"}, F, Reason.LIMIT, "big", None),
    # Cancelled from outside: the intent that was noted counts, and without one it is the outside.
    ({"escaped": True}, X, Reason.SHUTDOWN, None, None),
    ({"escaped": True, "error": OUCH}, X, Reason.SHUTDOWN, None, None),
    ({"escaped": True, "outside": Reason.PARENT}, X, Reason.PARENT, None, None),
    ({"escaped": True, "cause": Reason.USER}, X, Reason.USER, None, None),
    ({"escaped": True, "cause": Reason.TIMEOUT, "spent": 2}, F, Reason.TIMEOUT, RAN_OUT, None),
    ({"escaped": True, "durable": True}, R, Reason.SHUTDOWN, None, 0.0),
    ({"cause": Reason.SHUTDOWN, "error": OUCH, "durable": True}, R, Reason.SHUTDOWN, None, 0.0),
    # A child has no rule, and nowhere to wait.
    ({"error": OUCH, "retry": None, "outside": Reason.PARENT}, F, Reason.ERROR, None, None),
    ({"error": RetryAfter(3), "retry": None, "outside": Reason.PARENT}, F, Reason.ERROR, NO_QUEUE, None),
    ({"error": AwaitInput(), "retry": None, "outside": Reason.PARENT}, F, Reason.ERROR, NO_QUEUE, None),
    ({"cause": Reason.TIMEOUT, "retry": None}, F, Reason.TIMEOUT, RAN_OUT, None),
    # Cancelled by an intent.
    ({"cause": Reason.USER}, X, Reason.USER, None, None),
    ({"cause": Reason.USER, "error": OUCH}, X, Reason.USER, None, None),
    ({"cause": Reason.USER, "error": RetryAfter(1)}, X, Reason.USER, None, None),
    ({"cause": Reason.PARENT, "error": OUCH}, X, Reason.PARENT, None, None),
    ({"cause": Reason.UNREAD}, X, Reason.UNREAD, None, None),
    ({"cause": Reason.SHUTDOWN}, X, Reason.SHUTDOWN, None, None),
    # A clock ran out: the retry rule decides.
    ({"cause": Reason.TIMEOUT}, R, Reason.TIMEOUT, RAN_OUT, 8.0),
    ({"cause": Reason.FIRST_TOKEN_TIMEOUT}, R, Reason.FIRST_TOKEN_TIMEOUT, NO_TOKEN, 8.0),
    ({"cause": Reason.IDLE_TIMEOUT}, R, Reason.IDLE_TIMEOUT, NOTHING, 8.0),
    ({"cause": Reason.IDLE_TIMEOUT, "spent": 2}, F, Reason.IDLE_TIMEOUT, NOTHING, None),
    ({"cause": Reason.TIMEOUT, "error": Permanent("no"), "spent": 2}, F, Reason.TIMEOUT, RAN_OUT, None),
    ({"cause": Reason.TIMEOUT, "retry": Retry(9, on=OSError, jitter=0)}, R, Reason.TIMEOUT, RAN_OUT, 1.0),
    ({"cause": Reason.TIMEOUT, "retry": Retry(attempts=9, on=KeyError)}, F, Reason.TIMEOUT, RAN_OUT, None),
    # An error: the retry rule decides, unless the error says it itself.
    ({"error": OUCH}, R, Reason.ERROR, None, 8.0),
    ({"error": OUCH, "spent": 2}, F, Reason.ERROR, None, None),
    ({"error": OUCH, "retry": Retry()}, F, Reason.ERROR, None, None),
    ({"error": OUCH, "retry": Retry(attempts=9, on=KeyError)}, F, Reason.ERROR, None, None),
    ({"error": SystemExit(3)}, F, Reason.ERROR, None, None),
    ({"error": Permanent("no")}, F, Reason.ERROR, None, None),
    ({"error": RetryAfter(30), "spent": 99}, R, Reason.SNOOZED, None, 30.0),
    ({"error": TWO_SNOOZES, "spent": 9}, R, Reason.SNOOZED, None, 7.0),
    ({"error": ExceptionGroup("", [RetryAfter(3), Permanent("no")])}, F, Reason.ERROR, None, None),
    ({"error": AwaitInput("yes?"), "spent": 99}, R, Reason.AWAITING_INPUT, "yes?", inf),
    ({"error": AwaitInput(timeout=0)}, R, Reason.AWAITING_INPUT, None, 0.0),
    ({"error": TWO_WAITS, "spent": 9}, R, Reason.AWAITING_INPUT, "a", 4.0),
    ({"error": AwaitInput(), "cause": Reason.USER}, X, Reason.USER, None, None),
    ({"error": AwaitInput(), "cause": Reason.LIMIT, "refused": "big"}, F, Reason.LIMIT, "big", None),
    ({"error": AwaitInput(), "cause": Reason.SHUTDOWN, "durable": True}, R, Reason.SHUTDOWN, None, 0.0),
    ({"error": AwaitInput(), "cause": Reason.TIMEOUT}, R, Reason.TIMEOUT, RAN_OUT, 8.0),
    ({"error": AwaitInput(), "escaped": True}, X, Reason.SHUTDOWN, None, None),
    ({"error": ExceptionGroup("", [AwaitInput(), Permanent("no")])}, F, Reason.ERROR, None, None),
    ({"error": ExceptionGroup("", [AwaitInput(), OUCH])}, R, Reason.ERROR, None, 8.0),
    ({"error": ExceptionGroup("", [AwaitInput(), RetryAfter(3)])}, R, Reason.SNOOZED, None, 3.0),
    ({"error": ExceptionGroup("", [AwaitInput(), KeyError()]), "spent": 2}, F, Reason.ERROR, None, None),
    ({"error": NESTED, "retry": Retry(2, on=KeyError, jitter=0)}, R, Reason.ERROR, None, 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("how", "transition", "reason", "message", "delay"), ROWS)
def test_conclude(
    how: dict[str, Any],
    transition: Transition,
    reason: Reason | None,
    message: str | None,
    delay: float | None,
) -> None:
    """Each way to end has one outcome, with its reason, message and delay."""
    outcome = ended_as(**how, value="value")
    assert outcome.transition is transition
    if reason is None:
        assert (outcome.result, outcome.ended) == ("value", None)
    else:
        assert outcome.result is None
        assert outcome.ended is not None
        assert (outcome.ended.reason, outcome.ended.message) == (reason, message)
        assert outcome.ended.delay == delay
        waits = reason is Reason.AWAITING_INPUT
        assert (outcome.ended.error is None) == (how.get("error") is None or waits)


def test_conclude_keeps_its_promises() -> None:
    """In all combinations: only a returned value completes, only a cancellation cancels, a clock does
    neither, and only a retried attempt has a delay."""
    errors = [
        None,
        OUCH,
        Permanent("no"),
        RetryAfter(3),
        AwaitInput(),
        SystemExit(),
        ExceptionGroup("", [OUCH]),
    ]
    causes = [None, *Reason.__members__.values()]
    impossible = {Reason.ERROR, Reason.QUEUE_TIMEOUT, Reason.WORKER_LOST}
    impossible |= {Reason.SNOOZED, Reason.AWAITING_INPUT, Reason.BAD_RESULT, Reason.REPLACED}
    impossible |= {Reason.RESTARTED, Reason.RESTARTS}
    unspent = {Reason.SHUTDOWN, Reason.SNOOZED, Reason.AWAITING_INPUT}
    clocks = {Reason.TIMEOUT, Reason.FIRST_TOKEN_TIMEOUT, Reason.IDLE_TIMEOUT}
    for cause, error, returned, escaped, durable, spent in itertools.product(
        causes, errors, [True, False], [True, False], [True, False], [1, 2, 3]
    ):
        if cause in impossible or (returned and (error is not None or escaped)):
            continue
        outcome = ended_as(
            cause=cause,
            error=error,
            returned=returned,
            escaped=escaped,
            durable=durable,
            spent=spent,
            refused="big",
        )
        ended = outcome.ended
        assert (outcome.transition is C) == (ended is None)
        assert (outcome.transition is C) == (returned and cause not in {*clocks, Reason.LIMIT})
        if ended is None:
            continue
        assert (outcome.transition is R) == (ended.delay is not None)
        if cause is not None:
            assert ended.reason is cause
        if cause in clocks or cause is Reason.LIMIT:
            assert outcome.transition in ({F} if cause is Reason.LIMIT else {F, R})
        if outcome.transition is X:
            assert cause is not None or escaped
        if outcome.transition is R and ended.reason not in unspent:
            assert TRY_ON.allows(spent)


# ---------------------------------------------------------------- stopped from outside


async def test_cancelled_from_outside_without_an_intent(autojump_clock: MockClock) -> None:
    """Cancelling the registry's surroundings is a shutdown and no user's cancellation; Cancelled is
    raised."""
    with trio.move_on_after(1) as around:
        async with open_registry() as jobs:
            handle = await jobs.submit(forever)
            await trio.sleep_forever()
    assert around.cancelled_caught
    job = await store_of(jobs).get(handle.id)
    assert (job.state, job.reason) == (State.CANCELLED, Reason.SHUTDOWN)
    assert job.cancel_requested_at is None
    history = await store_of(jobs).history(handle.id)
    assert [str(event.kind) for event in history] == ["submitted", "started", "cancelled"]


async def test_cancelled_from_outside_with_an_intent(autojump_clock: MockClock) -> None:
    """A user's cancellation that coincides with a shutdown stays the user's."""

    async def slow_to_stop(job: JobContext[Any]) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(5)

    with trio.move_on_after(2) as around:
        async with open_registry() as jobs:
            handle = await jobs.submit(slow_to_stop)
            await trio.sleep(1)
            assert await handle.request_cancel("enough")
            await trio.sleep_forever()
    assert around.cancelled_caught
    job = await store_of(jobs).get(handle.id)
    assert (job.state, job.reason) == (State.CANCELLED, Reason.USER)


async def test_a_timeout_under_a_shutdown_stays_a_timeout(autojump_clock: MockClock) -> None:
    """The first cause of an attempt's end counts, even if a shutdown came before the attempt had stopped."""

    async def slow_to_stop(job: JobContext[Any]) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
        await trio.sleep_forever()

    with trio.move_on_after(2):
        async with open_registry() as jobs:
            handle = await jobs.submit(slow_to_stop, timeout=1)
            await trio.sleep_forever()
    job = await store_of(jobs).get(handle.id)
    assert (job.state, job.reason) == (State.FAILED, Reason.TIMEOUT)


async def test_an_error_mixed_with_an_outer_cancel(autojump_clock: MockClock) -> None:
    """Of a group with Cancelled and an error, the error is recorded, and Cancelled is raised."""

    async def breaks(job: JobContext[Any]) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("in cleanup")

    async def handler(job: JobContext[Any]) -> None:
        async with trio.open_nursery() as inner:
            inner.start_soon(breaks, job)
            inner.start_soon(forever, job)
            job.nursery.start_soon(forever, job)

    with trio.move_on_after(1) as around:
        async with open_registry() as jobs:
            handle = await jobs.submit(handler)
            await trio.sleep_forever()
    assert around.cancelled_caught
    job = await store_of(jobs).get(handle.id)
    assert (job.state, job.reason) == (State.CANCELLED, Reason.SHUTDOWN)
    assert job.error is not None
    assert (job.error.type, job.error.message) == ("KeyError", "'in cleanup'")


# ---------------------------------------------------------------- cancelled by a user


async def test_a_value_counts_although_a_cancel_was_requested(autojump_clock: MockClock) -> None:
    """A handler that returns in spite of the request has completed; the request stays in the log."""

    async def stubborn(job: JobContext[Any]) -> str:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            return "done all the same"

    async with open_registry() as jobs:
        handle = await jobs.submit(stubborn)
        await wait_all_tasks_blocked()
        report = await handle.cancel("please")
        assert report.outcome == "finished_first"
        assert await handle.result() == "done all the same"
        job, log = await handle.snapshot(), await log_of(handle)
    assert job.state is State.COMPLETED
    assert job.reason is None
    assert job.cancel_requested_at is not None
    assert kinds(log) == ["submitted", "started", "cancel_requested", "completed"]
    assert log[2].data == "please"


async def test_cancel_is_reported_after_the_nursery_has_closed(autojump_clock: MockClock) -> None:
    """CANCELLED is written, and reported, only after every task of the job has ended."""
    gone: list[str] = []

    async def lingers(name: str, seconds: float) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(seconds)
            gone.append(name)

    async def handler(job: JobContext[Any]) -> None:
        job.nursery.start_soon(lingers, "in its nursery", 3)
        await lingers("itself", 1)

    async with open_registry() as jobs:
        handle = await jobs.submit(handler)
        await wait_all_tasks_blocked()
        report = await handle.cancel("stop")
        assert (report.outcome, report.took, report.stack) == ("cancelled", 3, None)
        assert sorted(gone) == ["in its nursery", "itself"]
        with pytest.raises(JobCancelled, match="stop") as cancelled:
            await handle.result()
        assert (cancelled.value.reason, cancelled.value.message) == (Reason.USER, "stop")


async def test_cleanup_that_raises_during_a_cancel(autojump_clock: MockClock) -> None:
    """An error under a user's cancellation is recorded, and the job is CANCELLED; it is not retried."""

    async def breaks(job: JobContext[Any]) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("cleanup broke")

    async with open_registry() as jobs:
        handle = await jobs.submit(breaks, retry=Retry(attempts=3))
        await wait_all_tasks_blocked()
        assert (await handle.cancel()).outcome == "cancelled"
        job, log = await handle.snapshot(), await log_of(handle)
    assert (job.state, job.reason, job.attempt) == (State.CANCELLED, Reason.USER, 1)
    assert job.error is not None
    assert (job.error.type, job.error.message) == ("OSError", "cleanup broke")
    assert log[-1].data.error == job.error


async def test_cancelled_before_its_first_step(autojump_clock: MockClock) -> None:
    """A job that is stopped before its task ran for the first time is cancelled at its first checkpoint."""
    reached: list[str] = []

    async def handler(job: JobContext[Any]) -> None:
        reached.append("start")
        await trio.lowlevel.checkpoint()
        reached.append("behind the checkpoint")

    async with open_registry() as jobs:
        (job_id,) = await worker_of(jobs).submit([submission(handler, (), {})])
        worker_of(jobs).attempts[job_id].notify_cancel(Reason.USER, 0)
        job = await (await jobs.get(job_id)).wait()
    assert (job.state, job.reason) == (State.CANCELLED, Reason.USER)
    assert reached == ["start"]


async def test_a_shorter_grace_wins(autojump_clock: MockClock) -> None:
    """Of several requests with grace the earliest deadline counts; a later one never postpones it."""
    async with open_registry() as jobs:
        handle = await jobs.submit(forever)
        await handle.request_cancel(grace=5)
        await handle.request_cancel(grace=2)
        await handle.request_cancel(grace=50)
        job = await handle.wait()
        assert trio.current_time() == 2
        assert job.state is State.CANCELLED
        assert kinds(await log_of(handle)).count("cancel_requested") == 1


@pytest.mark.parametrize("end", ["error", "timeout", "snooze"])
async def test_retried_becomes_cancelled(end: str, autojump_clock: MockClock) -> None:
    """After a request to cancel, an end that a retry would follow is a cancellation."""

    async def handler(job: JobContext[Any]) -> None:
        await job.cancel_requested.wait()
        if end == "timeout":
            await trio.sleep_forever()
        raise RetryAfter(1) if end == "snooze" else ValueError("gave up")

    async with open_registry() as jobs:
        handle = await jobs.submit(handler, timeout=5, retry=Retry(attempts=9))
        await wait_all_tasks_blocked()
        await handle.request_cancel("no more", grace=100)
        job = await handle.wait()
        log = await log_of(handle)
    assert (job.state, job.reason, job.attempt) == (State.CANCELLED, Reason.USER, 1)
    assert log[-1].data.message == "no more"
    assert (job.error is None) == (end == "timeout")


@pytest.mark.parametrize("first", ["finish", "cancel"])
def test_cancel_races_with_completion(first: str) -> None:
    """The first end to commit counts, the report names it, and the log has one end, under any schedule."""

    async def scenario(outcomes: set[str]) -> None:
        go = trio.Event()

        async def handler(job: JobContext[Any]) -> int:
            await go.wait()
            return 42

        async def cancel() -> None:
            reports.append(await handle.cancel())

        reports: list[Any] = []
        async with open_registry() as jobs, trio.open_nursery() as nursery:
            handle = await jobs.submit(handler)
            await wait_all_tasks_blocked()
            if first == "finish":
                go.set()
                nursery.start_soon(cancel)
            else:
                nursery.start_soon(cancel)
                await trio.lowlevel.checkpoint()
                go.set()
            job, log = await handle.wait(), await log_of(handle)
        (report,) = reports
        outcomes.add(report.outcome)
        if report.outcome == "cancelled":
            assert (job.state, job.reason) == (State.CANCELLED, Reason.USER)
        else:
            assert (job.state, job.result) == (State.COMPLETED, 42)
        assert ("cancel_requested" in kinds(log)) == (report.outcome != "already_over")

    outcomes: set[str] = set()
    for seed in range(40):
        simulate(scenario, outcomes, seed=seed)
    assert "finished_first" in outcomes or "already_over" in outcomes


# ---------------------------------------------------------------- out of time


async def times_out(job: JobContext[Any]) -> None:
    with contextlib.suppress(IndexError):
        await job.send(job.metadata["sends"][0])
    await trio.sleep_forever()


@pytest.mark.parametrize(
    ("timeouts", "sends", "reason", "message"),
    [
        (Timeouts(run=5), [], Reason.TIMEOUT, "Job timed out after 5s"),
        (Timeouts(run=0.25), [1], Reason.TIMEOUT, "Job timed out after 0.25s"),
        (Timeouts(first_token=5), [], Reason.FIRST_TOKEN_TIMEOUT, "Job sent no token within 5s"),
        (Timeouts(idle=5), [1], Reason.IDLE_TIMEOUT, "Job sent nothing for 5s"),
        (Timeouts(run=9, first_token=1, idle=3), [1], Reason.IDLE_TIMEOUT, "Job sent nothing for 3s"),
        (Timeouts(run=2, first_token=1, idle=3), [1], Reason.TIMEOUT, "Job timed out after 2s"),
    ],
)
@pytest.mark.parametrize("attempts", [1, 2])
async def test_each_clock_has_its_reason_and_message(
    timeouts: Timeouts,
    sends: list[int],
    reason: Reason,
    message: str,
    attempts: int,
    autojump_clock: MockClock,
) -> None:
    """A timeout fails the job with a reason and a message of its own, after as many attempts as the rule
    says."""
    async with open_registry() as jobs:
        handle = await jobs.submit(
            times_out, timeouts=timeouts, retry=Retry(attempts, initial=1), metadata={"sends": sends}
        )
        with pytest.raises(JobTimedOut) as failed:
            await handle.result()
        job, log = await handle.snapshot(), await log_of(handle)
    assert failed.value.reason is reason
    assert failed.value.message == message
    assert (job.state, job.reason, job.attempt) == (State.FAILED, reason, attempts)
    assert job.error is None
    ends = [event for event in log if event.kind in {Kind.RETRIED, Kind.FAILED}]
    assert [event.data.message for event in ends] == [message] * attempts


@pytest.mark.parametrize(
    ("on", "attempts"),
    [(TimeoutError, 2), (JobTimedOut, 2), (KeyError, 1), (lambda e: "5s" in str(e), 2)],
)
async def test_the_retry_rule_sees_a_timeout(on: Any, attempts: int, autojump_clock: MockClock) -> None:
    """A timeout reaches `Retry.on` as `JobTimedOut`, which is a `TimeoutError`."""
    job, _ = await run(forever, timeout=5, retry=Retry(2, on=on))
    assert job.attempt == attempts


def jump(seconds: float) -> None:
    """Let time pass without a checkpoint, as a computation does."""
    clock = cast("MockClock", trio.lowlevel.current_clock())
    clock.jump(seconds)


async def test_a_value_after_the_deadline_is_a_timeout(autojump_clock: MockClock) -> None:
    """A handler that computes past its deadline and returns has timed out, although Trio caught nothing."""

    async def computes(job: JobContext[Any]) -> str:
        jump(10)
        return "too late"

    job, log = await run(computes, timeout=5)
    assert (job.state, job.reason, job.result) == (State.FAILED, Reason.TIMEOUT, None)
    assert log[-1].data == Ended(Reason.TIMEOUT, "Job timed out after 5s")


async def test_an_error_after_the_deadline_is_a_timeout(autojump_clock: MockClock) -> None:
    """A handler that computes past its deadline and raises has timed out; the error is recorded."""

    async def computes(job: JobContext[Any]) -> str:
        jump(10)
        raise ValueError("late")

    job, _ = await run(computes, timeout=5)
    assert (job.state, job.reason) == (State.FAILED, Reason.TIMEOUT)
    assert job.error is not None
    assert job.error.type == "ValueError"


async def test_a_value_just_in_time_counts(autojump_clock: MockClock) -> None:
    """A handler that computes until just before its deadline completes."""

    async def computes(job: JobContext[Any]) -> str:
        jump(4.99)
        return "in time"

    job, _ = await run(computes, timeout=5)
    assert (job.state, job.result) == (State.COMPLETED, "in time")


async def test_a_cancel_after_the_deadline_does_not_overwrite_it(autojump_clock: MockClock) -> None:
    """A user's cancellation after the deadline leaves the timeout as the cause."""

    async def handler(job: JobContext[Any]) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(7)

    async def deaf(job: JobContext[Any]) -> str:
        await trio.lowlevel.checkpoint()
        jump(10)
        await handle.request_cancel()
        return "late"

    async with open_registry() as jobs:
        shielded = await jobs.submit(handler, timeout=5)
        await trio.sleep(6)
        assert (await shielded.cancel()).outcome == "finished_first"
        handle = await jobs.submit(deaf, timeout=5)
        for job in (await shielded.wait(), await handle.wait()):
            assert (job.state, job.reason) == (State.FAILED, Reason.TIMEOUT)


async def test_a_deadline_after_a_cancel_does_not_overwrite_it(autojump_clock: MockClock) -> None:
    """A deadline that passes after a user's cancellation leaves the cancellation as the cause."""

    async def handler(job: JobContext[Any]) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(7)
        await trio.sleep_forever()

    async with open_registry() as jobs:
        handle = await jobs.submit(handler, timeout=5)
        await trio.sleep(4)
        assert (await handle.cancel()).outcome == "cancelled"
        assert (await handle.snapshot()).reason is Reason.USER


async def test_the_run_clock_covers_the_nursery(autojump_clock: MockClock) -> None:
    """After a handler has returned, the deadline still applies to the tasks in its nursery."""

    async def handler(job: JobContext[Any]) -> str:
        job.nursery.start_soon(trio.sleep, 100)
        return "returned"

    job, _ = await run(handler, timeout=5)
    assert (job.state, job.reason) == (State.FAILED, Reason.TIMEOUT)


# ---------------------------------------------------------------- what handlers raise


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Leaver(BaseException):
    def __str__(self) -> str:
        raise SystemExit(1)


class Nameless(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "name", "message"),
    [
        (ValueError("plain"), "ValueError", "plain"),
        (SystemExit(3), "SystemExit", "3"),
        (MemoryError(), "MemoryError", ""),
        (GeneratorExit("by hand"), "GeneratorExit", "by hand"),
        (StopIteration(1), "RuntimeError", "coroutine raised StopIteration"),
        (StopAsyncIteration(), "StopAsyncIteration", ""),
        (BaseException("base"), "BaseException", "base"),
        (Mute(), "Mute", "cannot be shown"),
        (Leaver(), "Leaver", "cannot be shown"),
        (Permanent(KeyError("wrapped")), "KeyError", "'wrapped'"),
        (Permanent("text"), "Permanent", "text"),
        (trio.ClosedResourceError("theirs"), "ClosedResourceError", "theirs"),
        (LeaseLost("id", 1), "LeaseLost", "is over"),
    ],
)
async def test_what_a_handler_raises_is_its_own_end(
    error: Any, name: str, message: str, autojump_clock: MockClock
) -> None:
    """Any exception of a handler fails its job, with the error in the record, and the worker goes on."""

    async def handler(job: JobContext[Any]) -> None:
        raise error

    job, _ = await run(handler)
    assert (job.state, job.reason) == (State.FAILED, Reason.ERROR)
    assert job.error is not None
    assert job.error.type == name
    assert message in job.error.message
    assert len(job.error.traceback.encode()) <= 16 * 1024


async def test_an_error_without_a_repr(autojump_clock: MockClock) -> None:
    """An exception whose `__repr__` raises fails only its job, although Trio's nurseries ask for that
    text."""

    async def handler(job: JobContext[Any]) -> None:
        raise Nameless("text")

    job, _ = await run(handler)
    assert (job.state, job.reason) == (State.FAILED, Reason.ERROR)
    assert job.error is not None
    assert (job.error.type, job.error.message) == ("Nameless", "text")


async def test_a_recursion_without_end(autojump_clock: MockClock) -> None:
    """A RecursionError fails the job, and nothing else."""

    async def deeper(depth: int) -> None:
        await deeper(depth + 1)

    async def handler(job: JobContext[Any]) -> None:
        await deeper(0)

    job, _ = await run(handler)
    assert job.error is not None
    assert job.error.type == "RecursionError"


async def test_a_message_of_a_hundred_megabytes(autojump_clock: MockClock) -> None:
    """A huge message is cut before it is stored."""

    async def handler(job: JobContext[Any]) -> None:
        raise ValueError("x" * 100_000_000)

    job, log = await run(handler)
    assert job.error is not None
    assert len(job.error.message) <= 16 * 1024
    assert len(job.error.traceback) <= 16 * 1024
    assert log[-1].data.error == job.error


async def test_errors_of_the_nursery_are_flattened(autojump_clock: MockClock) -> None:
    """The record shows a single error of the job's nursery as itself, several as a list, and no Cancelled."""

    async def fail(error: BaseException) -> None:
        raise error

    async def one(job: JobContext[Any]) -> None:
        job.nursery.start_soon(fail, KeyError("alone"))
        await trio.sleep_forever()

    async def nested(job: JobContext[Any]) -> None:
        async with trio.open_nursery() as outer, trio.open_nursery() as inner:
            outer.start_soon(trio.sleep_forever)
            inner.start_soon(fail, OSError("deep"))

    async def two(job: JobContext[Any]) -> None:
        job.nursery.start_soon(fail, KeyError("a"))
        job.nursery.start_soon(fail, OSError("b"))
        job.nursery.start_soon(trio.sleep_forever)

    shown = {}
    for handler in (one, nested, two):
        job, _ = await run(handler)
        assert job.error is not None
        shown[handler.__name__] = (job.error.type, job.error.message)
    assert shown["one"] == ("KeyError", "'alone'")
    assert shown["nested"] == ("OSError", "deep")
    assert shown["two"][0] == "ExceptionGroup"
    assert "KeyError: 'a'" in shown["two"][1]
    assert "OSError: b" in shown["two"][1]
    assert "Cancelled" not in shown["two"][1]


async def test_an_old_cancelled_raised_again_is_an_error(autojump_clock: MockClock) -> None:
    """A handler that raises a `Cancelled` of no scope around it has failed: that is no shutdown."""

    async def handler(job: JobContext[Any]) -> None:
        with trio.CancelScope() as own:
            own.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as exc:
                kept.append(exc)
        raise kept[0]

    kept: list[BaseException] = []
    job, _ = await run(handler, retry=Retry(attempts=3))
    assert (job.state, job.reason, job.attempt) == (State.FAILED, Reason.ERROR, 1)
    assert job.error is not None
    assert job.error.type == "Cancelled"


async def test_a_handler_that_awaits_nothing(autojump_clock: MockClock) -> None:
    """A handler without a checkpoint completes, and one that raises at once fails, like any other."""

    async def fails(job: JobContext[Any]) -> None:
        raise ValueError("at once")

    job, log = await run(quick)
    assert (job.state, job.result) == (State.COMPLETED, "quick")
    assert kinds(log) == ["submitted", "started", "completed"]
    job, log = await run(fails)
    assert kinds(log) == ["submitted", "started", "failed"]


# ---------------------------------------------------------------- the retry rule


async def test_an_error_is_retried_as_the_rule_says(autojump_clock: MockClock) -> None:
    """Attempts are spaced as the rule defines; the last error is the job's."""

    async def handler(job: JobContext[Any]) -> None:
        started.append(trio.current_time())
        raise ValueError(f"attempt {job.attempt}")

    started: list[float] = []
    job, log = await run(handler, retry=Retry(4, initial=1, factor=3, maximum=5, jitter=0))
    assert started == [0, 1, 4, 9]
    assert (job.state, job.attempt, job.spent) == (State.FAILED, 4, 4)
    assert job.error is not None
    assert job.error.message == "attempt 4"
    retried = [event.data for event in log if event.kind is Kind.RETRIED]
    assert [(ended.reason, ended.delay) for ended in retried] == [
        (Reason.ERROR, 1),
        (Reason.ERROR, 3),
        (Reason.ERROR, 5),
    ]


async def test_a_rule_that_raises_is_no_retry(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A `Retry.on` that raises fails the job with the handler's error, is logged, and stops nothing else."""

    def on(error: BaseException) -> bool:
        raise ZeroDivisionError("in the rule")

    async def handler(job: JobContext[Any]) -> None:
        raise ValueError("the handler's")

    with caplog.at_level(logging.ERROR, "trio_jobs"):
        job, _ = await run(handler, retry=Retry(attempts=3, on=on))
    assert (job.state, job.attempt) == (State.FAILED, 1)
    assert job.error is not None
    assert job.error.type == "ValueError"
    assert "Retry.on raised" in caplog.text
    assert "in the rule" in caplog.text


async def test_a_snooze_does_not_spend(autojump_clock: MockClock) -> None:
    """`RetryAfter` runs the job again after its seconds, any number of times, and spends no attempt."""

    async def handler(job: JobContext[Any]) -> str:
        if job.attempt < 5:
            raise RetryAfter(10, "not yet")
        return "now"

    job, log = await run(handler)
    assert (job.state, job.result, job.attempt, job.spent) == (State.COMPLETED, "now", 5, 1)
    assert trio.current_time() == 40
    snoozes = [event.data for event in log if event.kind is Kind.RETRIED]
    assert {(ended.reason, ended.delay) for ended in snoozes} == {(Reason.SNOOZED, 10)}
    assert snoozes[0].error.message == "not yet"
    assert snoozes[0].error.traceback == ""


async def test_permanent_is_not_retried(autojump_clock: MockClock) -> None:
    """`Permanent` fails the job at once, with the error that it wraps; in a group too."""

    async def fail() -> None:
        raise Permanent(KeyError("for good"))

    async def handler(job: JobContext[Any]) -> None:
        job.nursery.start_soon(fail)
        raise ValueError("may pass")

    job, _ = await run(handler, retry=Retry(attempts=9))
    assert (job.state, job.attempt) == (State.FAILED, 1)


@pytest.mark.parametrize(("on", "attempts"), [(OSError, 2), ((KeyError, OSError), 2), (IndexError, 1)])
async def test_any_leaf_of_a_group_matches(on: Any, attempts: int, autojump_clock: MockClock) -> None:
    """A group is retried if the rule matches one of its leaves, at any depth."""

    async def handler(job: JobContext[Any]) -> None:
        raise ExceptionGroup("a", [ValueError(), ExceptionGroup("b", [OSError()])])

    job, _ = await run(handler, retry=Retry(attempts=2, on=on))
    assert job.attempt == attempts


@pytest.mark.parametrize("error", [SystemExit(1), GeneratorExit(), BaseException()])
async def test_beyond_exceptions_only_on_demand(error: BaseException, autojump_clock: MockClock) -> None:
    """A BaseException that is no `Exception` is not retried, unless the rule names it."""

    async def handler(job: JobContext[Any]) -> None:
        raise error

    assert (await run(handler, retry=Retry(attempts=2)))[0].attempt == 1
    assert (await run(handler, retry=Retry(attempts=2, on=BaseException)))[0].attempt == 2


# ---------------------------------------------------------------- Ctrl-C


def test_ctrl_c_in_a_handler_is_shutdown() -> None:
    """The registry's block raises the KeyboardInterrupt bare; every job ends CANCELLED by the shutdown."""
    ends: list[Job] = []

    async def interrupted(job: JobContext[Any]) -> None:
        await wait_all_tasks_blocked()
        signal.raise_signal(signal.SIGINT)

    async def nested(job: JobContext[Any]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(interrupted, job)

    async def scenario(handler: Handler) -> None:
        try:
            async with open_registry() as jobs:
                handles = [await jobs.submit(forever), await jobs.submit(handler, timeout=9)]
                await trio.sleep_forever()
        finally:
            ends[:] = [await store_of(jobs).get(handle.id) for handle in handles]

    for handler in (interrupted, nested):
        with pytest.raises(KeyboardInterrupt) as raised:
            simulate(scenario, handler)
        assert type(raised.value) is KeyboardInterrupt
        assert [(job.state, job.reason) for job in ends] == [(State.CANCELLED, Reason.SHUTDOWN)] * 2
        assert ends[1].error is not None


def test_ctrl_c_wins_over_a_value_of_the_block() -> None:
    """A block without an error of its own raises the interrupt of a job that it waited for."""

    async def interrupted(job: JobContext[Any]) -> None:
        raise KeyboardInterrupt

    async def scenario() -> None:
        async with open_registry(on_exit="drain") as jobs:
            await jobs.submit(interrupted)

    with pytest.raises(KeyboardInterrupt) as raised:
        simulate(scenario)
    assert type(raised.value) is KeyboardInterrupt


# ---------------------------------------------------------------- scopes left in disorder


async def never_left(job: JobContext[Any]) -> None:
    trio.CancelScope().__enter__()
    await trio.lowlevel.checkpoint()


async def out_of_order(job: JobContext[Any]) -> None:
    one, two = trio.CancelScope(), trio.CancelScope()
    one.__enter__()
    two.__enter__()
    one.__exit__(None, None, None)
    two.__exit__(None, None, None)


async def closes_the_nursery_scope(job: JobContext[Any]) -> None:
    job.nursery.cancel_scope.__exit__(None, None, None)


async def yields_in_a_scope(job: JobContext[Any]) -> None:
    async def values() -> AsyncIterator[int]:
        with trio.CancelScope():
            yield 1
            yield 2

    first, second = values(), values()
    await anext(first)
    await anext(second)
    await cast("Any", first).aclose()
    await cast("Any", second).aclose()


async def never_left_with_a_timeout(job: JobContext[Any]) -> None:
    trio.CancelScope(deadline=trio.current_time() + 1).__enter__()
    await trio.sleep_forever()


DISORDER = [
    never_left,
    out_of_order,
    closes_the_nursery_scope,
    yields_in_a_scope,
    never_left_with_a_timeout,
]


@pytest.mark.parametrize("handler", DISORDER)
async def test_a_corrupted_scope_stack_fails_the_job_only(
    handler: Handler, autojump_clock: MockClock
) -> None:
    """A handler that leaves cancel scopes in disorder fails; jobs around it and after it are unaffected."""
    async with open_registry() as jobs:
        neighbour = await jobs.submit(forever)
        handle = await jobs.submit(handler)
        job = await handle.wait()
        await wait_all_tasks_blocked()
        assert (job.state, job.reason) == (State.FAILED, Reason.ERROR)
        assert (await neighbour.snapshot()).state is State.RUNNING
        assert await (await jobs.submit(quick)).result() == "quick"
        assert (await jobs.statistics()).running == 1
        check_log(await log_of(handle))


# ---------------------------------------------------------------- an attempt that was reclaimed


async def test_an_attempt_that_was_reclaimed_writes_nothing(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """After another end of the attempt was written, its tokens and its end are refused, and the job stays as
    it is."""
    refused: list[BaseException] = []

    async def handler(job: JobContext[Any]) -> str:
        await job.send("before")
        await trio.sleep(1)
        for write in (job.send("after"), job.save(1), job.progress(1), job.send_many([1])):
            try:
                await write
            except LeaseLost as lost:
                refused.append(lost)
        return "late"

    async with open_registry() as jobs:
        handle = await jobs.submit(handler)
        await wait_all_tasks_blocked()
        lost = Outcome(Transition.FAILED, ended=Ended(Reason.WORKER_LOST))
        await store_of(jobs).finish(handle.id, 1, lost)
        before = await log_of(handle)
        await trio.sleep(2)
        assert await log_of(handle) == before
        assert (await jobs.statistics()).running == 0
        with pytest.raises(JobFailed) as failed:
            await handle.result()
    assert failed.value.reason is Reason.WORKER_LOST
    assert len(refused) == 4
    assert f"the end of attempt 1 of job {handle.id} came too late" in caplog.text


# ---------------------------------------------------------------- children


async def test_a_failing_child_fails_the_attempt(autojump_clock: MockClock) -> None:
    """A child's failure cancels its parent, which fails with the child's error; siblings end with reason
    parent."""

    async def child(job: JobContext[Any], seconds: float) -> None:
        await trio.sleep(seconds)
        raise LookupError("the child's")

    ids: list[str] = []

    async def parent(job: JobContext[Any]) -> None:
        ids.append((await job.spawn(child, 1)).id)
        ids.append((await job.spawn(child, 9)).id)
        await trio.sleep_forever()

    async with open_registry() as jobs:
        handle = await jobs.submit(parent)
        job = await handle.wait()
        fails, other = [await (await jobs.get(job_id)).snapshot() for job_id in ids]
    assert (job.state, job.reason) == (State.FAILED, Reason.ERROR)
    assert job.error is not None
    assert (job.error.type, job.error.message) == ("LookupError", "the child's")
    assert (fails.state, fails.reason, fails.parent) == (State.FAILED, Reason.ERROR, handle.id)
    assert (other.state, other.reason) == (State.CANCELLED, Reason.PARENT)


@pytest.mark.parametrize("grace", [0.0, 1.0])
async def test_a_parent_that_is_cancelled_cancels_its_children(
    grace: float, autojump_clock: MockClock
) -> None:
    """Children of a cancelled parent end with reason parent, and before it."""
    children: list[JobHandle[Any, Any]] = []

    async def parent(job: JobContext[Any]) -> None:
        children.append(await job.spawn(forever))

    async with open_registry() as jobs:
        handle = await jobs.submit(parent)
        await wait_all_tasks_blocked()
        assert (await handle.cancel(grace=grace)).outcome == "cancelled"
        (child,) = children
        assert (await child.snapshot()).reason is Reason.PARENT
        assert (await jobs.statistics()).running == 0


async def test_a_child_alone_may_be_cancelled(autojump_clock: MockClock) -> None:
    """Cancelling a child leaves its parent running."""

    async def parent(job: JobContext[Any]) -> str:
        child = await job.spawn(forever)
        assert (await child.cancel()).outcome == "cancelled"
        await trio.sleep(1)
        return "went on"

    job, _ = await run(parent)
    assert (job.state, job.result) == (State.COMPLETED, "went on")


async def test_a_child_that_times_out_fails_its_parent(autojump_clock: MockClock) -> None:
    """A child's timeout is raised in the parent's nursery as JobTimedOut, and the parent's rule judges it."""

    async def parent(job: JobContext[Any]) -> None:
        await job.spawn(forever, timeout=3)

    job, _ = await run(parent, retry=Retry(2, initial=0, on=TimeoutError))
    assert (job.state, job.reason, job.attempt) == (State.FAILED, Reason.ERROR, 2)
    assert job.error is not None
    assert job.error.type == "JobTimedOut"
    assert "Job timed out after 3s" in job.error.message


async def test_a_child_is_not_retried(autojump_clock: MockClock) -> None:
    """A child that would be retried fails instead: no queue holds it."""

    async def child(job: JobContext[Any]) -> None:
        raise ValueError("once")

    async def parent(job: JobContext[Any]) -> None:
        handles.append(await job.spawn(child))

    handles: list[JobHandle[Any, Any]] = []
    async with open_registry() as jobs:
        await (await jobs.submit(parent)).wait()
        job = await handles[0].snapshot()
    assert (job.state, job.attempt) == (State.FAILED, 1)


async def test_a_child_that_snoozes_has_an_end(autojump_clock: MockClock) -> None:
    """`RetryAfter` in a child, which no queue holds, ends the child and fails the attempt around it."""

    async def child(job: JobContext[Any], parent_attempt: int) -> None:
        if parent_attempt == 1:
            raise RetryAfter(5)

    async def parent(job: JobContext[Any]) -> None:
        handles.append(await job.spawn(child, job.attempt))

    handles: list[JobHandle[Any, Any]] = []
    async with open_registry() as jobs:
        handle = await jobs.submit(parent, retry=Retry(attempts=2))
        await handle.wait()
        await trio.sleep(100)
        job = await handles[0].snapshot()
        assert (job.state, job.attempt) == (State.FAILED, 1)
        assert await jobs.count(state=State.RETRYING) == 0
        assert (await handle.snapshot()).attempt == 2


async def test_spawning_into_a_nursery_that_has_closed(autojump_clock: MockClock) -> None:
    """`spawn` of a context that outlived its attempt raises LeaseLost and leaves no unfinished job."""
    leaked: list[JobContext[Any]] = []

    async def handler(job: JobContext[Any]) -> None:
        leaked.append(job)

    async with open_registry() as jobs:
        await (await jobs.submit(handler)).wait()
        with pytest.raises(LeaseLost):
            await leaked[0].spawn(forever)
        assert await jobs.count() == 1


def test_spawning_while_the_nursery_closes() -> None:
    """Between the closing of the nursery and the end of the attempt `spawn` raises LeaseLost, and a child
    that was accepted ends with its parent."""

    async def scenario() -> None:
        async def outsider() -> None:
            await closing.wait()
            with pytest.raises(LeaseLost):
                await leaked[0].spawn(quick)

        async def handler(job: JobContext[Any]) -> None:
            leaked.append(job)
            await wait_all_tasks_blocked()
            closing.set()

        closing = trio.Event()
        leaked: list[JobContext[Any]] = []
        async with open_registry() as jobs, trio.open_nursery() as nursery:
            nursery.start_soon(outsider)
            handle = await jobs.submit(handler)
            await handle.wait()
            children = await jobs.find(parent=handle.id)
            accepted.add(len(children))
            assert all(child.reason is Reason.PARENT for child in children)
            assert await jobs.count(state=State.RUNNING) == 0
            assert (await jobs.statistics()).running == 0

    accepted: set[int] = set()
    for seed in range(12):
        simulate(scenario, seed=seed)
    assert accepted == {0, 1}


# ---------------------------------------------------------------- stuck


async def test_no_stack_before_the_first_step(autojump_clock: MockClock) -> None:
    """The stack of an attempt whose task has not run yet says so."""
    async with open_registry() as jobs:
        (job_id,) = await worker_of(jobs).submit([submission(quick, (), {})])
        assert not worker_of(jobs).attempts[job_id].stack()
        assert (await (await jobs.get(job_id)).wait()).result == "quick"


# ---------------------------------------------------------------- cancelled at every step


class Stepper(trio.abc.Instrument):
    """Calls back at the k-th step that any task of the run takes."""

    def __init__(self, k: int, callback: Callable[[], object]) -> None:
        self.left = k
        self.callback = callback

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            self.callback()


async def busy(job: JobContext[Any]) -> str:
    """Change state in every way: tokens both ways, save, progress, children, nursery, retry."""
    await job.save(job.attempt)
    await job.send_many([1, 2])
    await job.progress(1, 2)
    if job.attempt == 1:
        raise ValueError("once")
    async with job.tokens.clone() as tokens:
        await tokens.send(3)
    await job.send(4)
    child = await job.spawn(quick)
    job.nursery.start_soon(trio.sleep, 1)
    return str(await child.result())


async def under_fire(k: int, how: str, seed: int) -> bool:
    """Run `busy` and stop it at the k-th step; return whether it was over before."""
    done = False
    hit = trio.Event()

    async def interfere() -> None:
        await hit.wait()
        if how == "cancel":
            await handle.request_cancel("k")

    with trio.CancelScope() as around:
        stepper = Stepper(k, around.cancel if how == "outside" else hit.set)
        trio.lowlevel.add_instrument(stepper)
        try:
            async with open_registry() as jobs:
                handle = await jobs.submit(busy, retry=Retry(2, initial=0.5))
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(interfere)
                    async with handle.events() as events:
                        seen = [event async for event in events]
                    check_log(seen)
                    done = stepper.left > 0
                    nursery.cancel_scope.cancel()
        finally:
            trio.lowlevel.remove_instrument(stepper)
    store = store_of(jobs)
    for job in await store.find(Where(), 99):
        log = await store.read(job.id, 0, 999)
        check_log(log)
        assert job.state.over
        assert job.state is (State.FAILED if log[-1].kind is Kind.EXPIRED else State(log[-1].kind))
        tokens = [event.data for event in log if event.kind is Kind.TOKEN]
        whole = [1, 2, 1, 2, 3, 4]
        if job.parent is None:
            assert tokens == whole[: len(tokens)]
            assert job.state in {State.COMPLETED, State.CANCELLED}
            if job.state is State.COMPLETED:
                assert tokens == whole
            else:
                assert job.reason is (Reason.USER if how == "cancel" else Reason.SHUTDOWN)
    return done


@pytest.mark.parametrize("how", ["outside", "cancel"])
@pytest.mark.parametrize("seed", [0, 1])
def test_stopped_at_every_step(how: str, seed: int) -> None:
    """Whichever step a shutdown or a cancellation hits, every log is dense and legal and has one end."""

    async def scenario(k: int) -> None:
        finished.append(await under_fire(k, how, seed))

    finished: list[bool] = []
    k = 0
    while not finished or not finished[-1]:
        k += 1
        simulate(scenario, k, seed=seed)
    assert k > 30
