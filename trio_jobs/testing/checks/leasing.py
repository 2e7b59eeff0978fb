"""`heartbeat` and `sweep`: whose an attempt is, and when it is taken back."""

from __future__ import annotations

import math

import trio

from ..._common.states import Reason, State
from ..._model.job import Kind
from ..._model.retry import Retry
from ...stores.contract import CRASHES, Claimant, Store, Where
from . import kit


async def a_lapsed_attempt_is_taken_back(store: Store) -> None:
    """A sweep lets the job of a lost worker run again at once, and says why; its attempt is fenced out."""
    job_id = await kit.started(store, worker=kit.DOOMED)
    await store.append(job_id, 1, Kind.SAVED, ["half"], 0)
    await kit.lapse()
    await store.sweep()
    job = await store.get(job_id)
    came: tuple[object, ...] = job.state, job.reason, job.attempt, job.spent, job.finished_at
    wanted = State.RETRYING, Reason.WORKER_LOST, 1, 1, None
    kit.expect("sweep of a lapsed lease, then get", came, wanted)
    attempt, kind, ended = (await kit.words(store, job_id))[-1]
    came = attempt, kind, ended.reason
    kit.expect("sweep of a lapsed lease, then read", came, (1, "retried", Reason.WORKER_LOST))
    await kit.fenced(store, job_id, 1)
    claim = await kit.again(store, job_id)
    came = claim.attempt, claim.spent, claim.saved
    kit.expect("sweep, then claim: attempt, spent, saved", came, (2, 2, "half"))
    await kit.fenced(store, job_id, 1)


async def submitted_and_claimed_jobs_have_leases(store: Store) -> None:
    """What `submit` claims is held under a lease as well."""
    ids, _ = await store.submit([kit.make()], 1, kit.DOOMED)
    await kit.lapse()
    await store.sweep()
    kit.expect("submit with a claim, then sweep", await kit.state_of(store, ids[0]), State.RETRYING)


async def a_lease_that_holds_is_left_alone(store: Store) -> None:
    """A sweep changes nothing about an attempt whose lease has not lapsed, or never does."""
    for lease in (kit.LONG, math.inf):
        job_id = await kit.started(store, worker=Claimant("holder", lease))
        await kit.lapse()
        await kit.unchanged(f"sweep of a lease of {lease:g} s", store, job_id, store.sweep)


async def a_lapsed_attempt_still_holds_until_the_sweep(store: Store) -> None:
    """Until a sweep has taken it back, an attempt may write, although its lease has lapsed."""
    job_id = await kit.started(store, worker=kit.DOOMED)
    await kit.lapse()
    kit.expect("claim of a lapsed attempt", await store.claim(1, kit.HOLDER), [])
    await store.append(job_id, 1, Kind.TOKEN, ["late"], 0)
    kit.expect("finish of a lapsed attempt", await store.finish(job_id, 1, kit.completed()), State.COMPLETED)
    await kit.unchanged("sweep after finish", store, job_id, store.sweep)


async def a_heartbeat_renews(store: Store) -> None:
    """A heartbeat sets the lease to so many seconds from now: longer than it was, shorter, or for ever."""
    for_ever = await kit.started(store, worker=kit.DOOMED)
    await store.heartbeat({for_ever: 1}, math.inf)
    longer = await kit.started(store, worker=kit.DOOMED)
    answer = await store.heartbeat({longer: 1}, kit.LONG)
    kit.expect("heartbeat", (answer.lost, dict(answer.cancels)), (kit.NOBODY, kit.NOTHING))
    shorter = await kit.started(store)
    await store.heartbeat({shorter: 1}, kit.BRIEF)
    await kit.lapse()
    await store.sweep()
    kit.expect(
        "heartbeat with a lease for ever, then sweep", await kit.state_of(store, for_ever), State.RUNNING
    )
    kit.expect("heartbeat with a longer lease, then sweep", await kit.state_of(store, longer), State.RUNNING)
    kit.expect(
        "heartbeat with a shorter lease, then sweep", await kit.state_of(store, shorter), State.RETRYING
    )


async def a_heartbeat_revives(store: Store) -> None:
    """A heartbeat renews a lease that has lapsed, if the attempt was not taken back."""
    job_id = await kit.started(store, worker=kit.DOOMED)
    await kit.lapse()
    answer = await store.heartbeat({job_id: 1}, kit.LONG)
    kit.expect("heartbeat of a lapsed lease: lost", answer.lost, kit.NOBODY)
    await kit.unchanged("sweep after a heartbeat", store, job_id, store.sweep)


async def a_heartbeat_writes_nothing(store: Store) -> None:
    """A heartbeat is no event: the log and the snapshot stay as they are. Without jobs it does nothing."""
    job_id = await kit.started(store)
    await kit.unchanged("heartbeat", store, job_id, lambda: store.heartbeat({job_id: 1}, kit.LONG))
    answer = await store.heartbeat({}, kit.LONG)
    kit.expect("heartbeat without jobs", (answer.lost, dict(answer.cancels)), (kit.NOBODY, kit.NOTHING))


async def a_heartbeat_says_what_was_lost(store: Store) -> None:
    """Jobs that wait, have ended, run another attempt, or are unknown are lost; the others are not."""
    holds, ended, moved = [await kit.started(store) for _ in range(3)]
    await store.finish(ended, 1, kit.completed())
    await store.finish(moved, 1, kit.retried())
    await kit.again(store, moved)
    waits = await kit.started(store)
    await store.finish(waits, 1, kit.retried(delay=kit.LONG))
    (queued,) = await kit.accept(store, kit.make(delay=kit.LONG))
    held = dict.fromkeys([holds, ended, moved, waits, queued, "nobody"], 1)
    answer = await store.heartbeat(held, kit.LONG)
    kit.expect("heartbeat: lost", answer.lost, frozenset(held) - {holds})


async def a_late_heartbeat_renews_nothing(store: Store) -> None:
    """The heartbeat of an attempt that was taken back does not renew the lease of the one that runs now."""
    job_id = await kit.started(store)
    await store.finish(job_id, 1, kit.retried())
    await kit.again(store, job_id, kit.DOOMED)
    answer = await store.heartbeat({job_id: 1}, kit.LONG)
    kit.expect("heartbeat of an old attempt: lost", answer.lost, frozenset({job_id}))
    await kit.lapse()
    await store.sweep()
    kit.expect("heartbeat of an old attempt, then sweep", await kit.state_of(store, job_id), State.RETRYING)


async def an_old_lease_does_not_lapse_later(store: Store) -> None:
    """The lease of an attempt that has ended is nothing to the one that runs now, nor to an ended job."""
    ended = await kit.started(store, worker=kit.DOOMED)
    await store.finish(ended, 1, kit.completed())
    running = await kit.started(store, worker=kit.DOOMED)
    await store.finish(running, 1, kit.retried())
    await kit.again(store, running)
    await kit.lapse()
    for job_id in (ended, running):
        await kit.unchanged("sweep after the lease of an earlier attempt", store, job_id, store.sweep)


async def a_second_sweep_changes_nothing(store: Store) -> None:
    """What was taken back once is not taken back again."""
    job_id = await kit.started(store, worker=kit.DOOMED)
    await kit.lapse()
    await store.sweep()
    await kit.unchanged("sweep again", store, job_id, store.sweep)
    await kit.again(store, job_id)
    await kit.unchanged("sweep of the next attempt", store, job_id, store.sweep)


async def a_job_that_kills_its_workers_fails(store: Store) -> None:
    """Once `spent` is the greater of `Retry.attempts` and `CRASHES`, a lost worker fails the job."""
    for attempts in (1, CRASHES + 1):
        (job_id,) = await kit.accept(store, kit.make(retry=Retry(attempts=attempts)))
        last = max(attempts, CRASHES)
        for attempt in range(1, last + 1):
            await kit.again(store, job_id, kit.DOOMED)
            await kit.lapse()
            await store.sweep()
            job = await store.get(job_id)
            wanted = State.FAILED if attempt == last else State.RETRYING
            what = f"sweep, worker lost for the {attempt}. time, attempts={attempts}, then get"
            kit.expect(what, (job.state, job.reason), (wanted, Reason.WORKER_LOST))
        kit.expect("claim of a job that killed its workers", await store.claim(1, kit.HOLDER), [])
        kit.expect("sweep, then read", (await kit.words(store, job_id))[-1][:2], (last, "failed"))


async def a_cancelled_job_is_not_run_again(store: Store) -> None:
    """A lost worker's job whose cancellation was requested is CANCELLED, with the words of the request."""
    for crashes in (1, CRASHES):
        (job_id,) = await kit.accept(store, kit.make())
        for attempt in range(1, crashes + 1):
            await kit.again(store, job_id, kit.DOOMED)
            if attempt == crashes:
                await store.request_cancel(job_id, "tired")
            await kit.lapse()
            await store.sweep()
        job = await store.get(job_id)
        kit.expect(
            "sweep after request_cancel, then get",
            (job.state, job.reason),
            (State.CANCELLED, Reason.USER),
        )
        said = "tired" in (job.message or "")
        kit.expect(f"the message of the request is in {job.message!r}", said, wanted=True)


async def each_lapsed_lease_is_swept(store: Store) -> None:
    """One sweep takes back all that has lapsed, and nothing else."""
    await kit.accept(store, *[kit.make(n) for n in range(30)])
    lost = {claim.submission.id for claim in await store.claim(20, kit.DOOMED)}
    held = {claim.submission.id for claim in await store.claim(10, kit.HOLDER)}
    await kit.lapse()
    await store.sweep()
    for job_id in lost | held:
        wanted = State.RETRYING if job_id in lost else State.RUNNING
        kit.expect(
            "sweep of 20 lapsed leases and 10 others, then get", await kit.state_of(store, job_id), wanted
        )


async def however_many_leases_are_swept(store: Store) -> None:
    """One sweep takes back all that has lapsed, be it a thousand attempts."""
    await store.submit([kit.make(n) for n in range(kit.MANY)], kit.MANY, kit.DOOMED)
    await kit.lapse()
    await store.sweep()
    what = f"sweep of {kit.MANY} lapsed leases, then count"
    kit.expect(what, dict(await store.count(Where())), {State.RETRYING: kit.MANY})


async def a_lease_is_as_long_as_was_said(store: Store) -> None:
    """A lease is not cut to whole seconds: neither that of a claim, nor that of a submit or a heartbeat."""
    for _ in range(2):  # a part of a second apart, so that one of the two would be cut
        begin = trio.current_time()
        claimed = await kit.started(store, worker=kit.PARTLY)
        (submitted,), _ = await store.submit([kit.make()], 1, kit.PARTLY)
        renewed = await kit.started(store, worker=kit.DOOMED)
        await store.heartbeat({renewed: 1}, kit.PARTLY.lease)
        await store.sweep()
        states = [await kit.state_of(store, job_id) for job_id in (claimed, submitted, renewed)]
        if trio.current_time() - begin < kit.PARTLY.lease:  # otherwise this machine was too slow to tell
            what = f"sweep of leases of {kit.PARTLY.lease:g} s, then get"
            kit.expect(what, states, [State.RUNNING] * 3)
        await trio.sleep(kit.PARTLY.lease + kit.BRIEF)
        await store.sweep()
        states = [await kit.state_of(store, job_id) for job_id in (claimed, submitted, renewed)]
        kit.expect("sweep, when they have lapsed, then get", states, [State.RETRYING] * 3)
        for job_id in (claimed, submitted, renewed):
            await store.request_cancel(job_id, None)
