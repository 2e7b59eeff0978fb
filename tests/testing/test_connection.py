"""A connection to a shared store that can be severed, and its faults."""

from __future__ import annotations

from random import Random
from typing import Any
from uuid import uuid4

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.inside import rows_of
from trio_jobs import Event, JobContext, Kind, Reason, open_registry
from trio_jobs.stores import Claimant, StoreUnavailable, Submission
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.stores.submission import submission
from trio_jobs.testing import Connection, History, Trace
from trio_jobs.testing._faults import FAULTS, Faults, FaultyConnection

W = Claimant("w", 10)


async def nothing(job: JobContext[Any]) -> None:
    pass


def new() -> Submission:
    return submission(nothing, (), {})


def faulty(store: MemoryStore, *kinds: str, seed: int = 0) -> FaultyConnection:
    faults = Faults(Random(seed), frozenset(kinds), lease=10.0)
    return FaultyConnection(store, "node", faults, Trace(seed), History(cut=set()))


async def test_nothing_passes_a_severed_connection() -> None:
    """After `sever`, every verb is refused, and the store does not change."""
    store = MemoryStore()
    connection = Connection(store)
    (job_id,), (claim,) = await connection.submit([new()], 1, W)
    before = await store.get(job_id)
    connection.sever()
    for refused in (
        connection.submit([new()], 1, W),
        connection.claim(1, W),
        connection.append(job_id, 1, Kind.TOKEN, ["late"], 0),
        connection.request_cancel(job_id, None),
        connection.heartbeat({job_id: claim.attempt}, 10),
        connection.get(job_id),
        connection.follow(job_id, 0, 1),
        connection.ended(job_id),
        connection.due(),
    ):
        with pytest.raises(StoreUnavailable):
            await refused
    assert await store.get(job_id) == before


@pytest.mark.parametrize(("how", "error"), [("sever", StoreUnavailable), ("close", trio.ClosedResourceError)])
async def test_those_who_wait_are_told(how: str, error: type[Exception]) -> None:
    """Severing or closing a connection wakes all its waiting tasks, and those of no other."""
    store = MemoryStore()
    one, other = Connection(store), Connection(store)
    (job_id,), _ = await store.submit([new()], 1, W)
    told: list[str] = []

    async def wait(verb: Any) -> None:
        with pytest.raises(error):
            await verb()
        told.append("told")

    async with trio.open_nursery() as nursery:
        for verb in (one.due, one.overdue, lambda: one.ended(job_id), lambda: one.follow(job_id, 2, 9)):
            nursery.start_soon(wait, verb)
        nursery.start_soon(other.ended, job_id)
        await wait_all_tasks_blocked()
        one.sever() if how == "sever" else one.close(Reason.SHUTDOWN)
        await wait_all_tasks_blocked()
        assert len(told) == 4
        nursery.cancel_scope.cancel()


async def test_a_wait_on_a_connection_can_be_cancelled() -> None:
    """Cancelling a wait raises Cancelled, and does not break the connection."""
    connection = Connection(MemoryStore())
    with trio.move_on_after(0) as scope:
        await connection.due()
    assert scope.cancelled_caught
    assert await connection.claim(1, W) == []


@pytest.mark.parametrize(("kind", "accepted"), [("refused", False), ("unheard", True)])
async def test_a_call_may_fail_before_or_after(autojump_clock: MockClock, kind: str, accepted: bool) -> None:
    """A `refused` call has no effect; an `unheard` one has its effect, and fails."""
    store = MemoryStore()
    connection = faulty(store, kind)
    failed = 0
    for _ in range(100):
        batch = [Submission(uuid4().hex, "nothing", nothing, (), new().options)]
        try:
            await connection.submit(batch, 0, W)
        except StoreUnavailable:
            failed += 1
            assert (batch[0].id in rows_of(store)) is accepted
    assert 0 < failed < 50


async def test_reads_may_be_old_but_not_older_than_before(autojump_clock: MockClock) -> None:
    """With `stale`, a read may end early, but never before what the same side has read; it has no gap."""
    store = MemoryStore()
    (job_id,), _ = await store.submit([new()], 1, W)
    connection = faulty(store, "stale")
    seen, short = 0, 0
    for offset in range(60):
        await store.append(job_id, 1, Kind.TOKEN, [offset], offset)
        events: list[Event] = await connection.read(job_id, 0, 1000)
        assert [event.seq for event in events] == [*range(1, len(events) + 1)]
        assert len(events) >= seen
        short += len(events) < offset + 3
        seen = len(events)
        followed = await connection.follow(job_id, 0, 1000)
        assert followed
        seen = max(seen, len(followed))
    assert short


async def test_a_lost_wake_up_costs_time_only(autojump_clock: MockClock) -> None:
    """With `deaf`, `late` and `early`, a reader still gets all events in order, and the end."""
    store = MemoryStore()
    connection = faulty(store, "deaf", "late", "early", seed=3)

    async def count(job: JobContext[int]) -> None:
        for number in range(30):
            await job.send(number)
            await trio.sleep(1)

    async with open_registry(connection, lease=10) as jobs:
        handle = await jobs.submit(count)
        async with handle.stream() as numbers:
            assert [number async for number in numbers] == [*range(30)]


async def test_a_frozen_connection_answers_later(autojump_clock: MockClock) -> None:
    """A call of a frozen connection is carried out when it thaws."""
    store = MemoryStore()
    connection = faulty(store)
    connection.freeze(50)
    await connection.submit([new()], 0, W)
    assert trio.current_time() >= 50


def test_faults_stop() -> None:
    """When faults are off, none happens."""
    faults = Faults(Random(0), frozenset(FAULTS), lease=1)
    assert any(faults.strikes("deaf") for _ in range(100))
    faults.on = False
    assert not any(faults.strikes("deaf") for _ in range(100))
