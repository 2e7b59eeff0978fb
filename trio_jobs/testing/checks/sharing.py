"""Stores that are durable: several connections to the same jobs. Others pass these checks at once."""

from __future__ import annotations

from functools import partial
from typing import Final

import trio

from ..._common.states import Reason, State
from ..._model.job import Kind, Timeouts
from ...stores.contract import Store
from . import kit

_TRIES: Final = 20
"""How often something is tried that depends on which of two tasks is first."""


async def connections_see_the_same(one: Store, other: Store) -> None:
    """What is written through one connection is there for the other at once."""
    job_id = await kit.started(one)
    await one.append(job_id, 1, Kind.TOKEN, ["a"], 0)
    await other.append(job_id, 1, Kind.TOKEN, ["b"], 1)
    await other.request_cancel(job_id, "tired")
    what = "request_cancel elsewhere, then heartbeat"
    await kit.expect_beat(what, one, {job_id: 1}, cancels={job_id: 0.0})
    await one.finish(job_id, 1, kit.completed())
    kit.expect("get through two connections", await other.get(job_id), await one.get(job_id))
    kit.expect("read through two connections", await kit.whole(other, job_id), await kit.whole(one, job_id))


async def connections_share_no_attempt(one: Store, other: Store) -> None:
    """Workers on different connections claim each job once between them."""
    await kit.expect_shared(one, other, one, other)


async def the_fence_holds_for_all(one: Store, other: Store) -> None:
    """An attempt that was reclaimed through one connection can write through none."""
    job_id = await kit.started(one, worker=kit.DOOMED)
    await kit.swept(other)
    await kit.fenced(one, job_id, 1)
    await kit.again(other, job_id)
    await kit.fenced(one, job_id, 1)
    kit.expect("finish", await other.finish(job_id, 2, kit.completed()), State.COMPLETED)


async def hints_hear_from_other_connections(one: Store, other: Store) -> None:
    """`due` and `overdue` are not too late for what was written through another connection."""

    async def claim() -> bool:
        return bool(await kit.claimed(one, 1))

    async def sweep() -> bool:
        await other.sweep()
        return State.RETRYING in await kit.counted(other)

    for delay in (0.0, kit.BRIEF):
        what = f"due, while another connection submits with a delay of {delay:g} s,"
        await kit.hinted(what, one, one.due, claim, partial(kit.accept, other, kit.make(delay=delay)))
    what = "overdue, while another connection claims,"
    await kit.hinted(what, other, other.overdue, sweep, lambda: kit.start(one, worker=kit.DOOMED))
    (job_id,) = await kit.accept(one, kit.make(delay=kit.LONG, timeouts=Timeouts(queue=kit.LONG)))
    kit.expect("submit, then get", await kit.state_of(other, job_id), State.QUEUED)


async def a_reader_that_is_ahead_keeps_none_behind(one: Store, other: Store) -> None:
    """`follow` goes on though a later cursor is followed through its connection when the event is written."""
    job_id = await kit.started(one)
    send, receive = trio.open_memory_channel[int](0)

    async def read() -> None:
        after = 2  # its start
        while True:
            for event in await other.follow(job_id, after, kit.ALL):
                after = event.seq
                await send.send(after)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for number in range(_TRIES):
            await one.append(job_id, 1, Kind.TOKEN, ["a"], number)
            nursery.start_soon(other.follow, job_id, number + 3, 1)
            what = "follow, while a later cursor is followed too"
            kit.expect(what, await kit.answered(what, receive.receive()), number + 3)
        nursery.cancel_scope.cancel()


async def closing_one_leaves_the_other(one: Store, other: Store) -> None:
    """A connection that is closed ends nothing: the other one, and who waits there, goes on."""
    job_id = await kit.started(one)
    (queued,) = await kit.accept(one, kit.make(delay=kit.LONG))

    async def close_and_finish() -> None:
        one.close(Reason.SHUTDOWN)
        states = await kit.states(other, job_id, queued)
        kit.expect("close elsewhere, then get", states, [State.RUNNING, State.QUEUED])
        await other.finish(job_id, 1, kit.retried())
        await kit.again(other, job_id)
        await other.finish(job_id, 2, kit.completed("done"))

    what = "ended, after close elsewhere"
    job = await kit.woken(what, other, lambda: other.ended(job_id), close_and_finish)
    kit.expect(what, (job.state, job.result), (State.COMPLETED, "done"))
