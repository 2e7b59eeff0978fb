"""Cancellation of the task that calls: a verb that writes happens or not, and can be called again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from ..._common.errors import LeaseLost
from ..._common.states import State
from ..._model.job import Kind
from ...stores.contract import Where
from ._kit import ALL, HOLDER, Opener, accept, completed, ensure, expect, make, start, state_of, words


async def _interrupted(verb: Callable[[], Awaitable[object]]) -> None:
    """Call a verb in a task that is cancelled already."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await verb()


async def an_interrupted_submit_is_whole(open_store: Opener) -> None:
    """A batch whose submit was cancelled is there or not, and submitting it again gives it once."""
    async with open_store() as store:
        batch = [make(n) for n in range(5)]
        await _interrupted(lambda: store.submit(batch, 0, HOLDER))
        found = len(await store.find(Where(), ALL))
        ensure("submit, cancelled, then find: all of the batch or none", holds=found in {0, 5}, came=found)
        expect("submit again", await accept(store, *batch), [one.id for one in batch])
        expect("submit again, then find", len(await store.find(Where(), ALL)), 5)


async def an_interrupted_append_is_whole(open_store: Opener) -> None:
    """Values whose append was cancelled are there or not, and appending them again gives them once."""
    async with open_store() as store:
        job_id = (await start(store)).submission.id
        await _interrupted(lambda: store.append(job_id, 1, Kind.TOKEN, ["a", "b", "c"], 0))
        found = len(await words(store, job_id)) - 2
        ensure("append, cancelled, then read: all values or none", holds=found in {0, 3}, came=found)
        await store.append(job_id, 1, Kind.TOKEN, ["a", "b", "c", "d"], 0)
        tokens = [data for _, _, data in (await words(store, job_id))[2:]]
        expect("append again, then read", tokens, ["a", "b", "c", "d"])


async def an_interrupted_finish_is_whole(open_store: Opener) -> None:
    """An outcome whose finish was cancelled is there with all that belongs to it, or not at all."""
    async with open_store() as store:
        job_id = (await start(store)).submission.id
        child = make()
        await store.spawn(job_id, 1, child, HOLDER)
        await _interrupted(lambda: store.finish(job_id, 1, completed("done")))
        states = await state_of(store, job_id), await state_of(store, child.id)
        both = {(State.RUNNING, State.RUNNING), (State.COMPLETED, State.CANCELLED)}
        ensure("finish, cancelled, then get of parent and child", holds=states in both, came=states)
        try:
            await store.finish(job_id, 1, completed("done"))
        except LeaseLost:
            expect("finish again is LeaseLost only if it had happened", states[0], State.COMPLETED)
        job = await store.get(job_id)
        expect("finish again, then get", (job.state, job.result), (State.COMPLETED, "done"))


async def the_store_works_on_after_an_interruption(open_store: Opener) -> None:
    """Whatever was cut short, every verb works afterwards."""
    async with open_store() as store:
        job_id = (await start(store)).submission.id
        for verb in (
            lambda: store.claim(1, HOLDER),
            lambda: store.heartbeat({job_id: 1}, 60),
            store.sweep,
            lambda: store.get(job_id),
            lambda: store.read(job_id, 0, ALL),
            lambda: store.find(Where(), ALL),
            lambda: store.follow(job_id, 9, 1),
            lambda: store.ended(job_id),
            store.due,
            store.overdue,
            lambda: store.cancelling({}),
        ):
            await _interrupted(verb)
        await store.append(job_id, 1, Kind.TOKEN, ["a"], 0)
        expect("finish", await store.finish(job_id, 1, completed()), State.COMPLETED)
        (other,) = await accept(store, make())
        expect("claim", [claim.submission.id for claim in await store.claim(9, HOLDER)], [other])
