"""Cancellation of the task that calls: a verb that writes happens or not, and can be called again."""

from __future__ import annotations

import trio

from ..._common.errors import LeaseLost
from ..._common.states import State
from ..._model.job import Kind
from ...stores.contract import Store, Where
from . import kit


async def _interrupted(verb: kit.Act) -> None:
    """Call a verb in a task that is cancelled already."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await verb()


async def an_interrupted_submit_is_whole(store: Store) -> None:
    """A batch whose submit was cancelled is there or not, and submitting it again gives it once."""
    batch = [kit.make(n) for n in range(5)]
    await _interrupted(lambda: store.submit(batch, 0, kit.HOLDER))
    found = len(await kit.found(store))
    kit.ensure("submit, cancelled, then find: all of the batch or none", holds=found in {0, 5}, came=found)
    kit.expect("submit again", await kit.accept(store, *batch), [one.id for one in batch])
    kit.expect("submit again, then find", len(await kit.found(store)), 5)


async def an_interrupted_append_is_whole(store: Store) -> None:
    """Values whose append was cancelled are there or not, and appending them again gives them once."""
    job_id = await kit.started(store)
    await _interrupted(lambda: store.append(job_id, 1, Kind.TOKEN, ["a", "b", "c"], 0))
    found = len(await kit.words(store, job_id)) - 2
    kit.ensure("append, cancelled, then read: all values or none", holds=found in {0, 3}, came=found)
    await store.append(job_id, 1, Kind.TOKEN, ["a", "b", "c", "d"], 0)
    tokens = [data for _, _, data in (await kit.words(store, job_id))[2:]]
    kit.expect("append again, then read", tokens, ["a", "b", "c", "d"])


async def an_interrupted_finish_is_whole(store: Store) -> None:
    """An outcome whose finish was cancelled is there with all that belongs to it, or not at all."""
    job_id = await kit.started(store)
    child = await kit.spawned(store, job_id)
    await _interrupted(lambda: store.finish(job_id, 1, kit.completed("done")))
    states = await kit.states(store, job_id, child)
    both = [[State.RUNNING, State.RUNNING], [State.COMPLETED, State.CANCELLED]]
    kit.ensure("finish, cancelled, then get of parent and child", holds=states in both, came=states)
    try:
        await store.finish(job_id, 1, kit.completed("done"))
    except LeaseLost:
        kit.expect("finish again is LeaseLost only if it had happened", states[0], State.COMPLETED)
    await kit.expect_job("finish again", store, job_id, state=State.COMPLETED, result="done")


async def the_store_works_on_after_an_interruption(store: Store) -> None:
    """Whatever was cut short, every verb works afterwards."""
    job_id = await kit.started(store)
    for verb in (
        lambda: store.claim(1, kit.HOLDER),
        lambda: store.heartbeat({job_id: 1}, 60),
        store.sweep,
        lambda: store.get(job_id),
        lambda: store.read(job_id, 0, kit.ALL),
        lambda: store.find(Where(), kit.ALL),
        lambda: store.follow(job_id, 2, 1),
        lambda: store.ended(job_id),
        store.due,
        store.overdue,
        lambda: store.cancelling({}),
        lambda: store.send(job_id, "cut short", [1]),
        lambda: store.inputs(job_id, 0, kit.ALL),
        lambda: store.end_inputs(job_id),
        lambda: store.listening({job_id: 4}),
    ):
        await _interrupted(verb)
    await store.append(job_id, 1, Kind.TOKEN, ["a"], 0)
    kit.expect("finish", await store.finish(job_id, 1, kit.completed()), State.COMPLETED)
    (other,) = await kit.accept(store, kit.make())
    kit.expect("claim", await kit.claimed(store, 9), [other])
