"""`remove` and `prune`: forgetting what has ended."""

from __future__ import annotations

from functools import partial

import trio

from ..._common.errors import IllegalTransition
from ..._common.states import State
from ..._model.job import Kind, Timeouts
from ...stores.contract import Store
from . import kit


async def a_removed_job_is_gone(store: Store) -> None:
    """A removed job, its log and its key are gone; other jobs stay."""
    (other,) = await kit.accept(store, kit.make(delay=kit.LONG))
    job_id = await kit.started(store, key="k")
    await store.append(job_id, 1, Kind.TOKEN, ["a"], 0)
    await store.finish(job_id, 1, kit.completed())
    await store.remove(job_id)
    await kit.expect_unknown("a removed job", store, job_id)
    kit.expect("remove, then find", await kit.found(store), [other])
    kit.expect("remove, then count", await kit.counted(store), {State.QUEUED: 1})
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
    fresh = {"state": State.QUEUED, "attempt": 0, "saved": None, "reason": None, "last_seq": 1}
    await kit.expect_job("remove, then submit", store, new.id, **fresh)


async def what_has_not_ended_is_not_removed(store: Store) -> None:
    """To remove a job that waits or runs is `IllegalTransition`, and changes nothing."""
    running, retrying = await kit.started(store), await kit.finished(store, kit.retried(delay=kit.LONG))
    (queued,) = await kit.accept(store, kit.make())
    states = {queued: State.QUEUED, running: State.RUNNING, retrying: State.RETRYING}
    for job_id, state in states.items():
        what, remove = f"remove of a {state.name} job", partial(store.remove, job_id)
        error = await kit.refused(what, IllegalTransition, kit.unchanged(what, store, job_id, remove))
        kit.expect(f"{what}: the state in its error", error.state, state)


async def prune_forgets_what_is_old(store: Store) -> None:
    """`prune` forgets the jobs that ended longer ago than it is told, no others, and says how many."""
    outcomes = (kit.completed(), kit.failed(), kit.completed())
    ended = [await kit.finished(store, how, key=str(n)) for n, how in enumerate(outcomes)]
    open_ones = {await kit.started(store), await kit.finished(store, kit.retried(delay=kit.LONG))}
    open_ones |= {*await kit.accept(store, kit.make())}
    await kit.lapse()
    kit.expect(f"prune of what ended {kit.LONG} s ago", await store.prune(kit.LONG), 0)
    kit.expect("prune, then find", {*await kit.found(store)}, {*open_ones, *ended})
    kit.expect("prune of all that ended", await store.prune(0.01), 3)
    kit.expect("prune, then find", {*await kit.found(store)}, open_ones)
    for number, job_id in enumerate(ended):
        await kit.expect_unknown("a pruned job", store, job_id)
        new = kit.make("new", key=str(number))
        kit.expect("submit under the key of a pruned job", await kit.accept(store, new), [new.id])
    kit.expect("prune again", await store.prune(0.0), 0)


async def prune_goes_by_the_end(store: Store) -> None:
    """What counts is when a job ended, not when it was submitted or started."""
    for seconds in kit.spans():
        job_id = await kit.started(store)
        await kit.lapse(seconds)
        begin = trio.current_time()
        await store.finish(job_id, 1, kit.completed())
        count = await store.prune(seconds)
        if trio.current_time() - begin < seconds:
            kit.expect("prune of a job that has just ended", count, 0)
            return
        await store.prune(0.0)


async def however_many_are_pruned(store: Store) -> None:
    """`prune` forgets all that is old, be it a thousand jobs, and says how many."""
    await kit.accept(store, *[kit.make(n, timeouts=Timeouts(queue=kit.BRIEF)) for n in range(kit.MANY)])
    await kit.swept(store)
    await kit.lapse()
    kit.expect(f"prune of {kit.MANY} jobs", await store.prune(0.01), kit.MANY)
    kit.expect("prune, then find", await kit.found(store), [])
