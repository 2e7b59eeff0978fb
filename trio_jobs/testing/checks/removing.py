"""`remove` and `prune`: forgetting what has ended."""

from __future__ import annotations

import trio

from ..._common.errors import IllegalTransition, LeaseLost, UnknownJob
from ..._common.states import State
from ..._model.job import Kind, Timeouts
from ...stores.contract import Where
from ._kit import (
    ALL,
    BRIEF,
    LONG,
    MANY,
    Opener,
    accept,
    again,
    completed,
    expect,
    failed,
    lapse,
    make,
    refused,
    retried,
    start,
    unchanged,
)


async def a_removed_job_is_gone(open_store: Opener) -> None:
    """A removed job, its log and its key are gone; other jobs stay."""
    async with open_store() as store:
        (other,) = await accept(store, make(delay=LONG))
        job_id = (await start(store, key="k")).submission.id
        await store.append(job_id, 1, Kind.TOKEN, ["a"], 0)
        await store.finish(job_id, 1, completed())
        await store.remove(job_id)
        await refused("get of a removed job", UnknownJob, store.get(job_id))
        await refused("read of a removed job", UnknownJob, store.read(job_id, 0, ALL))
        await refused("history of a removed job", UnknownJob, store.history(job_id))
        await refused("remove of a removed job", UnknownJob, store.remove(job_id))
        await refused("request_cancel of a removed job", UnknownJob, store.request_cancel(job_id, None))
        await refused("finish of a removed job", LeaseLost, store.finish(job_id, 1, completed()))
        lost = (await store.heartbeat({job_id: 1}, LONG)).lost
        expect("heartbeat of a removed job: lost", lost, frozenset({job_id}))
        expect("remove, then find", [job.id for job in await store.find(Where(), ALL)], [other])
        expect("remove, then count", dict(await store.count(Where())), {State.QUEUED: 1})
        new = make("something else", key="k")
        expect("submit under the key of a removed job", await accept(store, new), [new.id])


async def an_id_may_come_again_after_removal(open_store: Opener) -> None:
    """A removed job that is submitted again is a new job, with a log of its own."""
    async with open_store() as store:
        new = make()
        await accept(store, new)
        await again(store, new.id)
        await store.append(new.id, 1, Kind.SAVED, ["old"], 0)
        await store.finish(new.id, 1, failed())
        await store.remove(new.id)
        await accept(store, new)
        job = await store.get(new.id)
        came = job.state, job.attempt, job.saved, job.reason, job.last_seq
        expect("remove, then submit, then get", came, (State.QUEUED, 0, None, None, 1))


async def what_has_not_ended_is_not_removed(open_store: Opener) -> None:
    """To remove a job that waits or runs is `IllegalTransition`, and changes nothing."""
    async with open_store() as store:
        running = (await start(store)).submission.id
        retrying = (await start(store)).submission.id
        await store.finish(retrying, 1, retried(delay=LONG))
        (queued,) = await accept(store, make())
        states = {queued: State.QUEUED, running: State.RUNNING, retrying: State.RETRYING}
        for job_id, state in states.items():

            async def remove(job_id: str = job_id, state: State = state) -> None:
                error = await refused(
                    f"remove of a {state.name} job", IllegalTransition, store.remove(job_id)
                )
                expect("IllegalTransition of remove: state", error.state, state)

            await unchanged(f"remove of a {state.name} job", store, job_id, remove)


async def prune_forgets_what_is_old(open_store: Opener) -> None:
    """`prune` forgets the jobs that ended longer ago than it is told, no others, and says how many."""
    async with open_store() as store:
        ended = [(await start(store, n, key=str(n))).submission.id for n in range(3)]
        for job_id, outcome in zip(ended, (completed(), failed(), completed()), strict=True):
            await store.finish(job_id, 1, outcome)
        running = (await start(store)).submission.id
        retrying = (await start(store)).submission.id
        await store.finish(retrying, 1, retried(delay=LONG))
        (queued,) = await accept(store, make())
        await lapse()
        expect(f"prune of what ended {LONG} s ago", await store.prune(LONG), 0)
        expect("prune, then find", len(await store.find(Where(), ALL)), 6)
        expect("prune of all that ended", await store.prune(0.01), 3)
        found = {job.id for job in await store.find(Where(), ALL)}
        expect("prune, then find", found, {running, retrying, queued})
        for number, job_id in enumerate(ended):
            await refused("get of a pruned job", UnknownJob, store.get(job_id))
            new = make("new", key=str(number))
            expect("submit under the key of a pruned job", await accept(store, new), [new.id])
        expect("prune again", await store.prune(0.0), 0)


async def prune_goes_by_the_end(open_store: Opener) -> None:
    """What counts is when a job ended, not when it was submitted or started."""
    async with open_store() as store:
        job_id = (await start(store)).submission.id
        await lapse()
        begin = trio.current_time()
        await store.finish(job_id, 1, completed())
        count = await store.prune(BRIEF)
        if trio.current_time() - begin < BRIEF:  # otherwise this machine was too slow to tell
            expect("prune of a job that has just ended", count, 0)


async def however_many_are_pruned(open_store: Opener) -> None:
    """`prune` forgets all that is old, be it a thousand jobs, and says how many."""
    async with open_store() as store:
        await accept(store, *[make(n, timeouts=Timeouts(queue=BRIEF)) for n in range(MANY)])
        await lapse()
        await store.sweep()
        await lapse()
        expect(f"prune of {MANY} jobs", await store.prune(0.01), MANY)
        expect("prune, then find", [*await store.find(Where(), ALL)], [])
