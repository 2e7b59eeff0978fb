"""The queue timeout: how long a job may wait for its first start."""

from __future__ import annotations

import trio

from ..._common.states import Reason, State
from ..._model.job import Timeouts
from ...stores.contract import Store, Where
from . import kit

_SHORT = Timeouts(queue=kit.BRIEF)


async def a_job_that_waited_too_long_fails(store: Store) -> None:
    """A sweep ends a job that was not started within its queue timeout, which never runs then."""
    (job_id,) = await kit.accept(store, kit.make(timeouts=_SHORT))
    await kit.lapse()
    await store.sweep()
    job = await store.get(job_id)
    came: tuple[object, ...] = job.state, job.reason, job.attempt, job.next_attempt_at
    kit.expect("sweep, then get", came, (State.FAILED, Reason.QUEUE_TIMEOUT, 0, None))
    attempt, kind, ended = (await kit.words(store, job_id))[-1]
    came = attempt, kind, ended.reason
    kit.expect("sweep, then read", came, (0, "expired", Reason.QUEUE_TIMEOUT))
    kit.expect("claim, after the queue timeout,", await store.claim(1, kit.HOLDER), [])
    await kit.unchanged("sweep again", store, job_id, store.sweep)


async def the_queue_timeout_begins_when_a_job_is_due(store: Store) -> None:
    """The delay before a job is due does not count, and a timeout that has not passed changes nothing."""
    delayed, patient = await kit.accept(
        store, kit.make(delay=kit.LONG, timeouts=_SHORT), kit.make(timeouts=Timeouts(queue=kit.LONG))
    )
    await kit.lapse()
    for job_id in (delayed, patient):
        await kit.unchanged("sweep before the queue timeout", store, job_id, store.sweep)


async def the_queue_timeout_ends_with_the_first_start(store: Store) -> None:
    """A job that was started once in time may wait as long as it has to before it runs again."""
    running = await kit.started(store, timeouts=Timeouts(queue=kit.LONG))
    waiting = await kit.started(store, timeouts=Timeouts(queue=kit.LONG))
    await store.finish(waiting, 1, kit.retried(delay=kit.LONG))
    (quick,), _ = await store.submit([kit.make(timeouts=_SHORT)], 1, kit.HOLDER)
    await store.finish(quick, 1, kit.retried(delay=kit.LONG))
    await kit.lapse()
    await store.sweep()
    kit.expect("sweep, then get of a running job", await kit.state_of(store, running), State.RUNNING)
    for job_id in (waiting, quick):
        kit.expect("sweep, then get of a retrying job", await kit.state_of(store, job_id), State.RETRYING)


async def a_job_that_was_claimed_in_time_goes_on(store: Store) -> None:
    """A sweep or a claim after the queue timeout changes nothing about a job that was started in time."""
    begin = trio.current_time()
    (submitted,), claims = await store.submit([kit.make(timeouts=_SHORT)], 1, kit.HOLDER)
    (claimed,) = await kit.accept(store, kit.make(timeouts=_SHORT))
    claims += await store.claim(1, kit.HOLDER)
    if trio.current_time() - begin < kit.BRIEF:  # otherwise this machine was too slow to tell
        kit.expect(
            "claim within the queue timeout", [one.submission.id for one in claims], [submitted, claimed]
        )
    await kit.lapse()
    for claim in claims:
        await kit.unchanged("sweep after the queue timeout", store, claim.submission.id, store.sweep)
    kit.expect("claim after the queue timeout", await store.claim(9, kit.HOLDER), [])


async def however_many_expire(store: Store) -> None:
    """One sweep ends all that waited too long, be it a thousand jobs; those beside them go on."""
    await kit.accept(store, *[kit.make(n, timeouts=_SHORT) for n in range(kit.MANY)])
    beside = await kit.accept(store, kit.make(timeouts=Timeouts(queue=kit.LONG)), kit.make())
    await kit.lapse()
    await store.sweep()
    wanted = {State.FAILED: kit.MANY, State.QUEUED: len(beside)}
    kit.expect(f"sweep of {kit.MANY} expired jobs, then count", dict(await store.count(Where())), wanted)


async def a_queue_timeout_is_as_long_as_was_said(store: Store) -> None:
    """A queue timeout is not cut to whole seconds, and neither is a delay."""
    for _ in range(2):  # a part of a second apart, so that one of the two would be cut
        begin = trio.current_time()
        (delayed,) = await kit.accept(store, kit.make(delay=kit.PARTLY.lease))
        claims = await store.claim(9, kit.HOLDER)
        (waiting,) = await kit.accept(store, kit.make(timeouts=Timeouts(queue=kit.PARTLY.lease)))
        await store.sweep()
        states = [await kit.state_of(store, job_id) for job_id in (delayed, waiting)]
        if trio.current_time() - begin < kit.PARTLY.lease:  # otherwise this machine was too slow to tell
            kit.expect("claim of what is not due", claims, [])
            kit.expect("sweep of what may wait, then get", states, [State.QUEUED] * 2)
        await trio.sleep(kit.PARTLY.lease + kit.BRIEF)
        await store.sweep()
        kit.expect(
            "sweep after the queue timeout, then get", await kit.state_of(store, waiting), State.FAILED
        )
        await kit.again(store, delayed)


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
