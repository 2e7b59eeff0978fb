"""`request_cancel`: at once for what waits, a request for what runs, nothing for what is over."""

from __future__ import annotations

from functools import partial

from ..._common.errors import UnknownJob
from ..._common.states import Reason, State
from ..._model.job import Ended
from ...stores.contract import Store
from . import kit


async def a_queued_job_is_cancelled_at_once(store: Store) -> None:
    """A job that waits ends CANCELLED in the step of the request, and never runs."""
    (job_id,) = await kit.accept(store, kit.make())
    kit.expect("request_cancel of a QUEUED job", await store.request_cancel(job_id, "tired"), "cancelled")
    job = await store.get(job_id)
    came = job.state, job.reason, job.message, job.attempt, job.next_attempt_at
    wanted = State.CANCELLED, Reason.USER, "tired", 0, None
    kit.expect("request_cancel, then get", came, wanted)
    both = job.cancel_requested_at is not None and job.finished_at is not None
    kit.ensure("request_cancel, then get: cancel_requested_at and finished_at are set", holds=both, came=job)
    log = [(0, "cancel_requested", "tired"), (0, "cancelled", Ended(Reason.USER, "tired"))]
    kit.expect("request_cancel, then read", (await kit.words(store, job_id))[1:], log)
    kit.expect("claim, after request_cancel,", await store.claim(1, kit.HOLDER), [])


async def a_retrying_job_is_cancelled_at_once(store: Store) -> None:
    """So does a job that waits to run again, due or not."""
    for delay in (0.0, kit.LONG):
        job_id = await kit.started(store)
        await store.finish(job_id, 1, kit.retried(delay=delay))
        kit.expect("request_cancel of a RETRYING job", await store.request_cancel(job_id, None), "cancelled")
        job = await store.get(job_id)
        kit.expect("request_cancel, then get", (job.state, job.reason), (State.CANCELLED, Reason.USER))
        kit.expect("claim, after request_cancel,", await store.claim(1, kit.HOLDER), [])


async def a_delayed_job_is_cancelled_at_once(store: Store) -> None:
    """So does a job that is not due yet."""
    (job_id,) = await kit.accept(store, kit.make(delay=kit.LONG))
    kit.expect("request_cancel of a delayed job", await store.request_cancel(job_id, None), "cancelled")
    kit.expect("request_cancel, then get", await kit.state_of(store, job_id), State.CANCELLED)


async def a_running_job_is_marked(store: Store) -> None:
    """A job that runs goes on: the request is in its snapshot, its log, and the next heartbeat's answer."""
    job_id = await kit.started(store)
    kit.expect(
        "request_cancel of a RUNNING job", await store.request_cancel(job_id, "tired", 3.0), "requested"
    )
    job = await store.get(job_id)
    kit.expect("request_cancel, then get", (job.state, job.finished_at), (State.RUNNING, None))
    what = "request_cancel, then get: cancel_requested_at is set"
    kit.ensure(what, holds=job.cancel_requested_at is not None, came=job)
    kit.expect(
        "request_cancel, then read",
        (await kit.words(store, job_id))[2:],
        [(1, "cancel_requested", "tired")],
    )
    answer = await store.heartbeat({job_id: 1}, kit.LONG)
    kit.expect("request_cancel, then heartbeat: cancels", dict(answer.cancels), {job_id: 3.0})
    kit.expect("request_cancel, then heartbeat: lost", answer.lost, kit.NOBODY)


async def the_first_request_counts(store: Store) -> None:
    """A second request adds nothing to the log of a job that runs; when it was asked for stays as it was."""
    job_id = await kit.started(store)
    await store.request_cancel(job_id, "first", 5.0)

    async def repeat() -> None:
        kit.expect("request_cancel again", await store.request_cancel(job_id, "second", 5.0), "requested")

    await kit.unchanged("request_cancel again", store, job_id, repeat)


async def a_shorter_grace_counts(store: Store) -> None:
    """A later request with a shorter grace shortens it; one with a longer grace does not make it longer."""
    job_id = await kit.started(store)
    for grace, wanted in ((5.0, 5.0), (9.0, 5.0), (2.0, 2.0), (3.0, 2.0), (0.0, 0.0)):
        await store.request_cancel(job_id, None, grace)
        answer = await store.heartbeat({job_id: 1}, kit.LONG)
        what = f"request_cancel with grace={grace:g}, then heartbeat: cancels"
        kit.expect(what, dict(answer.cancels), {job_id: wanted})


async def nobody_else_is_cancelled(store: Store) -> None:
    """A heartbeat names only the jobs whose cancellation was requested."""
    one, other = [await kit.started(store) for _ in range(2)]
    await kit.unchanged(
        "request_cancel of another job", store, other, lambda: store.request_cancel(one, None)
    )
    answer = await store.heartbeat({one: 1, other: 1}, kit.LONG)
    kit.expect("heartbeat: cancels", dict(answer.cancels), {one: 0.0})


async def what_is_over_stays_as_it_is(store: Store) -> None:
    """A request for a job that has ended changes nothing and says so, also the second time."""
    for outcome in (kit.completed("done"), kit.failed()):
        job_id = await kit.started(store)
        await store.finish(job_id, 1, outcome)
        for _ in range(2):
            await kit.unchanged("request_cancel", store, job_id, partial(_over, store, job_id))
    (job_id,) = await kit.accept(store, kit.make())
    await store.request_cancel(job_id, None)
    await kit.unchanged("request_cancel again", store, job_id, lambda: _over(store, job_id))


async def _over(store: Store, job_id: str) -> None:
    answer = await store.request_cancel(job_id, "late", 1.0)
    kit.expect("request_cancel of a job that is over", answer, "already_over")


async def an_unknown_job_is_not_cancelled_later(store: Store) -> None:
    """A request for an unknown id is `UnknownJob`, and is not kept for a job that comes later."""
    new = kit.make()
    error = await kit.refused("request_cancel", UnknownJob, store.request_cancel(new.id, None))
    kit.expect("UnknownJob of request_cancel", error.job_id, new.id)
    await kit.accept(store, new)
    await kit.again(store, new.id)
    answer = await store.heartbeat({new.id: 1}, kit.LONG)
    kit.expect("request_cancel, then submit, then heartbeat: cancels", dict(answer.cancels), kit.NOTHING)
