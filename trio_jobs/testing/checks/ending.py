"""`finish`: one outcome per attempt, and what follows from it."""

from __future__ import annotations

from functools import partial

from ..._common.errors import InvalidPayload, LeaseLost
from ..._common.states import Reason, State, Transition
from ..._model.job import Ended, Kind
from ...stores.contract import Outcome, Store
from . import kit


async def a_completed_job_has_its_result(store: Store) -> None:
    """`completed` ends the job with its result, in the snapshot and as the last event."""
    job_id = await kit.started(store)
    state = await store.finish(job_id, 1, kit.completed({"answer": 42}))
    kit.expect("finish (completed) returns", state, State.COMPLETED)
    job = await store.get(job_id)
    kit.expect("finish, then get", (job.state, job.result), (State.COMPLETED, {"answer": 42}))
    kit.expect("finish, then get: reason, message, error", (job.reason, job.message, job.error), (None,) * 3)
    kit.ensure("finish, then get: finished_at is set", holds=job.finished_at is not None, came=job)
    kit.expect("finish, then read", (await kit.words(store, job_id))[-1], (1, "completed", {"answer": 42}))


async def a_failed_job_says_why(store: Store) -> None:
    """`failed` ends the job with reason, message and error, in the snapshot and as the last event."""
    for reason in (Reason.ERROR, Reason.TIMEOUT, Reason.IDLE_TIMEOUT, Reason.LIMIT, Reason.BAD_RESULT):
        job_id = await kit.started(store)
        ended = Ended(reason, "it failed", kit.ERROR)
        state = await store.finish(job_id, 1, Outcome(Transition.FAILED, None, ended))
        kit.expect("finish (failed) returns", state, State.FAILED)
        job = await store.get(job_id)
        came = job.state, job.reason, job.message, job.error
        kit.expect("finish (failed), then get", came, (State.FAILED, reason, "it failed", kit.ERROR))
        kit.expect("finish (failed), then read", (await kit.words(store, job_id))[-1], (1, "failed", ended))


async def a_cancelled_job_has_the_words_of_the_request(store: Store) -> None:
    """`cancelled` ends the job; the message of a user's request, the first one, is told with it."""
    job_id = await kit.started(store)
    await store.request_cancel(job_id, "tired", 5.0)
    await store.request_cancel(job_id, "again", 5.0)
    state = await store.finish(job_id, 1, kit.cancelled())
    kit.expect("finish (cancelled) returns", state, State.CANCELLED)
    job = await store.get(job_id)
    came = job.state, job.reason, job.message
    kit.expect("finish (cancelled), then get", came, (State.CANCELLED, Reason.USER, "tired"))
    wanted = (1, "cancelled", Ended(Reason.USER, "tired"))
    kit.expect("finish (cancelled), then read", (await kit.words(store, job_id))[-1], wanted)


async def other_reasons_have_words_of_their_own(store: Store) -> None:
    """A job that is cancelled for another reason says why; the request of a user does not change that."""
    job_id = await kit.started(store)
    await store.request_cancel(job_id, "tired")
    ended = Ended(Reason.UNREAD, "nobody reads")
    await store.finish(job_id, 1, Outcome(Transition.CANCELLED, None, ended))
    kit.expect("finish (cancelled, unread), then read", (await kit.words(store, job_id))[-1][2], ended)


async def a_retried_job_waits(store: Store) -> None:
    """`retried` lets the job wait for its delay, and says why."""
    job_id = await kit.started(store)
    ended = Ended(Reason.ERROR, "once more", kit.ERROR, kit.LONG)
    state = await store.finish(job_id, 1, Outcome(Transition.RETRIED, None, ended))
    kit.expect("finish (retried) returns", state, State.RETRYING)
    job = await store.get(job_id)
    came = job.state, job.reason, job.message, job.error, job.finished_at, job.attempt
    wanted = State.RETRYING, Reason.ERROR, "once more", kit.ERROR, None, 1
    kit.expect("finish (retried), then get", came, wanted)
    due = job.next_attempt_at
    waits = None if due is None or job.started_at is None else (due - job.started_at).total_seconds()
    what = f"finish (retried), then get: next_attempt_at is {kit.LONG} s later"
    kit.ensure(what, holds=waits is not None and kit.LONG - 0.01 < waits < kit.LONG + 60, came=waits)
    kit.expect("finish (retried), then read", (await kit.words(store, job_id))[-1], (1, "retried", ended))


async def an_attempt_ends_once(store: Store) -> None:
    """A second `finish`, with the same outcome or another, is `LeaseLost` and changes nothing."""
    first = [kit.completed(1), kit.failed(), kit.cancelled(), kit.retried(delay=kit.LONG)]
    for outcome in first:
        job_id = await kit.started(store)
        await store.finish(job_id, 1, outcome)

        async def finish_again(job_id: str = job_id, before: str = outcome.transition.value) -> None:
            for late in (kit.completed(2), kit.failed("late"), kit.cancelled(), kit.retried()):
                what = f"finish ({late.transition.value}) after finish ({before})"
                await kit.refused(what, LeaseLost, store.finish(job_id, 1, late))

        await kit.unchanged("finish, a second time", store, job_id, finish_again)


async def a_new_attempt_forgets_the_last_error(store: Store) -> None:
    """Once a job runs again, its snapshot says nothing of how the last attempt ended."""
    job_id = await kit.started(store)
    outcome = Outcome(Transition.RETRIED, None, Ended(Reason.ERROR, "oh", kit.ERROR, 0.0))
    await store.finish(job_id, 1, outcome)
    await kit.again(store, job_id)
    job = await store.get(job_id)
    came = job.state, job.reason, job.message, job.error, job.attempt
    kit.expect("claim of a retry, then get", came, (State.RUNNING, None, None, None, 2))
    await store.finish(job_id, 2, kit.completed())
    job = await store.get(job_id)
    kit.expect("finish, then get", (job.reason, job.message, job.error), (None,) * 3)


async def shutdown_and_snoozing_cost_nothing(store: Store) -> None:
    """What an attempt took from the budget is given back, if it ended for shutdown or was snoozed."""
    job_id = await kit.started(store)
    spent = 1
    reasons = [Reason.ERROR, Reason.SHUTDOWN, Reason.TIMEOUT, Reason.SNOOZED, Reason.WORKER_LOST]
    for attempt, reason in enumerate(reasons, 1):
        await store.finish(job_id, attempt, kit.retried(reason))
        spent -= reason in {Reason.SHUTDOWN, Reason.SNOOZED}
        job = await store.get(job_id)
        kit.expect(f"finish (retried, {reason.value}), then get: spent", job.spent, spent)
        claim = await kit.again(store, job_id)
        spent += 1
        kit.expect("claim of a retry: attempt, spent", (claim.attempt, claim.spent), (attempt + 1, spent))


async def a_cancelled_job_is_not_retried(store: Store) -> None:
    """With cancellation requested, `retried` becomes `cancelled` in the same step, whatever the reason."""
    for reason in (Reason.ERROR, Reason.SHUTDOWN, Reason.SNOOZED):
        job_id = await kit.started(store)
        await store.request_cancel(job_id, "tired")
        state = await store.finish(job_id, 1, kit.retried(reason))
        kit.expect("finish (retried) after request_cancel returns", state, State.CANCELLED)
        job = await store.get(job_id)
        came = job.state, job.reason, job.message, job.next_attempt_at
        wanted = State.CANCELLED, Reason.USER, "tired", None
        kit.expect("finish (retried) after request_cancel, then get", came, wanted)
        last = (await kit.words(store, job_id))[-1]
        kit.expect("finish (retried) after request_cancel, then read", last[:2], (1, "cancelled"))
    (other,) = await kit.accept(store, kit.make())
    await kit.again(store, other)
    kit.expect("claim of a cancelled job", await store.claim(9, kit.HOLDER), [])


async def what_ended_first_stays(store: Store) -> None:
    """A job that completes or fails after its cancellation was requested ends as it did."""
    for outcome in (kit.completed("done"), kit.failed()):
        job_id = await kit.started(store)
        await store.request_cancel(job_id, None)
        state = await store.finish(job_id, 1, outcome)
        kit.expect("finish after request_cancel returns", state.value, outcome.transition.value)
        job = await store.get(job_id)
        what = "finish after request_cancel, then get: cancel_requested_at is set"
        kit.ensure(what, holds=job.cancel_requested_at is not None, came=job)

        async def cancel_late(job_id: str = job_id) -> None:
            kit.expect(
                "request_cancel after finish", await store.request_cancel(job_id, "late"), "already_over"
            )

        await kit.unchanged("request_cancel after finish", store, job_id, cancel_late)


async def ending_one_attempt_ends_no_other(store: Store) -> None:
    """The outcome of one job is nothing to the others."""
    jobs = [await kit.started(store, n) for n in range(3)]
    await store.append(jobs[1], 1, Kind.TOKEN, ["a"], 0)
    for job_id in (jobs[0], jobs[2]):
        await kit.unchanged(
            "finish of another job",
            store,
            jobs[1],
            partial(store.finish, job_id, 1, kit.failed()),
        )
    kit.expect("finish of others, then get", await kit.state_of(store, jobs[1]), State.RUNNING)


async def what_cannot_be_kept_is_no_result(store: Store) -> None:
    """A result that the store cannot keep is `InvalidPayload`, and the attempt runs on."""
    job_id = await kit.started(store)
    try:
        await kit.accept(store, kit.make(object()))
    except InvalidPayload:
        pass
    else:  # it can keep anything
        return

    async def finish() -> None:
        what = "finish with a result that submit refuses as an argument"
        await kit.refused(what, InvalidPayload, store.finish(job_id, 1, kit.completed(object())))

    await kit.unchanged("finish with a result that cannot be kept", store, job_id, finish)
    kit.expect("finish", await store.finish(job_id, 1, kit.completed("fine")), State.COMPLETED)
