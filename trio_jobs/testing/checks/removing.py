"""`remove` and `prune`: forgetting what has ended."""

from __future__ import annotations

import trio

from ..._common.errors import IllegalTransition, LeaseLost, UnknownJob
from ..._common.states import State
from ..._model.job import Kind, Timeouts
from ...stores.contract import Store, Where
from . import kit


async def a_removed_job_is_gone(store: Store) -> None:
    """A removed job, its log and its key are gone; other jobs stay."""
    (other,) = await kit.accept(store, kit.make(delay=kit.LONG))
    job_id = await kit.started(store, key="k")
    await store.append(job_id, 1, Kind.TOKEN, ["a"], 0)
    await store.finish(job_id, 1, kit.completed())
    await store.remove(job_id)
    await kit.refused("get of a removed job", UnknownJob, store.get(job_id))
    await kit.refused("read of a removed job", UnknownJob, store.read(job_id, 0, kit.ALL))
    await kit.refused("history of a removed job", UnknownJob, store.history(job_id))
    await kit.refused("remove of a removed job", UnknownJob, store.remove(job_id))
    await kit.refused("request_cancel of a removed job", UnknownJob, store.request_cancel(job_id, None))
    await kit.refused("finish of a removed job", LeaseLost, store.finish(job_id, 1, kit.completed()))
    lost = (await store.heartbeat({job_id: 1}, kit.LONG)).lost
    kit.expect("heartbeat of a removed job: lost", lost, frozenset({job_id}))
    kit.expect("remove, then find", [job.id for job in await store.find(Where(), kit.ALL)], [other])
    kit.expect("remove, then count", dict(await store.count(Where())), {State.QUEUED: 1})
    new = kit.make("something else", key="k")
    kit.expect("submit under the key of a removed job", await kit.accept(store, new), [new.id])


async def an_id_may_come_again_after_removal(store: Store) -> None:
    """A removed job that is submitted again is a new job, with a log of its own."""
    new = kit.make()
    await kit.accept(store, new)
    await kit.again(store, new.id)
    await store.append(new.id, 1, Kind.SAVED, ["old"], 0)
    await store.finish(new.id, 1, kit.failed())
    await store.remove(new.id)
    await kit.accept(store, new)
    job = await store.get(new.id)
    came = job.state, job.attempt, job.saved, job.reason, job.last_seq
    kit.expect("remove, then submit, then get", came, (State.QUEUED, 0, None, None, 1))


async def what_has_not_ended_is_not_removed(store: Store) -> None:
    """To remove a job that waits or runs is `IllegalTransition`, and changes nothing."""
    running = await kit.started(store)
    retrying = await kit.started(store)
    await store.finish(retrying, 1, kit.retried(delay=kit.LONG))
    (queued,) = await kit.accept(store, kit.make())
    states = {queued: State.QUEUED, running: State.RUNNING, retrying: State.RETRYING}
    for job_id, state in states.items():

        async def remove(job_id: str = job_id, state: State = state) -> None:
            error = await kit.refused(
                f"remove of a {state.name} job", IllegalTransition, store.remove(job_id)
            )
            kit.expect("IllegalTransition of remove: state", error.state, state)

        await kit.unchanged(f"remove of a {state.name} job", store, job_id, remove)


async def prune_forgets_what_is_old(store: Store) -> None:
    """`prune` forgets the jobs that ended longer ago than it is told, no others, and says how many."""
    ended = [await kit.started(store, n, key=str(n)) for n in range(3)]
    for job_id, outcome in zip(ended, (kit.completed(), kit.failed(), kit.completed()), strict=True):
        await store.finish(job_id, 1, outcome)
    running = await kit.started(store)
    retrying = await kit.started(store)
    await store.finish(retrying, 1, kit.retried(delay=kit.LONG))
    (queued,) = await kit.accept(store, kit.make())
    await kit.lapse()
    kit.expect(f"prune of what ended {kit.LONG} s ago", await store.prune(kit.LONG), 0)
    kit.expect("prune, then find", len(await store.find(Where(), kit.ALL)), 6)
    kit.expect("prune of all that ended", await store.prune(0.01), 3)
    found = {job.id for job in await store.find(Where(), kit.ALL)}
    kit.expect("prune, then find", found, {running, retrying, queued})
    for number, job_id in enumerate(ended):
        await kit.refused("get of a pruned job", UnknownJob, store.get(job_id))
        new = kit.make("new", key=str(number))
        kit.expect("submit under the key of a pruned job", await kit.accept(store, new), [new.id])
    kit.expect("prune again", await store.prune(0.0), 0)


async def prune_goes_by_the_end(store: Store) -> None:
    """What counts is when a job ended, not when it was submitted or started."""
    job_id = await kit.started(store)
    await kit.lapse()
    begin = trio.current_time()
    await store.finish(job_id, 1, kit.completed())
    count = await store.prune(kit.BRIEF)
    if trio.current_time() - begin < kit.BRIEF:  # otherwise this machine was too slow to tell
        kit.expect("prune of a job that has just ended", count, 0)


async def however_many_are_pruned(store: Store) -> None:
    """`prune` forgets all that is old, be it a thousand jobs, and says how many."""
    await kit.accept(store, *[kit.make(n, timeouts=Timeouts(queue=kit.BRIEF)) for n in range(kit.MANY)])
    await kit.lapse()
    await store.sweep()
    await kit.lapse()
    kit.expect(f"prune of {kit.MANY} jobs", await store.prune(0.01), kit.MANY)
    kit.expect("prune, then find", [*await store.find(Where(), kit.ALL)], [])
