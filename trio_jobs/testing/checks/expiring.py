"""The queue timeout: how long a job may wait for its first start."""

from __future__ import annotations

import trio

from ..._common.states import Reason, State
from ..._model.job import Timeouts
from ...stores.contract import Store
from . import kit

_SHORT = Timeouts(queue=kit.BRIEF)
_LONG = Timeouts(queue=kit.LONG)


async def a_job_that_waited_too_long_fails(store: Store) -> None:
    """A sweep ends a job that was not started within its queue timeout, which never runs then."""
    (job_id,) = await kit.accept(store, kit.make(timeouts=_SHORT))
    await kit.swept(store)
    over = {"state": State.FAILED, "reason": Reason.QUEUE_TIMEOUT, "attempt": 0, "next_attempt_at": None}
    await kit.expect_job("sweep", store, job_id, **over)
    attempt, kind, ended = (await kit.words(store, job_id))[-1]
    kit.expect("sweep, then read", (attempt, kind, ended.reason), (0, "expired", Reason.QUEUE_TIMEOUT))
    kit.expect("claim, after the queue timeout,", await store.claim(1, kit.HOLDER), [])
    await kit.unchanged("sweep again", store, job_id, store.sweep)


async def the_queue_timeout_begins_when_a_job_is_due(store: Store) -> None:
    """The delay before a job is due does not count, and a timeout that has not passed changes nothing."""
    delayed, patient = kit.make(delay=kit.LONG, timeouts=_SHORT), kit.make(timeouts=_LONG)
    await kit.accept(store, delayed, patient)
    await kit.lapse()
    for new in (delayed, patient):
        await kit.unchanged("sweep before the queue timeout", store, new.id, store.sweep)


async def the_queue_timeout_ends_with_the_first_start(store: Store) -> None:
    """A job that was started once in time may wait as long as it has to before it runs again."""
    running = await kit.started(store, timeouts=_LONG)
    waiting = await kit.finished(store, kit.retried(delay=kit.LONG), timeouts=_LONG)
    (quick,), _ = await store.submit([kit.make(timeouts=_SHORT)], 1, kit.HOLDER)
    await store.finish(quick, 1, kit.retried(delay=kit.LONG))
    await kit.swept(store)
    states = await kit.states(store, running, waiting, quick)
    kit.expect("sweep, then get", states, [State.RUNNING, State.RETRYING, State.RETRYING])


async def a_job_that_was_claimed_in_time_goes_on(store: Store) -> None:
    """A sweep or a claim after the queue timeout changes nothing about a job that was started in time."""
    for seconds in kit.spans():
        timeouts, begin = Timeouts(queue=seconds), trio.current_time()
        (submitted,), claims = await store.submit([kit.make(timeouts=timeouts)], 1, kit.HOLDER)
        (claimed,) = await kit.accept(store, kit.make(timeouts=timeouts))
        started = [*(one.submission.id for one in claims), *await kit.claimed(store, 1)]
        if trio.current_time() - begin < seconds:
            kit.expect("claim within the queue timeout", started, [submitted, claimed])
            await kit.lapse(seconds)
            for job_id in started:
                await kit.unchanged("sweep after the queue timeout", store, job_id, store.sweep)
            kit.expect("claim after the queue timeout", await store.claim(9, kit.HOLDER), [])
            return


async def however_many_expire(store: Store) -> None:
    """One sweep ends all that waited too long, be it a thousand jobs; those beside them go on."""
    await kit.accept(store, *[kit.make(n, timeouts=_SHORT) for n in range(kit.MANY)])
    beside = await kit.accept(store, kit.make(timeouts=_LONG), kit.make())
    await kit.swept(store)
    wanted = {State.FAILED: kit.MANY, State.QUEUED: len(beside)}
    kit.expect(f"sweep of {kit.MANY} expired jobs, then count", await kit.counted(store), wanted)


async def a_queue_timeout_is_as_long_as_was_said(store: Store) -> None:
    """A queue timeout is not cut to whole seconds, and neither is a delay."""
    told = 0
    for seconds in kit.spans():
        begin = trio.current_time()
        (delayed,) = await kit.accept(store, kit.make(delay=seconds))
        claims = await store.claim(9, kit.HOLDER)
        (waiting,) = await kit.accept(store, kit.make(timeouts=Timeouts(queue=seconds)))
        await store.sweep()
        states = await kit.states(store, delayed, waiting)
        if trio.current_time() - begin < seconds:
            kit.expect("claim of what is not due", claims, [])
            kit.expect("sweep of what may wait, then get", states, [State.QUEUED] * 2)
            told += 1
        await kit.lapse(seconds)
        await store.sweep()
        await kit.expect_job("sweep after the queue timeout", store, waiting, state=State.FAILED)
        started = [*(claim.submission.id for claim in claims), *await kit.claimed(store, 9)]
        kit.expect("claim of what is due", started, [delayed])
        if told == 2:  # a part of a second apart, so that one of the two would be cut
            return


async def what_waited_too_long_is_not_started(store: Store) -> None:
    """No claim starts a job whose queue timeout has passed, that of a submit neither, also before a sweep."""
    await kit.accept(store, kit.make(timeouts=_SHORT))
    await kit.lapse()
    kit.expect("claim after the queue timeout", await store.claim(9, kit.HOLDER), [])
    await kit.accept(store, kit.make(timeouts=_SHORT))
    await kit.lapse()
    (fresh,), claims = await store.submit([kit.make()], 9, kit.HOLDER)
    started = [claim.submission.id for claim in claims]
    kit.expect("submit after the queue timeout of another job: claims", started, [fresh])
