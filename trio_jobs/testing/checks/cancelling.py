"""`request_cancel`: at once for what waits, a request for what runs, nothing for what is over."""

from __future__ import annotations

from functools import partial

from ..._common.errors import UnknownJob
from ..._common.states import Reason, State
from ..._model.job import Ended
from ...stores.contract import Store
from . import kit


async def what_waits_is_cancelled_at_once(store: Store) -> None:
    """A job that waits ends CANCELLED in the step of the request, and never runs, be it due or a retry."""
    retrying = [await kit.finished(store, kit.retried(delay=delay)) for delay in (kit.LONG, 0.0)]
    queued = await kit.accept(store, kit.make(), kit.make(delay=kit.LONG))
    for job_id in (*retrying, *queued):
        attempt = int(job_id in retrying)
        what = f"request_cancel of a job that waits, after {attempt} attempts"
        kit.expect(what, await store.request_cancel(job_id, "tired"), "cancelled")
        over = {"state": State.CANCELLED, "reason": Reason.USER, "message": "tired", "next_attempt_at": None}
        times = {"cancel_requested_at": ..., "finished_at": ...}
        await kit.expect_job(what, store, job_id, attempt=attempt, **over, **times)
        log = [(attempt, "cancel_requested", "tired"), (attempt, "cancelled", Ended(Reason.USER, "tired"))]
        kit.expect(f"{what}, then read", (await kit.words(store, job_id))[-2:], log)
    kit.expect("claim, after request_cancel,", await store.claim(9, kit.HOLDER), [])


async def a_running_job_is_marked(store: Store) -> None:
    """A job that runs goes on: the request is in its snapshot, its log, and the next heartbeat's answer."""
    job_id = await kit.started(store)
    what = "request_cancel of a RUNNING job"
    kit.expect(what, await store.request_cancel(job_id, "tired", 3.0), "requested")
    marked = {"state": State.RUNNING, "finished_at": None, "cancel_requested_at": ...}
    await kit.expect_job(what, store, job_id, **marked)
    kit.expect(f"{what}, then read", (await kit.words(store, job_id))[2:], [(1, "cancel_requested", "tired")])
    await kit.expect_beat(f"{what}, then heartbeat", store, {job_id: 1}, cancels={job_id: 3.0})


async def the_first_request_counts(store: Store) -> None:
    """A second request adds nothing to the log of a job that runs; when it was asked for stays as it was."""
    job_id = await kit.started(store)
    await store.request_cancel(job_id, "first", 5.0)
    repeat = partial(store.request_cancel, job_id, "second", 5.0)
    what = "request_cancel again"
    kit.expect(what, await kit.unchanged(what, store, job_id, repeat), "requested")


async def a_shorter_grace_counts(store: Store) -> None:
    """A later request with a shorter grace shortens it; one with a longer grace does not make it longer."""
    job_id = await kit.started(store)
    for grace, wanted in ((5.0, 5.0), (9.0, 5.0), (2.0, 2.0), (3.0, 2.0), (0.0, 0.0)):
        await store.request_cancel(job_id, None, grace)
        what = f"request_cancel with grace={grace:g}, then heartbeat"
        await kit.expect_beat(what, store, {job_id: 1}, cancels={job_id: wanted})


async def nobody_else_is_cancelled(store: Store) -> None:
    """A heartbeat names only the jobs whose cancellation was requested."""
    one, other = [await kit.started(store) for _ in range(2)]
    cancel = partial(store.request_cancel, one, None)
    await kit.unchanged("request_cancel of another job", store, other, cancel)
    await kit.expect_beat("heartbeat of both", store, {one: 1, other: 1}, cancels={one: 0.0})


async def what_is_over_stays_as_it_is(store: Store) -> None:
    """A request for a job that has ended changes nothing and says so, also the second time."""
    over = [await kit.finished(store, outcome) for outcome in (kit.completed("done"), kit.failed())]
    over += await kit.accept(store, kit.make())
    await store.request_cancel(over[-1], None)
    what = "request_cancel of a job that is over"
    for job_id in (*over, *over):
        cancel = partial(store.request_cancel, job_id, "late", 1.0)
        kit.expect(what, await kit.unchanged(what, store, job_id, cancel), "already_over")


async def an_unknown_job_is_not_cancelled_later(store: Store) -> None:
    """A request for an unknown id is `UnknownJob`, and is not kept for a job that comes later."""
    new = kit.make()
    error = await kit.refused("request_cancel", UnknownJob, store.request_cancel(new.id, None))
    kit.expect("UnknownJob of request_cancel", error.job_id, new.id)
    await kit.accept(store, new)
    await kit.again(store, new.id)
    await kit.expect_beat("request_cancel, then submit, then heartbeat", store, {new.id: 1})
