"""Limits in the store in memory: places and leases, the hint `due`, and what a full queue is."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_jobs import Ended, Limit, QueueFull, Reason, State
from trio_jobs._common.states import Transition
from trio_jobs.stores import Claimant, Outcome, Submission, Where
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.testing.checks import kit

WORKER = Claimant("w", 10.0)
DONE = Outcome(Transition.COMPLETED)
GIVEN_BACK = Outcome(Transition.RETRIED, None, Ended(Reason.SHUTDOWN, delay=0.0), begun=False)


def make(key: str | None = None, **options: Any) -> Submission:
    """Return a submission of the handler `work`, under its limits."""
    new = kit.make(**options)
    return attrs.evolve(new, options=attrs.evolve(new.options, limit_key=key))


def other() -> Submission:
    """Return a submission of a handler without limits."""
    return kit.make(target=kit.other_work)


async def store_with(limit: Limit, **options: Any) -> MemoryStore:
    """Return a store in which `work` has a limit."""
    store = MemoryStore(**options)
    await store.limit(make().handler, {"it": limit})
    return store


async def claimed(store: MemoryStore, limit: int = 100) -> list[str]:
    """Claim, and return the ids."""
    return [claim.submission.id for claim in await store.claim(limit, WORKER)]


async def waits(store: MemoryStore) -> bool:
    """Return whether `due` waits."""
    with trio.CancelScope(deadline=-math.inf) as scope:
        await store.due()
    return scope.cancelled_caught


async def test_a_lapsed_lease_gives_its_place_back(autojump_clock: MockClock) -> None:
    """As long as no sweep has reclaimed the attempt it holds its place; then the job takes it again."""
    store = await store_with(Limit(at_once=1))
    new = [make(), make()]
    await store.submit(new, 0, WORKER)
    assert await claimed(store) == [new[0].id]
    await trio.sleep(11)
    assert await claimed(store) == []
    await store.sweep()
    assert len(await claimed(store)) == 1
    assert len(await claimed(store)) == 0


async def test_a_claim_that_is_given_back_costs_no_start(autojump_clock: MockClock) -> None:
    """Neither the place nor the start of the rate is used; an attempt that began has used its start."""
    store = await store_with(Limit(at_once=1, per_second=0.1))
    new = make()
    await store.submit([new], 0, WORKER)
    assert await claimed(store) == [new.id]
    await store.finish(new.id, 1, GIVEN_BACK)
    assert await claimed(store) == [new.id]
    await store.finish(new.id, 2, attrs.evolve(GIVEN_BACK, begun=True))
    assert await claimed(store) == []
    await trio.sleep(10)
    assert await claimed(store) == [new.id]


async def test_due_waits_for_what_a_claim_could_start(autojump_clock: MockClock) -> None:
    """It waits while places or the rate are used up, and returns when one is free, or a job without limits
    comes."""
    store = await store_with(Limit(at_once=1, per_second=0.1))
    new = [make(), make(), make(delay=25.0)]
    await store.submit(new, 1, WORKER)
    assert await waits(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.due)
        await trio.sleep(50)
        assert nursery.child_tasks
        await store.finish(new[0].id, 1, DONE)
    assert await claimed(store) == [new[1].id]
    await store.finish(new[1].id, 1, DONE)
    started = trio.current_time()
    await store.due()
    assert trio.current_time() - started == pytest.approx(10)
    assert await claimed(store) == [new[2].id]
    await store.submit([make()], 0, WORKER)
    assert await waits(store)
    await store.submit([free := other()], 0, WORKER)
    assert not await waits(store)
    assert await claimed(store) == [free.id]


async def test_a_new_job_overtakes_none_that_could_start() -> None:
    """A free slot goes to a job that waits under limits, if it can start, before a new one without."""
    store = await store_with(Limit(at_once=1))
    new, free = [make(), make()], [other() for _ in range(4)]

    async def submitted(one: Submission, limit: int) -> list[str]:
        _, claims = await store.submit([one], limit, WORKER)
        return [claim.submission.id for claim in claims]

    await store.submit(new, 0, WORKER)
    assert await submitted(free[0], 1) == [new[0].id]
    assert await submitted(free[1], 1) == [free[0].id]
    assert await submitted(free[2], 2) == [free[1].id, free[2].id]
    assert await submitted(free[3], 2) == [free[3].id], "the last of them is over its limit"


async def test_jobs_under_limits_count_for_the_queue() -> None:
    """What waits under limits takes room in the queue, and of a full one no slot makes more."""
    store = await store_with(Limit(at_once=1), queue_limit=2)
    await store.submit([make(), make()], 1, WORKER)
    await store.submit([other()], 0, WORKER)
    with pytest.raises(QueueFull):
        await store.submit([make()], 1, WORKER)
    (job,) = await store.find(Where({State.RUNNING}), 10)
    await store.finish(job.id, 1, DONE)
    with pytest.raises(QueueFull):
        await store.submit([other()], 3, WORKER)
    assert len(await claimed(store)) == 2


async def test_waits_for_inputs_are_not_counted(autojump_clock: MockClock) -> None:
    """A job that awaits an input takes no place, nor one of those that may wait, also once it has it."""
    store = await store_with(Limit(at_once=1, waiting=1))
    first, second, third = make(), make(), make()
    await store.submit([first], 1, WORKER)
    ended = Ended(Reason.AWAITING_INPUT, delay=100.0)
    await store.finish(first.id, 1, Outcome(Transition.RETRIED, ended=ended))
    await store.submit([second], 1, WORKER)
    await store.send(first.id, "1", ["go on"])
    await store.submit([third], 1, WORKER)
    with pytest.raises(QueueFull):
        await store.submit([make()], 1, WORKER)
    await store.finish(second.id, 1, DONE)
    assert await claimed(store) == [first.id]


async def test_limits_of_what_waits_and_runs_already(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Jobs that came before their handler had limits wait under them, and hold places; children do not.

    A change is logged.
    """
    store = MemoryStore()
    new, free = [make(), make(), make()], other()
    await store.submit([*new, free], 1, WORKER)
    await store.spawn(new[0].id, 1, make(), WORKER)
    await store.submit([cancelled := make()], 0, WORKER)
    await store.request_cancel(cancelled.id, None)
    await store.limit(make().handler, {"it": Limit(at_once=2)})
    assert set(await claimed(store)) == {new[1].id, free.id}
    await store.limit(make().handler, {"it": Limit(at_once=2)})
    assert not caplog.records
    with caplog.at_level("INFO", "trio_jobs"):
        await store.limit(make().handler, {"it": Limit(at_once=3)})
    assert "they were {'it': Limit(at_once=2" in caplog.text
    assert await claimed(store) == [new[2].id]


async def test_a_change_of_limits_wakes_workers() -> None:
    """A worker that waits for a place claims when the limit is raised."""
    store = await store_with(Limit(at_once=1))
    await store.submit([make(), make()], 1, WORKER)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.due)
        await wait_all_tasks_blocked()
        await store.limit(make().handler, {"it": Limit(at_once=2)})
    assert len(await claimed(store)) == 1
