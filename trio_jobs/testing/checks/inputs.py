"""`send`, `end_inputs`, `inputs`, `listening`: what is said to a job. And the results of steps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from ..._common.errors import IllegalTransition, KeyConflict, LeaseLost
from ..._common.states import State
from ..._model.job import Kind, Step
from ...stores.contract import Store
from . import kit


async def send_adds_an_input_for_each_value(store: Store) -> None:
    """`send` adds an event for each value, in order, of the present attempt, and returns the last seq."""
    (job_id,) = await kit.accept(store, kit.make())
    kit.expect("send to a job that waits", await store.send(job_id, "a", [1]), 2)
    await kit.again(store, job_id)
    kit.expect("send of three", await store.send(job_id, "b", [{"b": [None]}, "[DONE]", 2]), 6)
    await store.finish(job_id, 1, kit.retried())
    kit.expect("send to a job that is to run again", await store.send(job_id, "c", [3]), 8)
    log = await kit.words(store, job_id)
    wanted = [(0, "input", 1), (1, "input", {"b": [None]}), (1, "input", "[DONE]"), (1, "input", 2)]
    kit.expect("send, then read", [one for one in log if one[1] == "input"], [*wanted, (1, "input", 3)])
    kit.expect("send, then get: unconsumed", (await store.get(job_id)).unconsumed, 5)
    kinds = [event.kind.value for event in await store.history(job_id)]
    kit.expect("send, then history", kinds, ["submitted", "started", "retried"])


async def inputs_are_read_by_cursor(store: Store) -> None:
    """`inputs` gives the inputs and their end behind a cursor, as `read` does, and no other events."""
    job_id = await kit.started(store)
    for number in range(4):
        await store.send(job_id, f"{number}", [number, -number])
        await store.append(job_id, 1, Kind.TOKEN, ["a", "b"], 2 * number)
    await store.end_inputs(job_id)
    wanted = [one for one in await kit.whole(store, job_id) if one.kind in {Kind.INPUT, Kind.INPUTS_ENDED}]
    kit.expect("inputs: how many", len(wanted), 9)
    for after, limit in ((0, kit.ALL), (0, 3), (3, 2), (4, 2), (15, 9), (18, 9)):
        behind = [event for event in wanted if event.seq > after][:limit]
        kit.expect(
            f"inputs with after={after}, limit={limit}", await store.inputs(job_id, after, limit), behind
        )


async def a_known_id_is_the_same_input(store: Store) -> None:
    """An id that the job knows adds nothing, whatever became of it; with other values it is `KeyConflict`."""
    job_id, other = await kit.started(store), await kit.started(store)
    seq = await store.send(job_id, "same", [1, {"two": 2}])

    async def repeat() -> None:
        kit.expect("send again", await store.send(job_id, "same", [1, {"two": 2}]), seq)
        for values in ([1], [1, {"two": 3}], [{"two": 2}, 1], [1, {"two": 2}, 3], [True, {"two": 2}]):
            what = f"send of {values} with the id of others"
            error = await kit.refused(what, KeyConflict, store.send(job_id, "same", values))
            kit.expect(f"KeyConflict of {what}", (error.key, error.job_id), ("same", job_id))

    await kit.unchanged("send with a known id", store, job_id, repeat)
    kit.expect("send with that id to another job", await store.send(other, "same", ["x"]), 3)
    await store.send(job_id, "i" * 256, [2])
    await store.end_inputs(job_id)
    await kit.unchanged("send with a known id, after the end of the inputs", store, job_id, repeat)
    await store.finish(job_id, 1, kit.failed())
    await kit.unchanged("send with a known id, to a job that has ended", store, job_id, repeat)


async def what_has_ended_takes_no_inputs(store: Store) -> None:
    """A job takes inputs until it has ended, or they have."""
    job_id, open_job = await kit.started(store), await kit.started(store)
    await store.finish(job_id, 1, kit.completed())
    await store.end_inputs(open_job)

    async def send() -> None:
        for one in (job_id, open_job):
            error = await kit.refused("send", IllegalTransition, store.send(one, "a", [1]))
            kit.expect("IllegalTransition of send: state", error.state, await kit.state_of(store, one))
        await kit.refused("end_inputs of an ended job", IllegalTransition, store.end_inputs(job_id))

    await kit.unchanged("send to a job that has ended", store, job_id, send)
    await kit.unchanged("send after the end of the inputs", store, open_job, send)


async def inputs_end_once(store: Store) -> None:
    """The end of the inputs is one event, whenever it is said again, and belongs to the history."""
    job_id = await kit.started(store)
    seq = await store.end_inputs(job_id)
    kit.expect("end_inputs", seq, 3)

    async def repeat() -> None:
        kit.expect("end_inputs again", await store.end_inputs(job_id), seq)

    await kit.unchanged("end_inputs again", store, job_id, repeat)
    kit.expect("end_inputs, then read", (await kit.words(store, job_id))[-1], (1, "inputs_ended", None))
    kit.expect("end_inputs, then history", (await store.history(job_id))[-1].kind, Kind.INPUTS_ENDED)
    kit.expect("end_inputs, then get: unconsumed", (await store.get(job_id)).unconsumed, 0)
    await store.finish(job_id, 1, kit.retried())
    await kit.again(store, job_id)
    await kit.unchanged("end_inputs again, in a later attempt", store, job_id, repeat)
    await store.finish(job_id, 2, kit.completed())
    await kit.unchanged("end_inputs again, of an ended job", store, job_id, repeat)


async def an_input_is_no_write_of_the_attempt(store: Store) -> None:
    """The offset of an attempt does not count inputs, so its writes can be repeated over them."""
    job_id = await kit.started(store)
    await store.append(job_id, 1, Kind.TOKEN, ["a"], 0)
    await store.send(job_id, "a", [1, 2])
    await store.append(job_id, 1, Kind.TOKEN, ["b"], 1)
    await store.end_inputs(job_id)
    kit.expect("append again, over inputs", await store.append(job_id, 1, Kind.TOKEN, ["a", "b"], 0), 7)
    kit.expect("append behind inputs", await store.append(job_id, 1, Kind.TOKEN, ["c"], 2), 8)
    tokens = [data for _, kind, data in await kit.words(store, job_id) if kind == "token"]
    kit.expect("append between inputs, then read", tokens, ["a", "b", "c"])
    kit.expect("finish behind inputs", await store.finish(job_id, 1, kit.completed()), State.COMPLETED)


async def saving_consumes(store: Store) -> None:
    """What `append` of saved says was received is consumed in the same step, and never given back."""
    job_id = await kit.started(store)
    await store.send(job_id, "a", ["a", "b", "c"])
    for offset, (received, left, greatest) in enumerate([(None, 3, None), (4, 1, 4), (3, 1, 4), (0, 1, 4)]):
        await store.append(job_id, 1, Kind.SAVED, [offset], offset, received=received)
        kit.expect(f"append with received={received}", (await store.get(job_id)).unconsumed, left)
        event = (await kit.whole(store, job_id))[-1]
        kit.expect(f"append with received={received}: event", event.received, greatest)
    await store.append(job_id, 1, Kind.SAVED, [1], 1, received=5)  # which has been written already
    kit.expect("append again, with more received", (await store.get(job_id)).unconsumed, 1)
    for attempt in (1, 2):
        await store.finish(job_id, attempt, attrs.evolve(kit.retried(), received=5))
        claim = await kit.again(store, job_id)
        kit.expect("claim after a save: consumed", (claim.consumed, claim.waited), (4, None))
    kit.expect("inputs behind what is consumed", await kit.inbox(store, job_id, 4), [(5, "c")])


async def completing_consumes(store: Store) -> None:
    """An attempt that completes consumes what it received; one that ends otherwise consumes nothing."""
    for outcome in (kit.completed(), kit.failed(), kit.cancelled(), kit.retried()):
        job_id = await kit.started(store)
        await store.send(job_id, "a", ["a", "b", "c"])
        await store.append(job_id, 1, Kind.SAVED, [1], 0, received=3)
        await store.finish(job_id, 1, attrs.evolve(outcome, received=4))
        how = outcome.transition
        left = (await store.get(job_id)).unconsumed
        kit.expect(f"finish ({how}) with one more received", left, 1 if how == "completed" else 2)
        kit.expect(f"finish ({how}): event", (await kit.whole(store, job_id))[-1].received, 4)


async def only_the_attempt_that_runs_consumes(store: Store) -> None:
    """Only the attempt that runs consumes what it received; one that was lost consumes nothing."""
    job_id = await kit.started(store, worker=kit.DOOMED)
    await store.send(job_id, "a", ["a", "b"])
    await kit.lapse()
    await store.sweep()
    lost = (await kit.whole(store, job_id))[-1]
    kit.expect(
        "sweep: what an attempt received is not known", (lost.kind, lost.received), (Kind.RETRIED, None)
    )
    claim = await kit.again(store, job_id)
    kit.expect("claim after a lost attempt: consumed", claim.consumed, 0)

    async def write() -> None:
        save = store.append(job_id, 1, Kind.SAVED, ["late"], 0, received=4)
        await kit.refused("append of saved by a lost attempt", LeaseLost, save)
        done = attrs.evolve(kit.completed(), received=4)
        await kit.refused("finish by a lost attempt", LeaseLost, store.finish(job_id, 1, done))

    await kit.unchanged("a write of a lost attempt", store, job_id, write)


async def inputs_of_children(store: Store) -> None:
    """A child has inputs of its own, and consumes them as every job does."""
    parent, child = await kit.started(store), kit.make()
    claim = await store.spawn(parent, 1, child, kit.HOLDER)
    kit.expect("spawn: consumed", claim.consumed, 0)
    seq = await store.send(child.id, "a", ["a"])
    kit.expect("send to a child, then inputs", await kit.inbox(store, child.id), [(seq, "a")])
    kit.expect("send to a child, then inputs of its parent", await kit.inbox(store, parent), [])
    await store.append(child.id, 1, Kind.SAVED, [1], 0, received=seq)
    kit.expect("a save of a child, then get", (await store.get(child.id)).unconsumed, 0)


async def what_was_sent_outlives_the_store(open_store: kit.Opener) -> None:
    """Inputs, their ids and what is consumed are there when the store is opened again, and a wait goes on."""
    async with open_store() as store:
        if not store.durable:
            return
        job_id = await kit.started(store)
        await store.send(job_id, "a", ["a", "b"])
        await store.append(job_id, 1, Kind.SAVED, [1], 0, received=3)
        await store.finish(job_id, 1, kit.awaiting(received=4))
        wanted = await store.inputs(job_id, 0, kit.ALL), await store.get(job_id)
    async with open_store() as store:
        kit.expect("reopening", (await store.inputs(job_id, 0, kit.ALL), await store.get(job_id)), wanted)
        kit.expect("reopening, then send again", await store.send(job_id, "a", ["a", "b"]), 4)
        kit.expect("reopening, then claim", await kit.claimed(store, 9), [])
        await store.send(job_id, "b", ["c"])
        claim = await kit.again(store, job_id)
        kit.expect("reopening, then send and claim", (claim.consumed, claim.waited), (3, "input"))


async def steps_are_kept(store: Store) -> None:
    """What a step gave is an event of the attempt, belongs to the history, and consumes nothing."""
    job_id = await kit.started(store)
    await store.send(job_id, "a", ["a"])
    steps = [Step("one", "digest", {"a": [1]}), Step("two", "", None)]
    kit.expect("append of steps", await store.append(job_id, 1, Kind.STEP, steps, 0), 5)
    kit.expect("append of steps again", await store.append(job_id, 1, Kind.STEP, steps, 0), 5)
    await store.finish(job_id, 1, kit.retried())
    await kit.again(store, job_id)
    kept = [event for event in await store.history(job_id) if event.kind is Kind.STEP]
    kit.expect("history: steps", [(event.attempt, event.data) for event in kept], [(1, one) for one in steps])
    job = await store.get(job_id)
    kit.expect("append of steps, then get: saved, unconsumed", (job.saved, job.unconsumed), (None, 1))


async def who_listens_hears_of_inputs(store: Store) -> None:
    """`listening` returns once a job has an input, or the end of them, behind its cursor; at once if so."""
    one, two = await kit.started(store), await kit.started(store)
    for job_id in (one, two):
        await store.append(job_id, 1, Kind.TOKEN, ["a"], 0)
    places = {one: 2, two: 2}

    async def listen() -> set[str]:
        return {*await store.listening(places)}

    acts: list[tuple[str, Callable[[], Awaitable[int]]]] = [
        (two, lambda: store.send(two, "a", [1])),
        (one, lambda: store.send(one, "a", [1, 2])),
        (two, lambda: store.end_inputs(two)),
    ]
    for job_id, act in acts:
        kit.expect("listening", await kit.woken("listening", store, listen, act), {job_id})
        kit.expect("listening, at once", await kit.answered("listening", listen()), {job_id})
        places[job_id] = (await store.inputs(job_id, 0, kit.ALL))[-1].seq
    await kit.woken("listening", store, listen, lambda: _end_and_remove(store, one))


async def _end_and_remove(store: Store, job_id: str) -> None:
    await store.finish(job_id, 1, kit.completed())
    await store.remove(job_id)


async def what_an_attempt_received_is_told(store: Store) -> None:
    """The end of an attempt says what it had received; what no attempt wrote says nothing of that."""
    job_id = await kit.started(store)
    await store.send(job_id, "a", ["a"])
    await store.append(job_id, 1, Kind.TOKEN, ["t"], 0)
    await store.finish(job_id, 1, attrs.evolve(kit.retried(), received=3))
    await store.request_cancel(job_id, None)
    wanted = [None, None, None, None, 3, None, None]
    found = await kit.whole(store, job_id)
    kit.expect("read: received, by event", [event.received for event in found], wanted)


async def values_sent_come_as_they_were(store: Store) -> None:
    """Whatever JSON can say comes back as it was sent, and is the same input again."""
    job_id = await kit.started(store)
    values: list[Any] = [None, True, 0, -1.5, 1e300, 2**53, "\u00e9\U0001f600\n", [[]], {"": {"a": [None]}}]
    seq = await store.send(job_id, "a", values)
    kit.expect("send, then inputs", [data for _, data in await kit.inbox(store, job_id)], values)
    kit.expect("send again", await store.send(job_id, "a", values), seq)
