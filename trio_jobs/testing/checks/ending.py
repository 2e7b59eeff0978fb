"""`finish`: one outcome per attempt, and what follows from it."""

from __future__ import annotations

from functools import partial

from ..._common.errors import ErrorRecord, InvalidPayload, LeaseLost
from ..._common.states import Reason, State, Transition
from ..._model.job import Ended, Kind
from ...stores.contract import Outcome, Store
from . import kit

_NO_REASON = {"reason": None, "message": None, "error": None}


async def a_completed_job_has_its_result(store: Store) -> None:
    """`completed` ends the job with its result, in the snapshot and as the last event."""
    job_id = await kit.started(store)
    state = await store.finish(job_id, 1, kit.completed({"answer": 42}))
    kit.expect("finish (completed) returns", state, State.COMPLETED)
    done = {"state": state, "result": {"answer": 42}, "finished_at": ...}
    await kit.expect_job("finish (completed)", store, job_id, **done, **_NO_REASON)
    kit.expect("finish, then read", (await kit.words(store, job_id))[-1], (1, "completed", {"answer": 42}))


async def a_failed_job_says_why(store: Store) -> None:
    """`failed` ends the job with reason, message and error, in the snapshot and as the last event."""
    for reason in (Reason.ERROR, Reason.TIMEOUT, Reason.IDLE_TIMEOUT, Reason.LIMIT, Reason.BAD_RESULT):
        job_id = await kit.started(store)
        ended = Ended(reason, "it failed", kit.ERROR)
        state = await store.finish(job_id, 1, Outcome(Transition.FAILED, None, ended))
        kit.expect("finish (failed) returns", state, State.FAILED)
        why = {"reason": reason, "message": "it failed", "error": kit.ERROR}
        await kit.expect_job("finish (failed)", store, job_id, state=State.FAILED, **why)
        kit.expect("finish (failed), then read", (await kit.words(store, job_id))[-1], (1, "failed", ended))


async def no_words_keep_an_attempt_from_ending(store: Store) -> None:
    """An attempt ends also if its error holds NUL, which a store may replace."""
    job_id = await kit.started(store)
    words = "what\0ever"
    await store.finish(job_id, 1, kit.failed(words, ErrorRecord(words, words, words)))
    said = (await store.get(job_id)).message or ""
    kit.expect("finish (failed, with NUL), then get: message", (said[:4], said[-4:]), ("what", "ever"))
    kit.expect("finish (failed, with NUL), then find", await kit.found(store), [job_id])


async def a_cancelled_job_has_the_words_of_the_request(store: Store) -> None:
    """`cancelled` ends the job; the message of a user's request, the first one, is told with it."""
    job_id = await kit.started(store)
    await store.request_cancel(job_id, "tired", 5.0)
    await store.request_cancel(job_id, "again", 5.0)
    state = await store.finish(job_id, 1, kit.cancelled())
    kit.expect("finish (cancelled) returns", state, State.CANCELLED)
    why = {"state": State.CANCELLED, "reason": Reason.USER, "message": "tired"}
    await kit.expect_job("finish (cancelled)", store, job_id, **why)
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
    why = {"reason": Reason.ERROR, "message": "once more", "error": kit.ERROR}
    now = {"state": State.RETRYING, "finished_at": None, "attempt": 1}
    job = await kit.expect_job("finish (retried)", store, job_id, **why, **now)
    due = job.next_attempt_at
    waits = None if due is None or job.started_at is None else (due - job.started_at).total_seconds()
    what = f"finish (retried), then get: next_attempt_at is {kit.LONG} s later"
    kit.ensure(what, holds=waits is not None and kit.LONG - 0.01 < waits < kit.LONG + 60, came=waits)
    kit.expect("finish (retried), then read", (await kit.words(store, job_id))[-1], (1, "retried", ended))


async def an_attempt_ends_once(store: Store) -> None:
    """A second `finish`, with the same outcome or another, is `LeaseLost` and changes nothing."""
    for first in (kit.completed(1), kit.failed(), kit.cancelled(), kit.retried(delay=kit.LONG)):
        job_id = await kit.finished(store, first)
        for late in (kit.completed(2), kit.failed("late"), kit.cancelled(), kit.retried()):
            what = f"finish ({late.transition.value}) after finish ({first.transition.value})"
            finish = partial(store.finish, job_id, 1, late)
            await kit.refused(what, LeaseLost, kit.unchanged(what, store, job_id, finish))


async def a_finish_is_asked_again(store: Store) -> None:
    """With the id of the claim, a second `finish` changes nothing, and returns the state."""
    claim = kit.KNOWN.claim
    for first in (kit.completed(1), kit.failed(), kit.cancelled(), kit.retried()):
        job_id = await kit.started(store, worker=kit.KNOWN)
        state = await store.finish(job_id, 1, first, claim)
        what = f"finish ({first.transition.value}) again"
        again = partial(store.finish, job_id, 1, first, claim)
        await kit.unchanged(what, store, job_id, again)
        kit.expect(f"{what} returns", await again(), state)
        for other in (None, "other"):
            late = partial(store.finish, job_id, 1, first, other)
            await kit.refused(what, LeaseLost, kit.unchanged(what, store, job_id, late))
        if not state.over:
            await kit.again(store, job_id)
            await kit.refused(f"{what} in the next attempt", LeaseLost, again())


async def what_others_ended_is_not_asked_for(store: Store) -> None:
    """`finish` is LeaseLost if a sweep ended the attempt, or the end of its parent did, also with the id."""
    late = kit.completed("late")
    lost = await kit.started(store, worker=kit.KNOWN._replace(lease=kit.BRIEF))
    child = (await store.spawn(lost, 1, kit.make(), kit.KNOWN)).submission.id
    await kit.swept(store)
    for job_id in (lost, child):
        finish = partial(store.finish, job_id, 1, late, kit.KNOWN.claim)
        what = "finish of an attempt that was reclaimed, or of its child"
        await kit.refused(what, LeaseLost, kit.unchanged(what, store, job_id, finish))


async def a_new_attempt_forgets_the_last_error(store: Store) -> None:
    """Once a job runs again, its snapshot says nothing of how the last attempt ended."""
    ended = Ended(Reason.ERROR, "oh", kit.ERROR, 0.0)
    job_id = await kit.finished(store, Outcome(Transition.RETRIED, None, ended))
    await kit.again(store, job_id)
    await kit.expect_job("claim of a retry", store, job_id, state=State.RUNNING, attempt=2, **_NO_REASON)
    await store.finish(job_id, 2, kit.completed())
    await kit.expect_job("finish", store, job_id, **_NO_REASON)


async def shutdown_and_snoozing_cost_nothing(store: Store) -> None:
    """What an attempt took from the budget is given back, if it ended for shutdown or was snoozed."""
    job_id = await kit.started(store)
    spent = 1
    reasons = [Reason.ERROR, Reason.SHUTDOWN, Reason.TIMEOUT, Reason.SNOOZED, Reason.WORKER_LOST]
    for attempt, reason in enumerate(reasons, 1):
        await store.finish(job_id, attempt, kit.retried(reason))
        spent -= reason in {Reason.SHUTDOWN, Reason.SNOOZED}
        await kit.expect_job(f"finish (retried, {reason.value})", store, job_id, spent=spent)
        claim = await kit.again(store, job_id)
        spent += 1
        kit.expect("claim of a retry: attempt, spent", (claim.attempt, claim.spent), (attempt + 1, spent))


async def a_cancelled_job_is_not_retried(store: Store) -> None:
    """With cancellation requested, `retried` becomes `cancelled` in the same step, whatever the reason."""
    what = "finish (retried) after request_cancel"
    for reason in (Reason.ERROR, Reason.SHUTDOWN, Reason.SNOOZED):
        job_id = await kit.started(store)
        await store.request_cancel(job_id, "tired")
        state = await store.finish(job_id, 1, kit.retried(reason))
        kit.expect(f"{what} returns", state, State.CANCELLED)
        why = {"reason": Reason.USER, "message": "tired", "next_attempt_at": None}
        await kit.expect_job(what, store, job_id, state=state, **why)
        kit.expect(f"{what}, then read", (await kit.words(store, job_id))[-1][:2], (1, "cancelled"))
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
        await kit.expect_job("finish after request_cancel", store, job_id, cancel_requested_at=...)
        what, cancel = "request_cancel after finish", partial(store.request_cancel, job_id, "late")
        kit.expect(what, await kit.unchanged(what, store, job_id, cancel), "already_over")


async def ending_one_attempt_ends_no_other(store: Store) -> None:
    """The outcome of one job is nothing to the others."""
    jobs = [await kit.started(store, n) for n in range(3)]
    await store.append(jobs[1], 1, Kind.TOKEN, ["a"], 0)
    for job_id in (jobs[0], jobs[2]):
        finish = partial(store.finish, job_id, 1, kit.failed())
        await kit.unchanged("finish of another job", store, jobs[1], finish)
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
    what = "finish with a result that submit refuses as an argument"
    finish = partial(store.finish, job_id, 1, kit.completed(object()))
    await kit.refused(what, InvalidPayload, kit.unchanged(what, store, job_id, finish))
    kit.expect("finish", await store.finish(job_id, 1, kit.completed("fine")), State.COMPLETED)
