"""`heartbeat` and `sweep`: whose an attempt is, and when it is taken back."""

from __future__ import annotations

import math

import trio

from ..._common.states import Reason, State
from ..._model.job import Kind
from ..._model.retry import Retry
from ...stores.contract import CRASHES, Claimant, Where
from ._kit import (
    BRIEF,
    DOOMED,
    HOLDER,
    LONG,
    MANY,
    NOBODY,
    NOTHING,
    PARTLY,
    Opener,
    accept,
    again,
    completed,
    expect,
    fenced,
    lapse,
    make,
    retried,
    start,
    state_of,
    unchanged,
    words,
)


async def a_lapsed_attempt_is_taken_back(open_store: Opener) -> None:
    """A sweep lets the job of a lost worker run again at once, and says why; its attempt is fenced out."""
    async with open_store() as store:
        job_id = (await start(store, worker=DOOMED)).submission.id
        await store.append(job_id, 1, Kind.SAVED, ["half"], 0)
        await lapse()
        await store.sweep()
        job = await store.get(job_id)
        came: tuple[object, ...] = job.state, job.reason, job.attempt, job.spent, job.finished_at
        wanted = State.RETRYING, Reason.WORKER_LOST, 1, 1, None
        expect("sweep of a lapsed lease, then get", came, wanted)
        attempt, kind, ended = (await words(store, job_id))[-1]
        came = attempt, kind, ended.reason
        expect("sweep of a lapsed lease, then read", came, (1, "retried", Reason.WORKER_LOST))
        await fenced(store, job_id, 1)
        claim = await again(store, job_id)
        came = claim.attempt, claim.spent, claim.saved
        expect("sweep, then claim: attempt, spent, saved", came, (2, 2, "half"))
        await fenced(store, job_id, 1)


async def submitted_and_claimed_jobs_have_leases(open_store: Opener) -> None:
    """What `submit` claims is held under a lease as well."""
    async with open_store() as store:
        ids, _ = await store.submit([make()], 1, DOOMED)
        await lapse()
        await store.sweep()
        expect("submit with a claim, then sweep", await state_of(store, ids[0]), State.RETRYING)


async def a_lease_that_holds_is_left_alone(open_store: Opener) -> None:
    """A sweep changes nothing about an attempt whose lease has not lapsed, or never does."""
    async with open_store() as store:
        for lease in (LONG, math.inf):
            job_id = (await start(store, worker=Claimant("holder", lease))).submission.id
            await lapse()
            await unchanged(f"sweep of a lease of {lease:g} s", store, job_id, store.sweep)


async def a_lapsed_attempt_still_holds_until_the_sweep(open_store: Opener) -> None:
    """Until a sweep has taken it back, an attempt may write, although its lease has lapsed."""
    async with open_store() as store:
        job_id = (await start(store, worker=DOOMED)).submission.id
        await lapse()
        expect("claim of a lapsed attempt", await store.claim(1, HOLDER), [])
        await store.append(job_id, 1, Kind.TOKEN, ["late"], 0)
        expect("finish of a lapsed attempt", await store.finish(job_id, 1, completed()), State.COMPLETED)
        await unchanged("sweep after finish", store, job_id, store.sweep)


async def a_heartbeat_renews(open_store: Opener) -> None:
    """A heartbeat sets the lease to so many seconds from now: longer than it was, shorter, or for ever."""
    async with open_store() as store:
        for_ever = (await start(store, worker=DOOMED)).submission.id
        await store.heartbeat({for_ever: 1}, math.inf)
        longer = (await start(store, worker=DOOMED)).submission.id
        answer = await store.heartbeat({longer: 1}, LONG)
        expect("heartbeat", (answer.lost, dict(answer.cancels)), (NOBODY, NOTHING))
        shorter = (await start(store)).submission.id
        await store.heartbeat({shorter: 1}, BRIEF)
        await lapse()
        await store.sweep()
        expect("heartbeat with a lease for ever, then sweep", await state_of(store, for_ever), State.RUNNING)
        expect("heartbeat with a longer lease, then sweep", await state_of(store, longer), State.RUNNING)
        expect("heartbeat with a shorter lease, then sweep", await state_of(store, shorter), State.RETRYING)


async def a_heartbeat_revives(open_store: Opener) -> None:
    """A heartbeat renews a lease that has lapsed, if nobody has taken the attempt back."""
    async with open_store() as store:
        job_id = (await start(store, worker=DOOMED)).submission.id
        await lapse()
        answer = await store.heartbeat({job_id: 1}, LONG)
        expect("heartbeat of a lapsed lease: lost", answer.lost, NOBODY)
        await unchanged("sweep after a heartbeat", store, job_id, store.sweep)


async def a_heartbeat_writes_nothing(open_store: Opener) -> None:
    """A heartbeat is no event: the log and the snapshot stay as they are. Without jobs it does nothing."""
    async with open_store() as store:
        job_id = (await start(store)).submission.id
        await unchanged("heartbeat", store, job_id, lambda: store.heartbeat({job_id: 1}, LONG))
        answer = await store.heartbeat({}, LONG)
        expect("heartbeat without jobs", (answer.lost, dict(answer.cancels)), (NOBODY, NOTHING))


async def a_heartbeat_says_what_was_lost(open_store: Opener) -> None:
    """Jobs that wait, have ended, run another attempt, or are unknown are lost; the others are not."""
    async with open_store() as store:
        holds, ended, moved = [(await start(store)).submission.id for _ in range(3)]
        await store.finish(ended, 1, completed())
        await store.finish(moved, 1, retried())
        await again(store, moved)
        waits = (await start(store)).submission.id
        await store.finish(waits, 1, retried(delay=LONG))
        (queued,) = await accept(store, make(delay=LONG))
        held = dict.fromkeys([holds, ended, moved, waits, queued, "nobody"], 1)
        answer = await store.heartbeat(held, LONG)
        expect("heartbeat: lost", answer.lost, frozenset(held) - {holds})


async def a_late_heartbeat_renews_nothing(open_store: Opener) -> None:
    """The heartbeat of an attempt that was taken back does not renew the lease of the one that runs now."""
    async with open_store() as store:
        job_id = (await start(store)).submission.id
        await store.finish(job_id, 1, retried())
        await again(store, job_id, DOOMED)
        answer = await store.heartbeat({job_id: 1}, LONG)
        expect("heartbeat of an old attempt: lost", answer.lost, frozenset({job_id}))
        await lapse()
        await store.sweep()
        expect("heartbeat of an old attempt, then sweep", await state_of(store, job_id), State.RETRYING)


async def an_old_lease_does_not_lapse_later(open_store: Opener) -> None:
    """The lease of an attempt that has ended is nothing to the one that runs now, nor to an ended job."""
    async with open_store() as store:
        ended = (await start(store, worker=DOOMED)).submission.id
        await store.finish(ended, 1, completed())
        running = (await start(store, worker=DOOMED)).submission.id
        await store.finish(running, 1, retried())
        await again(store, running)
        await lapse()
        for job_id in (ended, running):
            await unchanged("sweep after the lease of an earlier attempt", store, job_id, store.sweep)


async def a_second_sweep_changes_nothing(open_store: Opener) -> None:
    """What was taken back once is not taken back again."""
    async with open_store() as store:
        job_id = (await start(store, worker=DOOMED)).submission.id
        await lapse()
        await store.sweep()
        await unchanged("sweep again", store, job_id, store.sweep)
        await again(store, job_id)
        await unchanged("sweep of the next attempt", store, job_id, store.sweep)


async def a_job_that_kills_its_workers_fails(open_store: Opener) -> None:
    """Once `spent` is the greater of `Retry.attempts` and `CRASHES`, a lost worker fails the job."""
    async with open_store() as store:
        for attempts in (1, CRASHES + 1):
            (job_id,) = await accept(store, make(retry=Retry(attempts=attempts)))
            last = max(attempts, CRASHES)
            for attempt in range(1, last + 1):
                await again(store, job_id, DOOMED)
                await lapse()
                await store.sweep()
                job = await store.get(job_id)
                wanted = State.FAILED if attempt == last else State.RETRYING
                what = f"sweep, worker lost for the {attempt}. time, attempts={attempts}, then get"
                expect(what, (job.state, job.reason), (wanted, Reason.WORKER_LOST))
            expect("claim of a job that killed its workers", await store.claim(1, HOLDER), [])
            expect("sweep, then read", (await words(store, job_id))[-1][:2], (last, "failed"))


async def a_cancelled_job_is_not_run_again(open_store: Opener) -> None:
    """A lost worker's job whose cancellation was requested is CANCELLED, with the words of the request."""
    async with open_store() as store:
        for crashes in (1, CRASHES):
            (job_id,) = await accept(store, make())
            for attempt in range(1, crashes + 1):
                await again(store, job_id, DOOMED)
                if attempt == crashes:
                    await store.request_cancel(job_id, "tired")
                await lapse()
                await store.sweep()
            job = await store.get(job_id)
            expect(
                "sweep after request_cancel, then get",
                (job.state, job.reason),
                (State.CANCELLED, Reason.USER),
            )
            said = "tired" in (job.message or "")
            expect(f"the message of the request is in {job.message!r}", said, wanted=True)


async def each_lapsed_lease_is_swept(open_store: Opener) -> None:
    """One sweep takes back all that has lapsed, and nothing else."""
    async with open_store() as store:
        await accept(store, *[make(n) for n in range(30)])
        lost = {claim.submission.id for claim in await store.claim(20, DOOMED)}
        held = {claim.submission.id for claim in await store.claim(10, HOLDER)}
        await lapse()
        await store.sweep()
        for job_id in lost | held:
            wanted = State.RETRYING if job_id in lost else State.RUNNING
            expect("sweep of 20 lapsed leases and 10 others, then get", await state_of(store, job_id), wanted)


async def however_many_leases_are_swept(open_store: Opener) -> None:
    """One sweep takes back all that has lapsed, be it a thousand attempts."""
    async with open_store() as store:
        await store.submit([make(n) for n in range(MANY)], MANY, DOOMED)
        await lapse()
        await store.sweep()
        what = f"sweep of {MANY} lapsed leases, then count"
        expect(what, dict(await store.count(Where())), {State.RETRYING: MANY})


async def a_lease_is_as_long_as_was_said(open_store: Opener) -> None:
    """A lease is not cut to whole seconds: neither that of a claim, nor that of a submit or a heartbeat."""
    async with open_store() as store:
        for _ in range(2):  # a part of a second apart, so that one of the two would be cut
            begin = trio.current_time()
            claimed = (await start(store, worker=PARTLY)).submission.id
            (submitted,), _ = await store.submit([make()], 1, PARTLY)
            renewed = (await start(store, worker=DOOMED)).submission.id
            await store.heartbeat({renewed: 1}, PARTLY.lease)
            await store.sweep()
            states = [await state_of(store, job_id) for job_id in (claimed, submitted, renewed)]
            if trio.current_time() - begin < PARTLY.lease:  # otherwise this machine was too slow to tell
                what = f"sweep of leases of {PARTLY.lease:g} s, then get"
                expect(what, states, [State.RUNNING] * 3)
            await trio.sleep(PARTLY.lease + BRIEF)
            await store.sweep()
            states = [await state_of(store, job_id) for job_id in (claimed, submitted, renewed)]
            expect("sweep, when they have lapsed, then get", states, [State.RETRYING] * 3)
            for job_id in (claimed, submitted, renewed):
                await store.request_cancel(job_id, None)
