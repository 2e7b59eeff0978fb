"""`follow`, `ended`, `due`, `overdue` and `cancelling`: each wait ends, and never too late."""

from __future__ import annotations

from functools import partial

import trio
import trio.lowlevel

from ..._common.errors import StreamGap
from ..._common.states import State
from ..._model.job import Event, Kind, Timeouts
from ...stores.contract import Store
from . import kit


async def follow_gives_what_is_there(store: Store) -> None:
    """`follow` returns what `read` does, at once if there is something."""
    job_id = await kit.started(store)
    await store.append(job_id, 1, Kind.TOKEN, ["a", "b", "c"], 0)
    for after, limit in ((0, 100), (0, 2), (2, 1), (4, 9)):
        wanted = await store.read(job_id, after, limit)
        came = await kit.answered("follow", store.follow(job_id, after, limit))
        kit.expect(f"follow with after={after}, limit={limit}", came, wanted)


async def follow_waits_for_the_next_event(store: Store) -> None:
    """`follow` waits until there is something behind the cursor: an event of any kind."""
    (job_id,) = await kit.accept(store, kit.make())
    steps: dict[str, kit.Act] = {
        "claim": lambda: store.claim(1, kit.HOLDER),
        "append of a token": lambda: store.append(job_id, 1, Kind.TOKEN, ["a"], 0),
        "append of saved": lambda: store.append(job_id, 1, Kind.SAVED, ["s"], 1),
        "finish (retried)": lambda: store.finish(job_id, 1, kit.retried()),
        "claim again": lambda: store.claim(1, kit.HOLDER),
        "request_cancel": lambda: store.request_cancel(job_id, None),
        "finish": lambda: store.finish(job_id, 2, kit.completed()),
    }
    for after, (name, step) in enumerate(steps.items(), 1):
        what = f"follow, woken by {name}"
        came = await kit.woken(what, store, partial(store.follow, job_id, after, 9), step)
        kit.expect(f"{what}: seq", [event.seq for event in came], [after + 1])


async def follow_ends_with_the_job(store: Store) -> None:
    """Once the job has ended and nothing lies behind the cursor, `follow` returns nothing, at once."""
    job_id = await kit.finished(store)
    kit.expect("follow of an ended job", await kit.answered("follow", store.follow(job_id, 3, 9)), [])


async def a_cursor_ahead_of_the_log_is_refused(store: Store) -> None:
    """`follow` and `inputs` raise `StreamGap`, and `listening` returns: what the caller has seen was lost."""
    job_id = await kit.started(store)

    async def check(last: int) -> None:
        for what, verb in (("follow", store.follow), ("inputs", store.inputs)):
            call = kit.answered(what, verb(job_id, last + 2, 9))
            gap = await kit.refused(f"{what}, ahead of the log", StreamGap, call)
            came = gap.job_id, gap.first, gap.last, gap.oldest
            kit.expect(f"{what}, ahead of the log", came, (job_id, last + 1, last + 2, last))
        heard = await kit.answered("listening", store.listening({job_id: last + 2}))
        kit.expect("listening, ahead of the log", [*heard], [job_id])

    await check(2)
    kit.expect("send", await store.send(job_id, "a", [1]), 3)
    await store.finish(job_id, 1, kit.completed())
    await check(4)


async def readers_see_the_same(store: Store) -> None:
    """Readers that join early and late, with pages of any size, each get every event once and in order."""
    job_id = await kit.started(store)
    seen: list[list[Event]] = []

    async def read(limit: int) -> None:
        mine = list[Event]()
        seen.append(mine)
        while events := await store.follow(job_id, mine[-1].seq if mine else 0, limit):
            mine += events

    async def readers() -> None:
        async with trio.open_nursery() as nursery:
            for limit in (1, 3, 100):
                nursery.start_soon(read, limit)
            for offset in range(0, 40, 2):
                await store.append(job_id, 1, Kind.TOKEN, [offset, offset + 1], offset)
                if offset == 20:
                    nursery.start_soon(read, 5)
                await trio.lowlevel.checkpoint()
            await store.finish(job_id, 1, kit.completed())
            nursery.start_soon(read, 7)

    await kit.answered("follow, to the end of a job, by five readers,", readers())
    log = await kit.whole(store, job_id)
    for mine in seen:
        kit.expect("follow, page after page, to the end", mine, log)


async def ended_waits_for_the_end(store: Store) -> None:
    """`ended` returns the job once it is over, at once if it is; a retry is no end."""
    job_id = await kit.started(store)

    async def end() -> None:
        await store.finish(job_id, 1, kit.retried())
        await kit.again(store, job_id)
        await store.finish(job_id, 2, kit.completed("done"))

    job = await kit.woken("ended", store, lambda: store.ended(job_id), end)
    kit.expect("ended", (job.state, job.result), (State.COMPLETED, "done"))
    kit.expect("ended, then get", await store.get(job_id), job)
    kit.expect("ended, of an ended job,", await kit.answered("ended", store.ended(job_id)), job)


async def every_kind_of_end_is_told(store: Store) -> None:
    """All who wait are told, however the job ends: by its outcome, a cancel, a sweep, or with its parent."""
    (queued,) = await kit.accept(store, kit.make(delay=kit.LONG))
    await _told(store, queued, "request_cancel", lambda: store.request_cancel(queued, None))
    (expiring,) = await kit.accept(store, kit.make(timeouts=Timeouts(queue=kit.BRIEF)))
    await _told(store, expiring, "sweep", partial(kit.swept, store))
    parent = await kit.started(store)
    child = await kit.spawned(store, parent)
    await _told(store, child, "finish of its parent", partial(store.finish, parent, 1, kit.failed()))
    child = await kit.spawned(store, await kit.started(store, worker=kit.DOOMED))
    await _told(store, child, "sweep of its parent", partial(kit.swept, store))


async def _told(store: Store, job_id: str, how: str, act: kit.Act) -> None:
    """Check that three who wait for a job's end are told."""
    found = list[bool]()

    async def wait() -> None:
        job = await kit.answered(f"ended, of a job that ends by {how},", store.ended(job_id))
        found.append(job.state.over)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait)
        await kit.settled(store)
        await act()
    kit.expect(f"ended, of a job that ends by {how}, for three who wait: over", found, [True] * 3)


async def due_is_never_late(store: Store) -> None:
    """`due` returns when a job was submitted, when a delay has passed, and when a retry may run."""
    claim = partial(_claimed, store)
    await kit.accept(store, kit.make())
    await kit.soon("due, with a job that is due,", store.due, claim)
    await kit.accept(store, kit.make(delay=kit.BRIEF))
    await kit.soon("due, with a job that becomes due,", store.due, claim)
    await kit.accept(store, kit.make(delay=kit.LONG))
    for name, new in (("at once", kit.make()), ("soon", kit.make(delay=kit.BRIEF))):
        what = f"due, while a job is submitted that is due {name},"
        await kit.hinted(what, store, store.due, claim, partial(kit.accept, store, new))
    for name, delay in (("at once", 0.0), ("soon", kit.BRIEF)):
        job_id = (await kit.found(store, states={State.RUNNING}))[0]
        finish = partial(store.finish, job_id, (await store.get(job_id)).attempt, kit.retried(delay=delay))
        await kit.hinted(f"due, while a job is retried that is due {name},", store, store.due, claim, finish)


async def _claimed(store: Store) -> bool:
    return bool(await kit.claimed(store, 1))


async def overdue_is_never_late(store: Store) -> None:
    """`overdue` returns when a lease has lapsed or a queue timeout passed, also of jobs that came later."""
    await kit.start(store)
    await kit.accept(store, kit.make(delay=kit.LONG, timeouts=Timeouts(queue=kit.LONG)))
    what = "overdue, while a worker claims that will be lost,"

    async def lose() -> None:
        await kit.accept(store, kit.make())
        await store.claim(1, kit.DOOMED)

    await kit.hinted(what, store, store.overdue, partial(_swept, store, State.RETRYING), lose)
    what = "overdue, while a job is submitted that will wait too long,"
    await store.claim(1, kit.HOLDER)
    accept = partial(kit.accept, store, kit.make(timeouts=Timeouts(queue=kit.BRIEF)))
    await kit.hinted(what, store, store.overdue, partial(_swept, store, State.FAILED), accept)


async def _swept(store: Store, state: State) -> bool:
    await store.sweep()
    return state in await kit.counted(store)


async def cancelling_is_never_late(store: Store) -> None:
    """`cancelling` returns what running jobs are to be cancelled, and again when a grace is shortened."""
    first, second = [await kit.started(store) for _ in range(2)]
    (waits,) = await kit.accept(store, kit.make(delay=kit.LONG))

    async def ask() -> None:
        await store.request_cancel(waits, None)
        await store.request_cancel(first, None, 5.0)

    heard = await kit.woken("cancelling, while a request comes,", store, lambda: store.cancelling({}), ask)
    kit.expect("cancelling, while a request comes", dict(heard), {first: 5.0})
    kit.expect("cancelling, of what was not heard", dict(await store.cancelling({})), {first: 5.0})
    for job_id, grace in ((second, 7.0), (first, 1.0)):
        what = f"cancelling, while a request with a grace of {grace:g} s comes,"
        cancel = partial(store.request_cancel, job_id, None, grace)
        heard = await kit.woken(what, store, partial(store.cancelling, heard), cancel)
        kit.expect(what, heard[job_id], grace)
    await store.finish(first, 1, kit.cancelled())
    came = await kit.left(store, lambda: store.cancelling({second: 7.0}))
    kit.expect("cancelling, with nothing new, which is to wait", came, [])


async def leaving_a_wait_loses_nothing(store: Store) -> None:
    """A caller that stops waiting and waits again gets the same as one that waited on."""
    job_id = await kit.started(store)
    waits: list[kit.Act] = [
        lambda: store.follow(job_id, 2, 9),
        lambda: store.ended(job_id),
        store.due,
        store.overdue,
        lambda: store.cancelling({}),
    ]
    for wait in waits:
        await kit.left(store, wait)
    await store.append(job_id, 1, Kind.TOKEN, ["a"], 0)
    came = await kit.answered("follow, again,", store.follow(job_id, 2, 9))
    kit.expect("follow, left and called again", [event.data for event in came], ["a"])
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.follow(job_id, 3, 9)
    await store.finish(job_id, 1, kit.completed())
    job = await kit.answered("ended", store.ended(job_id))
    kit.expect("ended, left and called again", job.state, State.COMPLETED)
    came = await kit.answered("follow, again,", store.follow(job_id, 3, 9))
    kit.expect("follow, left and called again", [event.kind for event in came], [Kind.COMPLETED])


async def follow_and_ended_are_checkpoints(store: Store) -> None:
    """`follow` and `ended` of what is there already let other tasks run, and can be cancelled."""
    job_id = await kit.started(store)
    await store.finish(job_id, 1, kit.completed())
    waits: dict[str, kit.Act] = {
        "follow of what is there": lambda: store.follow(job_id, 0, 1),
        "follow of an ended job": lambda: store.follow(job_id, 3, 1),
        "ended of an ended job": lambda: store.ended(job_id),
    }
    for name, wait in waits.items():
        with trio.CancelScope() as scope:
            scope.cancel(reason="it is to hear of this")
            await wait()
        kit.expect(f"{name}, when cancelled: whether it was cancelled", scope.cancelled_caught, wanted=True)
