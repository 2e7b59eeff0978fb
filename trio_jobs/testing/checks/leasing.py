"""`heartbeat` and `sweep`: whose an attempt is, and when it is reclaimed."""

from __future__ import annotations

import math
from functools import partial

import trio

from ..._common.errors import LeaseLost
from ..._common.states import Reason, State
from ..._model.job import Kind, Timeouts
from ..._model.retry import Retry
from ...stores.contract import CRASHES, Claimant, Reclaimed, Store
from . import kit


async def a_lapsed_attempt_is_taken_back(store: Store) -> None:
    """A sweep lets the job of a lost worker run again at once, and says why; its attempt is fenced out."""
    job_id = await kit.started(store, worker=kit.DOOMED)
    await store.append(job_id, 1, Kind.SAVED, ["half"], 0)
    await kit.swept(store)
    back = {"state": State.RETRYING, "reason": Reason.WORKER_LOST, "attempt": 1, "spent": 1}
    await kit.expect_job("sweep of a lapsed lease", store, job_id, **back, finished_at=None)
    attempt, kind, ended = (await kit.words(store, job_id))[-1]
    came = attempt, kind, ended.reason
    kit.expect("sweep of a lapsed lease, then read", came, (1, "retried", Reason.WORKER_LOST))
    await kit.fenced(store, job_id, 1)
    claim = await kit.again(store, job_id)
    found = claim.attempt, claim.spent, claim.saved
    kit.expect("sweep, then claim: attempt, spent, saved", found, (2, 2, "half"))
    await kit.fenced(store, job_id, 1)


async def a_lease_that_holds_is_left_alone(store: Store) -> None:
    """A sweep changes nothing about an attempt whose lease has not lapsed, or never does."""
    for lease in (kit.LONG, math.inf):
        job_id = await kit.started(store, worker=Claimant("holder", lease))
        await kit.lapse()
        await kit.unchanged(f"sweep of a lease of {lease:g} s", store, job_id, store.sweep)


async def a_lapsed_attempt_still_holds_until_the_sweep(store: Store) -> None:
    """Until a sweep has reclaimed it, an attempt may write, although its lease has lapsed."""
    job_id = await kit.started(store, worker=kit.DOOMED)
    await kit.lapse()
    kit.expect("claim of a lapsed attempt", await store.claim(1, kit.HOLDER), [])
    await store.append(job_id, 1, Kind.TOKEN, ["late"], 0)
    kit.expect("finish of a lapsed attempt", await store.finish(job_id, 1, kit.completed()), State.COMPLETED)
    await kit.unchanged("sweep after finish", store, job_id, store.sweep)


async def a_heartbeat_renews(store: Store) -> None:
    """A heartbeat sets the lease to so many seconds from now: longer than it was, shorter, or for ever.

    So does the next one, which is all that holds a job for longer than one lease.
    """
    for_ever = await kit.started(store, worker=kit.DOOMED)
    await store.heartbeat({for_ever: 1}, math.inf)
    longer = await kit.started(store, worker=kit.DOOMED)
    await kit.expect_beat("heartbeat", store, {longer: 1})
    shorter = await kit.started(store)
    await store.heartbeat({shorter: 1}, kit.BRIEF)
    twice = await kit.started(store)
    await store.heartbeat({twice: 1}, kit.BRIEF)
    await kit.expect_beat("second heartbeat", store, {twice: 1})
    await kit.swept(store)
    wanted = [State.RUNNING, State.RUNNING, State.RETRYING, State.RUNNING]
    what = "heartbeat with a lease for ever, a longer, a shorter, and a shorter and a longer one, then sweep"
    kit.expect(what, await kit.states(store, for_ever, longer, shorter, twice), wanted)


async def a_heartbeat_revives(store: Store) -> None:
    """A heartbeat renews a lease that has lapsed, if the attempt was not reclaimed."""
    job_id = await kit.started(store, worker=kit.DOOMED)
    await kit.lapse()
    await kit.expect_beat("heartbeat of a lapsed lease", store, {job_id: 1})
    await kit.unchanged("sweep after a heartbeat", store, job_id, store.sweep)


async def a_heartbeat_writes_nothing(store: Store) -> None:
    """A heartbeat is no event: the log and the snapshot stay as they are. Without jobs it does nothing."""
    job_id = await kit.started(store)
    await kit.unchanged("heartbeat", store, job_id, partial(store.heartbeat, {job_id: 1}, kit.LONG))
    await kit.expect_beat("heartbeat without jobs", store, {})


async def a_heartbeat_says_what_was_lost(store: Store) -> None:
    """Jobs that wait, have ended, run another attempt, or are unknown are lost; the others are not."""
    holds, ended = await kit.started(store), await kit.finished(store)
    moved = await kit.finished(store, kit.retried())
    await kit.again(store, moved)
    waits = await kit.finished(store, kit.retried(delay=kit.LONG))
    (queued,) = await kit.accept(store, kit.make(delay=kit.LONG))
    lost = {ended, moved, waits, queued, "nobody"}
    await kit.expect_beat("heartbeat", store, dict.fromkeys([holds, *lost], 1), lost=lost)


async def who_asks_again_gets_new_leases(store: Store) -> None:
    """A claim that is asked again has leases from then on."""
    job_id = await kit.started(store, worker=kit.KNOWN._replace(lease=kit.BRIEF))
    kit.expect("claim again", [one.submission.id for one in await store.claim(0, kit.KNOWN)], [job_id])
    await kit.lapse()
    await kit.unchanged("claim again, then sweep", store, job_id, store.sweep)


async def another_claim_is_fenced(store: Store) -> None:
    """Without the id of its claim nothing is written for an attempt, nor for a child of it, or renewed."""
    job_id = await kit.started(store, worker=kit.KNOWN)
    child = (await store.spawn(job_id, 1, kit.make(), kit.KNOWN)).submission.id
    for claim in (None, "other"):
        worker = kit.HOLDER._replace(claim=claim)
        for one in (job_id, child):
            verbs: dict[str, kit.Act] = {
                "append": partial(store.append, one, 1, Kind.TOKEN, ["late"], 0, claim=claim),
                "finish": partial(store.finish, one, 1, kit.completed(), claim),
                "spawn": partial(store.spawn, one, 1, kit.make(), worker),
            }
            for name, verb in verbs.items():
                what = f"{name} with the claim id {claim!r}"
                await kit.refused(what, LeaseLost, kit.unchanged(what, store, one, verb))
            claims = {} if claim is None else {one: claim}
            answer = await store.heartbeat({one: 1}, kit.BRIEF, claims)
            kit.expect(f"heartbeat with the claim id {claim!r}: lost", answer.lost, {one})
    await kit.lapse()
    await kit.unchanged("heartbeat with another id, then sweep", store, job_id, store.sweep)
    for one in (child, job_id):
        answer = await store.heartbeat({one: 1}, kit.LONG, {one: kit.KNOWN.claim})
        kit.expect("heartbeat with the id: lost", answer.lost, frozenset[str]())
        await store.append(one, 1, Kind.TOKEN, ["in time"], 0, claim=kit.KNOWN.claim)
        state = await store.finish(one, 1, kit.completed(), kit.KNOWN.claim)
        kit.expect("finish with the id", state, State.COMPLETED)


async def a_late_heartbeat_renews_nothing(store: Store) -> None:
    """The heartbeat of an attempt that was reclaimed does not renew the lease of the one that runs now."""
    job_id = await kit.finished(store, kit.retried())
    await kit.again(store, job_id, kit.DOOMED)
    await kit.expect_beat("heartbeat of an old attempt", store, {job_id: 1}, lost={job_id})
    await kit.swept(store)
    await kit.expect_job("heartbeat of an old attempt, then sweep", store, job_id, state=State.RETRYING)


async def an_old_lease_does_not_lapse_later(store: Store) -> None:
    """The lease of an attempt that has ended is nothing to the one that runs now, nor to an ended job."""
    ended = await kit.finished(store, worker=kit.DOOMED)
    running = await kit.finished(store, kit.retried(), worker=kit.DOOMED)
    await kit.again(store, running)
    await kit.lapse()
    for job_id in (ended, running):
        await kit.unchanged("sweep after the lease of an earlier attempt", store, job_id, store.sweep)


async def a_second_sweep_changes_nothing(store: Store) -> None:
    """What was reclaimed once is not reclaimed again."""
    job_id = await kit.started(store, worker=kit.DOOMED)
    await kit.swept(store)
    await kit.unchanged("sweep again", store, job_id, store.sweep)
    await kit.again(store, job_id)
    await kit.unchanged("sweep of the next attempt", store, job_id, store.sweep)


async def a_sweep_says_what_it_reclaimed(store: Store) -> None:
    """Of two sweeps at once one says which attempts it has reclaimed, and whose they were; none says more."""
    deadly = kit.make(target=kit.other_work)
    await kit.accept(store, deadly)
    for name in range(CRASHES - 1):
        await kit.again(store, deadly.id, kit.DOOMED._replace(name=str(name)))
        await kit.swept(store)
    await kit.again(store, deadly.id, kit.DOOMED._replace(name='the "last" one'))
    parent, asked = [await kit.started(store, worker=kit.DOOMED) for _ in range(2)]
    await kit.spawned(store, parent)
    await store.request_cancel(asked, None)
    await kit.started(store)
    await kit.accept(store, kit.make(timeouts=Timeouts(queue=kit.BRIEF)))
    await kit.lapse()
    came = list[Reclaimed]()

    async def sweep() -> None:
        came.extend(await store.sweep())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sweep)
        nursery.start_soon(sweep)
    wanted = [
        Reclaimed(deadly.id, deadly.handler, CRASHES, 'the "last" one', State.FAILED),
        Reclaimed(parent, kit.make().handler, 1, kit.DOOMED.name, State.RETRYING),
        Reclaimed(asked, kit.make().handler, 1, kit.DOOMED.name, State.CANCELLED),
    ]
    kit.expect("two sweeps at once", sorted(came), sorted(wanted))
    kit.expect("sweep again", await store.sweep(), [])


async def a_job_that_kills_its_workers_fails(store: Store) -> None:
    """A job fails once as many in a row lost their worker as the greater of its `attempts` and `CRASHES`."""
    for attempts in (1, CRASHES + 1, None):
        (job_id,) = await kit.accept(store, kit.make(retry=Retry(attempts=attempts)))
        await kit.expect_job("submit", store, job_id, retry=Retry(attempts=attempts))
        last = max(attempts or 1, CRASHES)
        for attempt in range(1, last + 1):
            await kit.again(store, job_id, kit.DOOMED)
            await kit.swept(store)
            state = State.FAILED if attempt == last else State.RETRYING
            what = f"sweep, worker lost for the {attempt}. time, attempts={attempts}"
            await kit.expect_job(what, store, job_id, state=state, reason=Reason.WORKER_LOST)
        kit.expect("claim of a job that killed its workers", await store.claim(1, kit.HOLDER), [])
        kit.expect("sweep, then read", (await kit.words(store, job_id))[-1][:2], (last, "failed"))


async def losses_are_counted_apart(store: Store) -> None:
    """An attempt that ends in order ends a row of losses; and what was spent otherwise is no loss."""
    reasons = (Reason.ERROR, Reason.SNOOZED, Reason.SHUTDOWN)
    for attempts in (CRASHES, None):
        (job_id,) = await kit.accept(store, kit.make(retry=Retry(attempts=attempts)))
        for reason in reasons:
            for lost in range(1, CRASHES):
                await kit.again(store, job_id, kit.DOOMED)
                await kit.swept(store)
                what = f"sweep, worker lost for the {lost}. time in a row, attempts={attempts}"
                await kit.expect_job(what, store, job_id, state=State.RETRYING, reason=Reason.WORKER_LOST)
            claim = await kit.again(store, job_id)
            await store.finish(job_id, claim.attempt, kit.retried(reason))
        await store.request_cancel(job_id, None)


async def a_cancelled_job_is_not_run_again(store: Store) -> None:
    """A lost worker's job whose cancellation was requested is CANCELLED, with the words of the request."""
    for crashes in (1, CRASHES):
        (job_id,) = await kit.accept(store, kit.make())
        for attempt in range(1, crashes + 1):
            await kit.again(store, job_id, kit.DOOMED)
            if attempt == crashes:
                await store.request_cancel(job_id, "tired")
            await kit.swept(store)
        over = {"state": State.CANCELLED, "reason": Reason.USER}
        job = await kit.expect_job("sweep after request_cancel", store, job_id, **over)
        said = "tired" in (job.message or "")
        kit.expect(f"the message of the request is in {job.message!r}", said, wanted=True)


async def however_many_leases_are_swept(store: Store) -> None:
    """One sweep takes back all that has lapsed, be it a thousand attempts, and nothing else."""
    await store.submit([kit.make(n) for n in range(kit.MANY)], kit.MANY, kit.DOOMED)
    held = [await kit.started(store) for _ in range(3)]
    await kit.swept(store)
    wanted = {State.RETRYING: kit.MANY, State.RUNNING: len(held)}
    kit.expect(f"sweep of {kit.MANY} lapsed leases, then count", await kit.counted(store), wanted)
    kit.expect("sweep, then get of the others", await kit.states(store, *held), [State.RUNNING] * 3)


async def a_lease_is_as_long_as_was_said(store: Store) -> None:
    """A lease is not cut to whole seconds: neither that of a claim, nor that of a submit or a heartbeat."""
    told = 0
    for seconds in kit.spans():
        worker, begin = Claimant("partly", seconds), trio.current_time()
        claimed = await kit.started(store, worker=worker)
        (submitted,), _ = await store.submit([kit.make()], 1, worker)
        renewed = await kit.started(store, worker=kit.DOOMED)
        await store.heartbeat({renewed: 1}, seconds)
        await store.sweep()
        states = await kit.states(store, claimed, submitted, renewed)
        if trio.current_time() - begin < seconds:
            kit.expect(f"sweep of leases of {seconds:g} s, then get", states, [State.RUNNING] * 3)
            told += 1
        await kit.lapse(seconds)
        await store.sweep()
        states = await kit.states(store, claimed, submitted, renewed)
        kit.expect("sweep, when they have lapsed, then get", states, [State.RETRYING] * 3)
        if told == 2:  # a part of a second apart, so that one of the two would be cut
            return
        for job_id in (claimed, submitted, renewed):
            await store.request_cancel(job_id, None)
