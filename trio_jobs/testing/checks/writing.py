"""`append`: an attempt's own events, in order, once, and only while it runs."""

from __future__ import annotations

from functools import partial

import attrs
import trio

from ..._common.errors import LeaseLost
from ..._common.states import State
from ..._model.job import Kind, Progress, Step
from ...stores.contract import Store
from . import kit


async def append_adds_an_event_for_each_value(store: Store) -> None:
    """`append` adds an event for each value, in order, and returns the newest seq."""
    job_id = await kit.started(store)
    kit.expect("append of 3 tokens", await store.append(job_id, 1, Kind.TOKEN, ["a", "b", "c"], 0), 5)
    kit.expect("append of 1 token", await store.append(job_id, 1, Kind.TOKEN, ["d"], 3), 6)
    log = [(1, "token", value) for value in "abcd"]
    kit.expect("append, then read", (await kit.words(store, job_id))[2:], log)
    seqs = [event.seq for event in await kit.whole(store, job_id)]
    kit.expect("append, then read: seq", seqs, [1, 2, 3, 4, 5, 6])


async def progress_is_kept(store: Store) -> None:
    """A progress event has the `Progress` that was reported."""
    job_id = await kit.started(store)
    reports = [Progress(1), Progress(2.5, 10), Progress(3, None, "three")]
    await store.append(job_id, 1, Kind.PROGRESS, reports, 0)
    came = [data for _, _, data in (await kit.words(store, job_id))[2:]]
    kit.expect("append of progress, then read", came, reports)


async def the_last_value_saved_counts(store: Store) -> None:
    """A snapshot and the next claim have what was saved last, from whichever attempt."""
    job_id = await kit.started(store)
    await store.append(job_id, 1, Kind.SAVED, [{"at": 1}, {"at": 2}], 0)
    await kit.expect_job("append of saved", store, job_id, saved={"at": 2})
    for attempt in (2, 3):
        await store.finish(job_id, attempt - 1, kit.retried())
        claim = await kit.again(store, job_id)
        kit.expect(f"claim of attempt {attempt}: saved", claim.saved, {"at": 2})


async def append_is_repeatable(store: Store) -> None:
    """What an attempt has appended already, by its offset, is passed over; what is new is added."""
    job_id = await kit.started(store)
    await store.append(job_id, 1, Kind.TOKEN, ["a", "b"], 0)

    async def repeat() -> None:
        kit.expect("append again", await store.append(job_id, 1, Kind.TOKEN, ["a", "b"], 0), 4)
        kit.expect("append of a part again", await store.append(job_id, 1, Kind.TOKEN, ["b"], 1), 4)

    await kit.unchanged("append of what is there", store, job_id, repeat)
    newest = await store.append(job_id, 1, Kind.TOKEN, ["b", "c", "d"], 1)
    kit.expect("append of old and new values", newest, 6)
    log = [(1, "token", value) for value in "abcd"]
    kit.expect("append, repeated, then read", (await kit.words(store, job_id))[2:], log)


async def the_offset_counts_what_this_attempt_appended(store: Store) -> None:
    """The offset counts the events of every kind that the attempt appended; the next one starts at 0."""
    job_id = await kit.started(store)
    await store.append(job_id, 1, Kind.TOKEN, ["a"], 0)
    await store.append(job_id, 1, Kind.SAVED, ["s"], 1)
    await store.request_cancel(await kit.started(store), None)
    await store.append(job_id, 1, Kind.PROGRESS, [Progress(1)], 2)
    await store.append(job_id, 1, Kind.SAVED, ["s"], 1)
    kit.expect("append again, of another kind,", (await store.get(job_id)).last_seq, 5)
    await store.finish(job_id, 1, kit.retried())
    await kit.again(store, job_id)
    kit.expect("append at 0 by the next attempt", await store.append(job_id, 2, Kind.TOKEN, ["z"], 0), 8)
    await store.append(job_id, 2, Kind.TOKEN, ["z"], 0)
    kit.expect("append again by the next attempt", (await store.get(job_id)).last_seq, 8)


async def an_attempt_ahead_of_the_store_writes_nothing(store: Store) -> None:
    """An attempt that says to have appended more, or received another input, than the job has: `LeaseLost`.

    The store has lost it since. So no log has a hole, and another attempt starts over.
    """
    job_id = await kit.started(store)
    first = await store.send(job_id, "a", [1])
    await store.append(job_id, 1, Kind.TOKEN, ["a"], 0)

    async def ahead() -> None:
        append, finish = partial(store.append, job_id, 1), partial(store.finish, job_id, 1)
        calls: dict[str, kit.Act] = {
            "append of a token": partial(append, Kind.TOKEN, ["c"], 2),
            "append of three": partial(append, Kind.TOKEN, ["c", "d", "e"], 2),
            "append of a step": partial(append, Kind.STEP, [Step("a step", "", 1)], 2),
            "append of a save": partial(append, Kind.SAVED, ["s"], 1, received=first + 1),
        }
        for how in (kit.completed(), kit.failed(), kit.retried(), kit.cancelled()):
            calls[f"finish ({how.transition}), of events,"] = partial(finish, attrs.evolve(how, appended=2))
            calls[f"finish ({how.transition}), of inputs,"] = partial(
                finish, attrs.evolve(how, received=first + 1)
            )
        for what, call in calls.items():
            await kit.refused(f"{what} by who knows more than the store", LeaseLost, call())

    await kit.unchanged("a write of an attempt that is ahead", store, job_id, ahead)
    await store.append(job_id, 1, Kind.SAVED, ["s"], 1, received=first)
    done = attrs.evolve(kit.completed(), appended=2, received=first)
    kit.expect("finish with what the store has", await store.finish(job_id, 1, done), State.COMPLETED)


async def only_the_attempt_that_runs_writes(store: Store) -> None:
    """An attempt that has ended, and one that never was, can write nothing: `LeaseLost`."""
    (job_id,) = await kit.accept(store, kit.make())
    for attempt in (0, 1):
        await kit.fenced(store, job_id, attempt)
    await kit.again(store, job_id)
    await kit.fenced(store, job_id, 0)
    await kit.fenced(store, job_id, 2)
    await store.finish(job_id, 1, kit.retried())
    await kit.fenced(store, job_id, 1)
    await kit.again(store, job_id)
    await kit.fenced(store, job_id, 1)
    await store.finish(job_id, 2, kit.completed("kept"))
    await kit.fenced(store, job_id, 1)
    await kit.fenced(store, job_id, 2)
    kit.expect("finish, then late writes, then get", (await store.get(job_id)).result, "kept")


async def a_big_burst_is_dense(store: Store) -> None:
    """Thousands of tokens in few calls are all there, numbered without holes."""
    job_id = await kit.started(store)
    values = [f"token {n}" for n in range(3000)]
    for offset in range(0, 3000, 1000):
        await store.append(job_id, 1, Kind.TOKEN, values[offset : offset + 1000], offset)
    log = (await kit.whole(store, job_id))[2:]
    kit.expect("append of 3000 tokens: data", [event.data for event in log], values)
    kit.expect("append of 3000 tokens: seq", [event.seq for event in log], [*range(3, 3003)])


async def jobs_do_not_mix(store: Store) -> None:
    """Tokens of several jobs that are written at the same time go each into its own log, in order."""
    await kit.accept(store, *[kit.make(n) for n in range(4)])
    claims = await store.claim(4, kit.HOLDER)

    async def write(job_id: str, number: int) -> None:
        for offset in range(10):
            await store.append(job_id, 1, Kind.TOKEN, [[number, offset]], offset)

    async with trio.open_nursery() as nursery:
        for number, claim in enumerate(claims):
            nursery.start_soon(write, claim.submission.id, number)
    for number, claim in enumerate(claims):
        log = (await kit.words(store, claim.submission.id))[2:]
        wanted = [(1, "token", [number, offset]) for offset in range(10)]
        kit.expect("append, to four jobs at once,", log, wanted)
    kit.expect("append, then count", await kit.counted(store), {State.RUNNING: 4})
