"""Stores that are durable: several connections to the same jobs. Others pass these checks at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import trio

from ..._common.states import Reason, State
from ..._model.job import Kind, Timeouts
from ...stores.contract import Store, Where
from ._kit import (
    ALL,
    BRIEF,
    DOOMED,
    HOLDER,
    LONG,
    Opener,
    accept,
    again,
    completed,
    expect,
    fenced,
    lapse,
    make,
    retried,
    soon,
    start,
    state_of,
    whole,
    woken,
)


async def connections_see_the_same(open_store: Opener) -> None:
    """What is written through one connection is there for the other at once."""
    async with open_store() as one, open_store() as other:
        if not one.durable:
            return
        job_id = (await start(one)).submission.id
        await one.append(job_id, 1, Kind.TOKEN, ["a"], 0)
        await other.append(job_id, 1, Kind.TOKEN, ["b"], 1)
        await other.request_cancel(job_id, "tired")
        answer = await one.heartbeat({job_id: 1}, LONG)
        expect("request_cancel elsewhere, then heartbeat", dict(answer.cancels), {job_id: 0.0})
        await one.finish(job_id, 1, completed())
        expect("get through two connections", await other.get(job_id), await one.get(job_id))
        expect("read through two connections", await whole(other, job_id), await whole(one, job_id))


async def connections_share_no_attempt(open_store: Opener) -> None:
    """Workers on different connections claim each job once between them."""
    async with open_store() as one, open_store() as other:
        if not one.durable:
            return
        ids = await accept(one, *[make(n) for n in range(20)])
        taken = list[str]()

        async def worker(store: Store) -> None:
            while claims := await store.claim(2, HOLDER):
                taken.extend(claim.submission.id for claim in claims)

        async with trio.open_nursery() as nursery:
            for store in (one, other, one, other):
                nursery.start_soon(worker, store)
        expect("claim, through two connections,", sorted(taken), sorted(ids))


async def the_fence_holds_for_all(open_store: Opener) -> None:
    """An attempt that was taken back through one connection can write through none."""
    async with open_store() as one, open_store() as other:
        if not one.durable:
            return
        job_id = (await start(one, worker=DOOMED)).submission.id
        await lapse()
        await other.sweep()
        await fenced(one, job_id, 1)
        await again(other, job_id)
        await fenced(one, job_id, 1)
        expect("finish", await other.finish(job_id, 2, completed()), State.COMPLETED)


async def keys_and_ids_are_shared(open_store: Opener) -> None:
    """A job that was submitted through one connection is known to the other, by id and by key."""
    async with open_store() as one, open_store() as other:
        if not one.durable:
            return
        plain, keyed, twin = make(1), make(2, key="k"), make(2, key="k")
        await accept(one, plain, keyed)
        expect("submit again, elsewhere", await accept(other, plain, twin), [plain.id, keyed.id])
        expect("submit again, elsewhere, then find", len(await one.find(Where(), ALL)), 2)


async def waits_hear_from_other_connections(open_store: Opener) -> None:
    """`follow` and `ended` return what was written through another connection."""
    async with open_store() as one, open_store() as other:
        if not one.durable:
            return
        job_id = (await start(one)).submission.id
        came = await woken(
            "follow, while another connection appends,",
            lambda: one.follow(job_id, 2, 9),
            lambda: other.append(job_id, 1, Kind.TOKEN, ["a"], 0),
        )
        expect("follow, while another connection appends", [event.data for event in came], ["a"])
        job = await woken(
            "ended, while another connection finishes,",
            lambda: one.ended(job_id),
            lambda: other.finish(job_id, 1, completed()),
        )
        expect("ended, while another connection finishes", job.state, State.COMPLETED)


async def hints_hear_from_other_connections(open_store: Opener) -> None:
    """`due` and `overdue` are not too late for what was written through another connection."""
    async with open_store() as one, open_store() as other:
        if not one.durable:
            return

        async def claim() -> bool:
            return bool(await one.claim(1, HOLDER))

        async def sweep() -> bool:
            await other.sweep()
            return State.RETRYING in await other.count(Where())

        acts: dict[str, Callable[[], Awaitable[object]]] = {
            "submits": lambda: accept(other, make()),
            "submits with a delay": lambda: accept(other, make(delay=BRIEF)),
        }
        for name, act in acts.items():
            what = f"due, while another connection {name},"
            await woken(what, partial(soon, what, one.due, claim), act)
        what = "overdue, while another connection claims,"
        await woken(what, lambda: soon(what, other.overdue, sweep), lambda: start(one, worker=DOOMED))
        (job_id,) = await accept(one, make(delay=LONG, timeouts=Timeouts(queue=LONG)))
        expect("submit, then get", await state_of(other, job_id), State.QUEUED)


async def closing_one_leaves_the_other(open_store: Opener) -> None:
    """A connection that is closed ends nothing: the other one, and who waits there, goes on."""
    async with open_store() as one, open_store() as other:
        if not one.durable:
            return
        job_id = (await start(one)).submission.id
        (queued,) = await accept(one, make(delay=LONG))

        async def close_and_finish() -> None:
            one.close(Reason.SHUTDOWN)
            expect("close elsewhere, then get", await state_of(other, job_id), State.RUNNING)
            expect("close elsewhere, then get", await state_of(other, queued), State.QUEUED)
            expect("close elsewhere, then finish", await other.finish(job_id, 1, retried()), State.RETRYING)
            await again(other, job_id)
            await other.finish(job_id, 2, completed("done"))

        job = await woken("ended, after close elsewhere,", lambda: other.ended(job_id), close_and_finish)
        expect("ended, after close elsewhere", (job.state, job.result), (State.COMPLETED, "done"))
