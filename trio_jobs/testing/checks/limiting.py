"""Limits: how much may wait, and what is kept. These need a store with narrow limits; see `check_store`."""

from __future__ import annotations

import math
from functools import partial

import attrs
import trio

from ..._common.errors import IllegalTransition, InboxFull, InvalidPayload, QueueFull
from ..._common.states import Reason, State
from ..._model.job import SNOOZES, Kind, Progress, Step
from ..._model.limits import Limit
from ..._model.schedule import Schedule
from ...stores.contract import Store
from . import kit
from .limits import Limited
from .scheduling import Keeper


async def a_full_queue_accepts_nothing(store: Store) -> None:
    """A batch for which there is no room is `QueueFull`, whole, and changes nothing."""
    await kit.accept(store, *[kit.make(n) for n in range(kit.QUEUE_LIMIT - 1)])
    batch = [kit.make("a", key="k"), kit.make("b")]
    error = await kit.rejected("submit of two, with room for one", QueueFull, store, *batch)
    kit.expect("QueueFull of submit: limit", error.limit, kit.QUEUE_LIMIT)
    kit.expect("QueueFull, then find", len(await kit.found(store)), kit.QUEUE_LIMIT - 1)
    last = kit.make("other", key="k")
    kit.expect("submit of one, with room for one", await kit.accept(store, last), [last.id])
    await kit.rejected("submit to a full queue", QueueFull, store, kit.make())


async def what_waits_counts_and_nothing_else(store: Store) -> None:
    """Jobs that run or have ended take no room; those that are delayed or wait to run again do."""
    running = [await kit.started(store, n) for n in range(kit.QUEUE_LIMIT + 1)]
    await store.finish(running[0], 1, kit.completed())
    await store.finish(running[1], 1, kit.retried(delay=kit.LONG))
    await kit.accept(store, *[kit.make(n, delay=kit.LONG) for n in range(kit.QUEUE_LIMIT - 1)])
    await kit.rejected("submit to a full queue", QueueFull, store, kit.make())
    await store.request_cancel(running[1], None)
    (new,) = await kit.accept(store, kit.make())  # a cancel made room
    await kit.again(store, new)
    await kit.accept(store, kit.make())  # a claim made room


async def a_job_that_starts_at_once_needs_no_room(store: Store) -> None:
    """What `submit` claims in the same step does not have to wait."""
    batch = [kit.make(n) for n in range(kit.QUEUE_LIMIT + 2)]
    ids, claims = await store.submit(batch, 2, kit.HOLDER)
    came = len(ids), len(claims)
    kit.expect("submit of more than may wait, claiming two", came, (kit.QUEUE_LIMIT + 2, 2))


async def a_woken_job_makes_no_room(store: Store) -> None:
    """A job that an input woke takes the slot that a new one would have, and that one then has to wait."""
    woken = await kit.started(store)
    await store.finish(woken, 1, kit.awaiting())
    await kit.accept(store, *[kit.make(n, delay=kit.LONG) for n in range(kit.QUEUE_LIMIT)])
    await store.send(woken, "a", [1])
    submit = store.submit([kit.make()], 1, kit.HOLDER)
    await kit.refused("submit to a full queue, with a slot for a job that was woken", QueueFull, submit)
    await kit.again(store, woken)


async def what_awaited_an_input_leaves_its_room(limited: Limited) -> None:
    """Under a limit, too, a job that waits for an input takes no room, nor after it was cancelled."""
    await limited.limit(kit.work.__name__, {"it": Limit(at_once=1)})
    for _ in range(2):
        job_id = await kit.started(limited)
        await limited.finish(job_id, 1, kit.awaiting())
        await limited.request_cancel(job_id, None)
    await kit.accept(limited, *[kit.make(n) for n in range(kit.QUEUE_LIMIT)])
    await kit.rejected("submit to a full queue", QueueFull, limited, kit.make())


async def what_is_known_needs_no_room(store: Store) -> None:
    """A known id, or a key that is held, is answered although the queue is full."""
    batch = [kit.make(n, key=str(n)) for n in range(kit.QUEUE_LIMIT)]
    await kit.accept(store, *batch)
    kit.expect("submit of known ids", await kit.accept(store, *batch), [one.id for one in batch])
    twins = [kit.make(n, key=str(n)) for n in range(kit.QUEUE_LIMIT)]
    kit.expect("submit of known keys", await kit.accept(store, *twins), [one.id for one in batch])


async def old_tokens_go_first(store: Store) -> None:
    """Of tokens and progress the newest are kept; what is gone shows as a gap in seq, which counts on."""
    job_id = await kit.started(store)
    for offset in range(20):
        kind, value = (Kind.TOKEN, offset) if offset % 3 else (Kind.PROGRESS, Progress(offset))
        newest = await store.append(job_id, 1, kind, [value], offset)
        kit.expect("append, beyond the limit,", newest, offset + 3)
    await kit.expect_job("append, beyond the limit", store, job_id, last_seq=22)
    log = await kit.whole(store, job_id)
    kept = [event.seq for event in log if event.kind in {Kind.TOKEN, Kind.PROGRESS}]
    what = f"read: the newest tokens and progress, at most {kit.RETENTION.events}"
    ok = 0 < len(kept) <= kit.RETENTION.events and kept == [*range(kept[0], 23)] if kept else False
    kit.ensure(what, holds=ok, came=kept)
    kit.expect("read: history is not trimmed", [event.seq for event in log][:2], [1, 2])
    for after in (0, 1, 2, 5, kept[0] - 1, kept[0], 22):
        wanted = [event for event in log if event.seq > after]
        kit.expect(f"read with after={after}", await store.read(job_id, after, 3), wanted[:3])


async def history_is_never_dropped(store: Store) -> None:
    """However many tokens a job sends, its history stays: starts, the last saved value, retries, its end."""
    job_id = await kit.started(store)
    for attempt in (1, 2):
        await store.append(job_id, attempt, Kind.SAVED, [attempt], 0)
        for offset in range(1, 41, 4):
            await store.append(job_id, attempt, Kind.TOKEN, ["a", "b", "c", "d"], offset)
        await store.finish(job_id, attempt, kit.retried() if attempt == 1 else kit.completed())
        if attempt == 1:
            await kit.again(store, job_id)
    kinds = [event.kind.value for event in await store.history(job_id)]
    wanted = ["submitted", "started", "retried", "started", "saved", "completed"]
    if kinds.count("saved") > 1:  # that of the first attempt may go, and need not
        wanted.insert(2, "saved")
    kit.expect("history, after 80 tokens,", kinds, wanted)
    saved = [one for one in await kit.words(store, job_id) if one[1] == "saved"]
    kit.expect("read, after 80 tokens: the last saved value", saved[-1], (2, "saved", 2))
    seqs = [event.seq for event in await kit.whole(store, job_id)]
    kit.expect("read, after 80 tokens: seq", seqs, sorted(set(seqs)))


async def saved_values_are_bounded(store: Store) -> None:
    """However often a job saves, no more of that is kept than of tokens, but always what it saved last."""
    job_id = await kit.started(store)
    for number in range(5 * kit.RETENTION.events):
        await store.append(job_id, 1, Kind.SAVED, [f"{number} {'x' * 40}"], number)
    kept = [event for event in await store.history(job_id) if event.kind is Kind.SAVED]
    what = f"history, after many saves: {kit.RETENTION.events} saved values and the last one, at most"
    kit.ensure(what, holds=len(kept) <= kit.RETENTION.events + 1, came=len(kept))
    last = (await store.get(job_id)).saved
    kit.expect("history, after many saves: the last one", kept[-1].data, last)
    for number in range(2 * kit.RETENTION.events):
        await store.append(job_id, 1, Kind.TOKEN, [number], 5 * kit.RETENTION.events + number)
    kept = [event for event in await store.history(job_id) if event.kind is Kind.SAVED]
    kit.expect("history, after as many tokens: saved values", [event.data for event in kept], [last])


async def snoozes_are_bounded(store: Store) -> None:
    """However often a job snoozes, the newest hundred stay, with the starts behind them, or some more."""
    job_id = await kit.started(store)
    for attempt in range(1, 301):
        await store.finish(job_id, attempt, kit.retried(Reason.SNOOZED))
        await kit.again(store, job_id)
    await _few_are_left("snoozes", store, job_id)


async def _few_are_left(what: str, store: Store, job_id: str) -> None:
    """Check what is left of a job's history that has snoozed or waited 300 times."""
    history = [event for event in await store.history(job_id) if event.kind is not Kind.SAVED]
    kinds = [event.kind.value for event in history]
    pairs, after = kinds.count("retried"), f"history, after 300 {what}"
    few = SNOOZES <= pairs <= 1.25 * SNOOZES
    kit.ensure(f"{after}: the newest 100 to 125", holds=few, came=pairs)
    kit.expect(after, kinds, ["submitted", "started", *["retried", "started"] * pairs])
    ends = [(one.attempt, one.data.repeats) for one in history if one.kind is Kind.RETRIED]
    wanted = [(attempt, attempt - 1) for attempt in range(301 - pairs, 301)]
    kit.expect(f"{after}: attempts and repeats", ends, wanted)


async def a_burst_beyond_the_limit_is_accepted(store: Store) -> None:
    """Repeating an append still works when its first values were trimmed meanwhile."""
    job_id = await kit.started(store)
    append = partial(store.append, job_id, 1, Kind.TOKEN, [*range(30)], 0)
    kit.expect("append of 30 tokens", await append(), 32)
    what = "append of 30 tokens again"
    kit.expect(what, await kit.unchanged(what, store, job_id, append), 32)


async def a_token_too_large_is_refused(store: Store) -> None:
    """A token over `Retention.token_bytes` is `InvalidPayload`, and nothing of the call is written."""
    job_id = await kit.started(store)
    values = ["small", "x" * (10 * kit.RETENTION.token_bytes)]
    what, send = "append of a token too large", partial(store.append, job_id, 1, Kind.TOKEN, values, 0)
    await kit.refused(what, InvalidPayload, kit.unchanged(what, store, job_id, send))
    kit.expect("append of a small token", await store.append(job_id, 1, Kind.TOKEN, ["small"], 0), 3)


async def only_so_many_ended_jobs_are_kept(store: Store) -> None:
    """Of the jobs that have ended the last ones are kept; those that have not are not counted."""
    (waiting,) = await kit.accept(store, kit.make(delay=kit.LONG))
    ids = [await kit.finished(store, key=str(number)) for number in range(kit.RETENTION.finished + 2)]
    kit.expect("finish of many jobs, then find", {*await kit.found(store)}, {waiting, *ids[2:]})
    for job_id in ids[:2]:
        await kit.expect_unknown("a job that is kept no longer", store, job_id)
    new = kit.make("new", key="0")
    kit.expect("submit under the key of a job that is kept no longer", await kit.accept(store, new), [new.id])


async def a_sweep_says_what_is_kept_no_longer(store: Store) -> None:
    """A sweep says which attempts it has reclaimed also of the jobs that ended by it and are not kept."""
    ids = [await kit.started(store, worker=kit.DOOMED) for _ in range(kit.RETENTION.finished + 2)]
    for job_id in ids:
        await store.request_cancel(job_id, None)
    await kit.lapse()
    came = sorted(lost.job_id for lost in await store.sweep())
    kit.expect("sweep of more attempts than jobs are kept", came, sorted(ids))


async def the_queue_fills_up_at_once(store: Store) -> None:
    """Of submits at the same time as many are accepted as may wait, and no more."""
    refusals = list[QueueFull]()

    async def submit() -> None:
        try:
            await kit.accept(store, kit.make())
        except QueueFull as error:
            refusals.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(kit.QUEUE_LIMIT + 3):
            nursery.start_soon(submit)
    came, wanted = (await kit.counted(store), len(refusals)), ({State.QUEUED: kit.QUEUE_LIMIT}, 3)
    kit.expect("submit, many at once: what waits and how many were refused", came, wanted)


async def the_inbox_is_full_at_its_bound(store: Store) -> None:
    """So many inputs may be there that no save covers; one more is `InboxFull`, and writes nothing."""
    job_id = await kit.started(store)
    most = kit.RETENTION.inputs
    await store.send(job_id, "a", [*range(most - 1)])

    async def send() -> None:
        error = await kit.refused(
            "send of two, with room for one", InboxFull, store.send(job_id, "b", [1, 2])
        )
        kit.expect("InboxFull: unconsumed, limit", (error.unconsumed, error.limit), (most - 1, f"{most}"))

    await kit.unchanged("send to a full inbox", store, job_id, send)
    kit.expect("send of one, with room for one", await store.send(job_id, "b", [1]), most + 2)
    kit.expect("send again to a full inbox", await store.send(job_id, "b", [1]), most + 2)
    await kit.refused("send to a full inbox", InboxFull, store.send(job_id, "c", [1]))
    await store.append(job_id, 1, Kind.SAVED, [1], 0, received=3)
    kit.expect("send after a save made room", await store.send(job_id, "c", [1]), most + 4)
    await kit.refused("send to a full inbox", InboxFull, store.send(job_id, "d", [1]))
    kit.expect("end_inputs at a full inbox", await store.end_inputs(job_id), most + 5)
    await store.finish(job_id, 1, attrs.evolve(kit.retried(), received=4))
    await kit.refused("send after the end", IllegalTransition, store.send(job_id, "d", [1]))


async def an_inbox_is_bounded_in_bytes(store: Store) -> None:
    """Inputs that no save covers may not be too large together, nor may one alone."""
    job_id = await kit.started(store)
    part = "x" * (kit.RETENTION.input_bytes // 3 - 200)
    await store.send(job_id, "a", [part, part, part])
    await kit.refused("send of too much", InboxFull, store.send(job_id, "b", [part]))
    await store.append(job_id, 1, Kind.SAVED, [1], 0, received=3)
    await store.send(job_id, "b", [part])
    large = "x" * (2 * kit.RETENTION.token_bytes)
    for values in ([large], ["small", large]):
        await kit.refused("send of a value too large", InvalidPayload, store.send(job_id, "c", values))
    kit.expect("send of too much, then get", (await store.get(job_id)).unconsumed, 3)


async def consumed_inputs_are_trimmed(store: Store) -> None:
    """Consumed inputs go with the tokens, the oldest first; what no save covers stays and makes none go."""
    job_id, offset = await kit.started(store), 0
    for number in range(5 * kit.RETENTION.events):
        seq = await store.send(job_id, f"{number}", [number])
        await store.append(job_id, 1, Kind.SAVED, [number], offset, received=seq)
        offset += 1
    kept = [event for event in await kit.whole(store, job_id) if event.kind in {Kind.INPUT, Kind.SAVED}]
    what = "read: consumed inputs and saved values"
    kit.ensure(what, holds=1 < len(kept) <= kit.RETENTION.events + 1, came=len(kept))
    seqs = [event.seq for event in kept]
    kit.expect(f"{what}: seq", seqs, [*range(seqs[0], seqs[0] + len(seqs))])
    found = await store.inputs(job_id, 0, kit.ALL)
    kit.expect("inputs, after trimming", found, [event for event in kept if event.kind is Kind.INPUT])

    seq = await store.send(job_id, "stays", ["a", "b"])
    for _ in range(5 * kit.RETENTION.events):
        await store.append(job_id, 1, Kind.TOKEN, ["t"], offset)
        offset += 1
    kit.expect("inputs, after many tokens", await kit.inbox(store, job_id), [(seq - 1, "a"), (seq, "b")])
    tokens = sum(event.kind is Kind.TOKEN for event in await kit.whole(store, job_id))
    kit.ensure("read, after many tokens", holds=tokens > kit.RETENTION.events // 2, came=tokens)
    kit.expect("send again, after many tokens", await store.send(job_id, "stays", ["a", "b"]), seq)
    await store.append(job_id, 1, Kind.SAVED, [1], offset, received=seq)
    for more in range(1, 2 * kit.RETENTION.events):
        await store.append(job_id, 1, Kind.TOKEN, ["t"], offset + more)
    kit.expect("inputs, after a save and many tokens", await kit.inbox(store, job_id), [])
    kit.expect("get: unconsumed", (await store.get(job_id)).unconsumed, 0)


async def steps_are_bounded(store: Store) -> None:
    """So many results of steps are kept, and none is trimmed; one more is `InvalidPayload`."""
    job_id, other = await kit.started(store), await kit.started(store)
    most = kit.RETENTION.steps
    steps = [Step(f"{number}", "", number) for number in range(most)]
    await store.append(job_id, 1, Kind.STEP, steps, 0)
    part = "x" * (kit.RETENTION.step_bytes // 3)
    await store.append(other, 1, Kind.STEP, [Step("one", "", part), Step("two", "", part)], 0)

    async def append() -> None:
        for one, offset, result in ((job_id, most, None), (other, 2, part)):
            call = store.append(one, 1, Kind.STEP, [Step("more", "", result)], offset)
            await kit.refused("append of one step more", InvalidPayload, call)

    await kit.unchanged("append of one step more", store, job_id, append)
    await kit.unchanged("append of too large a step", store, other, append)
    for offset in range(most, most + 5 * kit.RETENTION.events):
        await store.append(job_id, 1, Kind.TOKEN, ["t"], offset)
    kept = [event.data for event in await store.history(job_id) if event.kind is Kind.STEP]
    kit.expect("history, after many tokens: steps", kept, steps)


async def what_awaits_an_input_takes_no_room(store: Store) -> None:
    """Neither the queue nor the room of an owner counts jobs that wait for an input, woken or not."""
    ids = [await kit.started(store, n, owner="me") for n in range(kit.QUEUE_LIMIT + 2)]
    for job_id in ids:
        await store.finish(job_id, 1, kit.awaiting())
    new = [attrs.evolve(kit.make(n, owner="me"), room=kit.QUEUE_LIMIT - 1) for n in range(kit.QUEUE_LIMIT)]
    await kit.accept(store, *new[1:])
    for one, how in ((ids[0], "waits"), (ids[1], "was woken")):
        if one == ids[1]:
            await store.send(one, "a", [1])
        what = f"submit beyond the owner's room, while a job {how}"
        error = await kit.rejected(what, QueueFull, store, new[0])
        kit.expect("QueueFull of submit: owner", error.owner, "me")
    await kit.accept(store, kit.make())
    await kit.rejected("submit to a full queue", QueueFull, store, kit.make())
    await store.request_cancel(ids[2], None)
    await kit.rejected("submit after a wait ended", QueueFull, store, kit.make())


async def a_new_job_takes_the_room_of_another(store: Store) -> None:
    """What stands behind another job takes room in the queue; a job that replaces one takes its room."""
    await kit.started(store, exclusive="a")
    first = kit.make(exclusive="a", on_busy="after")
    await kit.accept(store, first)
    await kit.accept(store, *[kit.make(n) for n in range(kit.QUEUE_LIMIT - 1)])
    for new in (kit.make(), kit.make(exclusive="a", on_busy="after"), kit.make(exclusive="b")):
        await kit.rejected("submit to a full queue", QueueFull, store, new)
    (last,) = await kit.accept(store, kit.make(exclusive="a", on_busy="replace"))
    await kit.expect_job("submit with replace to a full queue", store, first.id, replaced_by=last)
    await kit.rejected("submit to a full queue, after a job was replaced", QueueFull, store, kit.make())


async def what_awaits_an_input_leaves_no_room(store: Store) -> None:
    """A job that replaces one that awaits an input needs room, as that one took none."""
    waits = await kit.started(store, exclusive="a")
    await store.finish(waits, 1, kit.awaiting())
    await store.send(waits, "a", [1])
    await kit.accept(store, *[kit.make(n, delay=kit.LONG) for n in range(kit.QUEUE_LIMIT)])
    new = kit.make(exclusive="a", on_busy="replace")
    await kit.rejected("submit to a full queue, for what awaits an input", QueueFull, store, new)
    await kit.expect_job("submit to a full queue", store, waits, state=State.RETRYING, replaced_by=None)
    _, claims = await store.submit([new], 1, kit.HOLDER)
    kit.expect("submit to a full queue, with a slot: claims", [one.submission.id for one in claims], [new.id])


async def waits_are_bounded(store: Store) -> None:
    """However often a job waits, the newest hundred waits stay, with the starts behind them, or some more."""
    job_id = await kit.started(store)
    seq = 0
    for attempt in range(1, 301):
        by_input = attempt == 1 or attempt > 200
        await store.finish(job_id, attempt, kit.awaiting(math.inf if by_input else 0.0, received=seq))
        if by_input:
            seq = await store.send(job_id, f"{attempt}", [attempt])
        await kit.again(store, job_id)
        if attempt == 200:
            kit.expect("inputs, after 200 waits", await kit.inbox(store, job_id), [(4, 1)])
        if attempt >= 200:
            await store.append(job_id, attempt + 1, Kind.SAVED, [attempt], 0, received=seq)
    await _few_are_left("waits", store, job_id)
    log = await kit.whole(store, job_id)
    kit.ensure("read, after 300 waits", holds=len(log) < 4 * SNOOZES, came=len(log))
    kit.expect("get: unconsumed", (await store.get(job_id)).unconsumed, 0)


async def a_full_queue_leaves_the_tick(keeper: Keeper) -> None:
    """A tick for which there is no room is `QueueFull`, and fires when there is."""
    await keeper.declare([Schedule(kit.work, every=5.0)])
    (row,) = (await keeper.schedules()).rows
    waiting = await kit.accept(keeper, *[kit.make(n) for n in range(kit.QUEUE_LIMIT)])
    job = kit.make()
    await kit.refused("fire with a full queue", QueueFull, keeper.fire(row, row.last_tick + 5, job))
    kit.expect("QueueFull of fire, then schedules", (await keeper.schedules()).rows, [row])
    await keeper.request_cancel(waiting[0], None)
    kit.expect("fire, with room", await keeper.fire(row, row.last_tick + 5, job), True)  # noqa: FBT003
