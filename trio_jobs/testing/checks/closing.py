"""`close`: closing a store ends every wait."""

from __future__ import annotations

import trio

from ..._common.states import Reason, State
from ..._model.job import Ended
from ...stores.contract import Store
from . import kit


async def close_ends_what_does_not_outlive_it(store: Store) -> None:
    """A store that is not durable ends its unfinished jobs, CANCELLED with the reason, and tells all."""
    if store.durable:
        return
    over, running = await kit.finished(store), await kit.started(store)
    (queued,) = await kit.accept(store, kit.make(delay=kit.LONG))
    found: list[object] = []

    async def wait(job_id: str) -> None:
        job = await kit.answered("ended, of a store that is closed,", store.ended(job_id))
        found.append((job.state, job.reason))

    async with trio.open_nursery() as nursery:
        for job_id in (running, queued):
            nursery.start_soon(wait, job_id)
        await kit.settled(store)
        store.close(Reason.SHUTDOWN)
    kit.expect("close, while two wait for an end", found, [(State.CANCELLED, Reason.SHUTDOWN)] * 2)
    for job_id in (running, queued):
        last = (await kit.words(store, job_id))[-1][1:]
        kit.expect("close, then read", last, ("cancelled", Ended(Reason.SHUTDOWN)))
    kit.expect("close, then get of an ended job", (await store.get(over)).state, State.COMPLETED)
    store.close(Reason.SHUTDOWN)


async def close_wakes_who_waits(store: Store) -> None:
    """In a store that is durable, `follow` and `ended` of an unfinished job raise `ClosedResourceError`."""
    if not store.durable:
        return
    running = await kit.started(store)
    (queued,) = await kit.accept(store, kit.make(delay=kit.LONG))
    waits: dict[str, kit.Act] = {
        "follow": lambda: store.follow(running, 2, 9),
        "follow of a job that waits": lambda: store.follow(queued, 1, 9),
        "ended": lambda: store.ended(running),
        "ended of a job that waits": lambda: store.ended(queued),
    }
    told: list[str] = []

    async def wait(name: str, verb: kit.Act) -> None:
        what = f"{name}, of a store that is closed,"
        await kit.refused(what, trio.ClosedResourceError, kit.answered(what, verb()))
        told.append(name)

    async with trio.open_nursery() as nursery:
        for name, verb in waits.items():
            nursery.start_soon(wait, name, verb)
        await kit.settled(store)
        store.close(Reason.SHUTDOWN)
    kit.expect("close wakes", sorted(told), sorted(waits))
