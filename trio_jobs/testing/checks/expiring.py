"""The queue timeout: how long a job may wait for its first start."""

from __future__ import annotations

from ..._common.states import Reason, State
from ..._model.job import Timeouts
from ._kit import (
    BRIEF,
    HOLDER,
    LONG,
    Opener,
    accept,
    expect,
    lapse,
    make,
    retried,
    start,
    state_of,
    unchanged,
    words,
)

_SHORT = Timeouts(queue=BRIEF)


async def a_job_that_waited_too_long_fails(open_store: Opener) -> None:
    """A sweep ends a job that was not started within its queue timeout, which never runs then."""
    async with open_store() as store:
        (job_id,) = await accept(store, make(timeouts=_SHORT))
        await lapse()
        await store.sweep()
        job = await store.get(job_id)
        came: tuple[object, ...] = job.state, job.reason, job.attempt, job.next_attempt_at
        expect("sweep, then get", came, (State.FAILED, Reason.QUEUE_TIMEOUT, 0, None))
        attempt, kind, ended = (await words(store, job_id))[-1]
        came = attempt, kind, ended.reason
        expect("sweep, then read", came, (0, "expired", Reason.QUEUE_TIMEOUT))
        expect("claim, after the queue timeout,", await store.claim(1, HOLDER), [])
        await unchanged("sweep again", store, job_id, store.sweep)


async def the_queue_timeout_begins_when_a_job_is_due(open_store: Opener) -> None:
    """The delay before a job is due does not count, and a timeout that has not passed changes nothing."""
    async with open_store() as store:
        delayed, patient = await accept(
            store, make(delay=LONG, timeouts=_SHORT), make(timeouts=Timeouts(queue=LONG))
        )
        await lapse()
        for job_id in (delayed, patient):
            await unchanged("sweep before the queue timeout", store, job_id, store.sweep)


async def the_queue_timeout_ends_with_the_first_start(open_store: Opener) -> None:
    """A job that was started once in time may wait as long as it has to before it runs again."""
    async with open_store() as store:
        running = (await start(store, timeouts=Timeouts(queue=LONG))).submission.id
        waiting = (await start(store, timeouts=Timeouts(queue=LONG))).submission.id
        await store.finish(waiting, 1, retried(delay=LONG))
        (quick,), _ = await store.submit([make(timeouts=_SHORT)], 1, HOLDER)
        await store.finish(quick, 1, retried(delay=LONG))
        await lapse()
        await store.sweep()
        expect("sweep, then get of a running job", await state_of(store, running), State.RUNNING)
        for job_id in (waiting, quick):
            expect("sweep, then get of a retrying job", await state_of(store, job_id), State.RETRYING)
