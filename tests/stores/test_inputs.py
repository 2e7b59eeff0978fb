"""What only the store in memory does with inputs; what every store does is in the checks of the contract."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_jobs import Ended, InboxFull, KeyConflict, Kind, Reason, Retention, State
from trio_jobs.stores import Claimant, Outcome, Transition
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.testing.checks import kit

pytestmark = pytest.mark.usefixtures("autojump_clock")

W = Claimant("w")
WAIT = Outcome(Transition.RETRIED, ended=Ended(Reason.AWAITING_INPUT, "for more", delay=inf))


async def test_objects_stay_as_they_are() -> None:
    """An input is the very object that was sent, and the same objects again are the same input."""
    store, value = MemoryStore(), object()
    job_id = await kit.started(store)
    assert await store.send(job_id, "one", [value]) == 3
    assert await store.send(job_id, "one", [value]) == 3
    (event,) = await store.inputs(job_id, 0, 10)
    assert event.data is value
    with pytest.raises(KeyConflict, match="id of another input"):
        await store.send(job_id, "one", [object()])


async def test_values_that_cannot_be_compared_are_not_the_same() -> None:
    """An id whose values cannot be compared with those of before belongs to others."""

    class Odd:
        def __eq__(self, other: object) -> bool:
            raise ArithmeticError

        __hash__ = object.__hash__

    store = MemoryStore()
    job_id = await kit.started(store)
    await store.send(job_id, "one", [Odd()])
    with pytest.raises(KeyConflict):
        await store.send(job_id, "one", [Odd()])


async def test_ids_go_with_their_inputs() -> None:
    """The store keeps an id as long as one of its inputs is in the log, and not for ever."""
    store = MemoryStore(retention=Retention(events=8))
    job_id = await kit.started(store)
    row = store._rows[job_id]
    for n in range(50):
        seq = await store.send(job_id, f"{n}", [n])
        await store.append(job_id, 1, Kind.SAVED, [n], n, received=seq)
        known = {event.data for event in await store.inputs(job_id, 0, 100)}
        assert {*row.log.inputs.ids} == {f"{n}" for n in known}
        assert len(known) <= 5
    assert await store.send(job_id, "0", [0]) == row.log.last_seq  # a new one


async def test_a_job_without_inputs_has_no_account_of_them() -> None:
    """Jobs that use no inputs share one account, which nothing changes."""
    store = MemoryStore()
    one, other = await kit.started(store), await kit.started(store)
    await store.append(one, 1, Kind.SAVED, ["s"], 0, received=0)
    await store.finish(one, 1, WAIT)
    await store.request_cancel(one, None)
    await store.finish(other, 1, kit.completed())
    none = store.log(one).inputs
    assert none is store.log(other).inputs
    assert (none.last, none.seqs, none.ids, none.weights, none.consumed) == (0, [], {}, {}, 0)


async def test_listening_to_a_log() -> None:
    """A task that listens to a log is woken by an input, by the end of them, and by no other event."""
    store = MemoryStore()
    job_id = await kit.started(store)
    log, heard = store.log(job_id), list[Any]()

    async def listen() -> None:
        for _ in range(3):
            await log.listen()
            heard.append([event.kind for event in log.read_inputs(0, 10)])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await wait_all_tasks_blocked()
        await store.append(job_id, 1, Kind.TOKEN, ["t"], 0)
        await wait_all_tasks_blocked()
        assert heard == []
        await store.send(job_id, "one", [1, 2])
        await wait_all_tasks_blocked()
        assert heard == [[Kind.INPUT, Kind.INPUT]]
        await store.end_inputs(job_id)
        await wait_all_tasks_blocked()
        assert heard[1:] == [[Kind.INPUT, Kind.INPUT, Kind.INPUTS_ENDED]]
        await store.finish(job_id, 1, kit.completed())
        await store.remove(job_id)


async def test_a_box_of_any_depth_is_full_at_its_bound() -> None:
    """The bound counts what is not consumed, received or not; what was received in place is told apart."""
    store = MemoryStore(retention=Retention(inputs=3))
    job_id = await kit.started(store)
    seq = await store.send(job_id, "one", [1, 2])
    store.log(job_id).inputs.received = seq
    with pytest.raises(InboxFull) as caught:
        await store.send(job_id, "two", [3, 4])
    assert (caught.value.unconsumed, caught.value.received, caught.value.limit) == (2, 2, "3")
    await store.append(job_id, 1, Kind.SAVED, [0], 0, received=seq)
    assert (await store.get(job_id)).unconsumed == 0
    await store.send(job_id, "two", [3, 4])


async def test_a_job_that_waits_is_in_no_way() -> None:
    """Where all that waits awaits an input, a new job starts at once, and the queue has room."""
    store = MemoryStore(queue_limit=1)
    ids = [await kit.started(store) for _ in range(3)]
    for job_id in ids:
        await store.finish(job_id, 1, WAIT)
    assert (await store.get(ids[0])).next_attempt_at is None
    new = kit.make()
    _, claims = await store.submit([new], 1, W)
    assert [claim.submission.id for claim in claims] == [new.id]
    await kit.accept(store, kit.make())
    await store.send(ids[1], "one", [1])
    assert (await store.get(ids[1])).state is State.RETRYING
    assert [claim.waited for claim in await store.claim(2, W)] == [None, "input"]
