"""The queue timeout: how long a job may wait for its first start."""

from __future__ import annotations

import trio

from ..._common.states import Reason, State
from ..._model.job import Timeouts
from ...stores.contract import Where
from ._kit import (
    BRIEF,
    HOLDER,
    LONG,
    MANY,
    PARTLY,
    Opener,
    accept,
    again,
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


async def a_job_that_was_claimed_in_time_goes_on(open_store: Opener) -> None:
    """A sweep or a claim after the queue timeout changes nothing about a job that was started in time."""
    async with open_store() as store:
        begin = trio.current_time()
        (submitted,), claims = await store.submit([make(timeouts=_SHORT)], 1, HOLDER)
        (claimed,) = await accept(store, make(timeouts=_SHORT))
        claims += await store.claim(1, HOLDER)
        if trio.current_time() - begin < BRIEF:  # otherwise this machine was too slow to tell
            expect(
                "claim within the queue timeout", [one.submission.id for one in claims], [submitted, claimed]
            )
        await lapse()
        for claim in claims:
            await unchanged("sweep after the queue timeout", store, claim.submission.id, store.sweep)
        expect("claim after the queue timeout", await store.claim(9, HOLDER), [])


async def however_many_expire(open_store: Opener) -> None:
    """One sweep ends all that waited too long, be it a thousand jobs; those beside them go on."""
    async with open_store() as store:
        await accept(store, *[make(n, timeouts=_SHORT) for n in range(MANY)])
        beside = await accept(store, make(timeouts=Timeouts(queue=LONG)), make())
        await lapse()
        await store.sweep()
        wanted = {State.FAILED: MANY, State.QUEUED: len(beside)}
        expect(f"sweep of {MANY} expired jobs, then count", dict(await store.count(Where())), wanted)


async def a_queue_timeout_is_as_long_as_was_said(open_store: Opener) -> None:
    """A queue timeout is not cut to whole seconds, and neither is a delay."""
    async with open_store() as store:
        for _ in range(2):  # a part of a second apart, so that one of the two would be cut
            begin = trio.current_time()
            (delayed,) = await accept(store, make(delay=PARTLY.lease))
            claims = await store.claim(9, HOLDER)
            (waiting,) = await accept(store, make(timeouts=Timeouts(queue=PARTLY.lease)))
            await store.sweep()
            states = [await state_of(store, job_id) for job_id in (delayed, waiting)]
            if trio.current_time() - begin < PARTLY.lease:  # otherwise this machine was too slow to tell
                expect("claim of what is not due", claims, [])
                expect("sweep of what may wait, then get", states, [State.QUEUED] * 2)
            await trio.sleep(PARTLY.lease + BRIEF)
            await store.sweep()
            expect("sweep after the queue timeout, then get", await state_of(store, waiting), State.FAILED)
            await again(store, delayed)


async def what_waited_too_long_is_not_started(open_store: Opener) -> None:
    """No claim starts a job whose queue timeout has passed, that of a submit neither, also before a sweep."""
    async with open_store() as store:
        await accept(store, make(timeouts=_SHORT))
        await lapse()
        expect("claim after the queue timeout", await store.claim(9, HOLDER), [])
        await accept(store, make(timeouts=_SHORT))
        await lapse()
        (fresh,), claims = await store.submit([make()], 9, HOLDER)
        started = [claim.submission.id for claim in claims]
        expect("submit after the queue timeout of another job: claims", started, [fresh])
