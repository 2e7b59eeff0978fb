"""Stores that are durable: what is found when one is opened again. Others pass these checks at once."""

from __future__ import annotations

from ..._common.errors import KeyConflict
from ..._common.states import Reason, State, Transition
from ..._model.job import Ended, Event, Job, Kind, Progress, Timeouts
from ..._model.retry import Retry
from ...stores.contract import Claimant, Outcome, Store, Where
from ._kit import (
    ALL,
    BRIEF,
    DOOMED,
    ERROR,
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
    refused,
    retried,
    start,
    state_of,
    whole,
    words,
)


async def _everything(store: Store) -> list[tuple[Job, list[Event]]]:
    return [(await store.get(job.id), await whole(store, job.id)) for job in await store.find(Where(), ALL)]


async def everything_is_there_again(open_store: Opener) -> None:
    """Every job and every log is the same as before, whatever state it is in."""
    async with open_store() as store:
        if not store.durable:
            return
        await accept(store, make("queued", delay=LONG, key="k", owner="me", tags={"a": "b"}))
        running = (await start(store, retry=Retry(attempts=3), timeouts=Timeouts(1, 2, 3, 4))).submission.id
        await store.append(running, 1, Kind.TOKEN, ["a", None, {"b": [1]}], 0)
        await store.append(running, 1, Kind.PROGRESS, [Progress(1, 2, "x")], 3)
        await store.append(running, 1, Kind.SAVED, [{"half": True}], 4)
        await store.request_cancel(running, "tired", 3.0)
        outcomes = (
            completed({"answer": 42}),
            Outcome(Transition.FAILED, None, Ended(Reason.TIMEOUT, "too long", ERROR)),
            Outcome(Transition.CANCELLED, None, Ended(Reason.UNREAD, "nobody reads")),
            retried(Reason.SNOOZED, LONG),
        )
        for outcome in outcomes:
            await store.finish((await start(store)).submission.id, 1, outcome)
        await store.spawn(running, 1, make("child"), HOLDER)
        before = await _everything(store)
    async with open_store() as store:
        after = await _everything(store)
        expect("reopening, then find: number of jobs", len(after), len(before))
        for (job, log), wanted in zip(after, before, strict=True):
            expect(f"reopening, then get of a job that is {job.state.value}", job, wanted[0])
            expect(f"reopening, then read of a job that is {job.state.value}", log, wanted[1])


async def an_attempt_goes_on(open_store: Opener) -> None:
    """An attempt that ran still runs: it writes on from its offset, saves and finishes; old ones cannot."""
    async with open_store() as store:
        if not store.durable:
            return
        job_id = (await start(store)).submission.id
        await store.finish(job_id, 1, retried())
        await again(store, job_id)
        await store.append(job_id, 2, Kind.TOKEN, ["a", "b"], 0)
    async with open_store() as store:
        await fenced(store, job_id, 1)
        await store.append(job_id, 2, Kind.TOKEN, ["b", "c"], 1)
        tokens = [data for _, kind, data in await words(store, job_id) if kind == "token"]
        expect("reopening, then append", tokens, ["a", "b", "c"])
        expect("reopening, then finish", await store.finish(job_id, 2, completed()), State.COMPLETED)


async def leases_are_kept(open_store: Opener) -> None:
    """A lease lapses while nobody has the store open, and one that has not lapsed holds."""
    async with open_store() as store:
        if not store.durable:
            return
        held = (await start(store)).submission.id
        lost = (await start(store, worker=DOOMED)).submission.id
        child = make()
        await store.spawn(lost, 1, child, HOLDER)
    await lapse()
    async with open_store() as store:
        await store.sweep()
        states = [await state_of(store, job_id) for job_id in (held, lost, child.id)]
        expect("reopening, then sweep", states, [State.RUNNING, State.RETRYING, State.CANCELLED])
        answer = await store.heartbeat({held: 1, lost: 1}, LONG)
        expect("reopening, then heartbeat: lost", answer.lost, frozenset({lost}))


async def what_waits_is_claimed_later(open_store: Opener) -> None:
    """Jobs that were due, or have become due, are claimed by rank, with all that was submitted."""
    async with open_store() as store:
        if not store.durable:
            return
        now, urgent = make(1, {"a": [2]}, key="k"), make(priority=0)
        later, soon = make(delay=LONG), make(delay=BRIEF, priority=3)
        await accept(store, now, urgent, later, soon)
    await lapse()
    async with open_store() as store:
        claims = await store.claim(9, Claimant("later", LONG))
        expect("reopening, then claim", [one.submission.id for one in claims], [urgent.id, now.id, soon.id])
        came = claims[1].submission
        expect("reopening, then claim: args", (came.args, came.handler), (now.args, now.handler))
        expect("reopening, then claim: options", (came.options, came.key), (now.options, now.key))


async def requests_are_kept(open_store: Opener) -> None:
    """A request to cancel is heard by whoever comes next, and counts when the attempt is lost."""
    async with open_store() as store:
        if not store.durable:
            return
        heard = (await start(store)).submission.id
        lost = (await start(store, worker=DOOMED)).submission.id
        for job_id in (heard, lost):
            await store.request_cancel(job_id, "tired", 4.0)
    await lapse()
    async with open_store() as store:
        answer = await store.heartbeat({heard: 1}, LONG)
        expect("reopening, then heartbeat: cancels", dict(answer.cancels), {heard: 4.0})
        await store.sweep()
        expect("reopening, then sweep", await state_of(store, lost), State.CANCELLED)


async def what_was_accepted_is_known(open_store: Opener) -> None:
    """Ids and keys are known again: repeating a submit changes nothing, and a conflict is one."""
    async with open_store() as store:
        if not store.durable:
            return
        plain, keyed = make(1), make(2, key="k", owner="me")
        await accept(store, plain)
        await again(store, plain.id)
        await accept(store, keyed)
    async with open_store() as store:
        expect("reopening, then submit again", await accept(store, plain, keyed), [plain.id, keyed.id])
        states = [await state_of(store, one.id) for one in (plain, keyed)]
        expect("reopening, then submit again, then get", states, [State.RUNNING, State.QUEUED])
        twin = make(2, key="k", owner="me")
        expect("reopening, then submit of the key", await accept(store, twin), [keyed.id])
        other = make(3, key="k", owner="me")
        await refused("reopening, then submit of a conflict", KeyConflict, store.submit([other], 0, HOLDER))
        expect("reopening, then find", len(await store.find(Where(), ALL)), 2)


async def queue_timeouts_and_ends_are_kept(open_store: Opener) -> None:
    """A queue timeout passes while nobody has the store open; what was removed stays away."""
    async with open_store() as store:
        if not store.durable:
            return
        (hasty,) = await accept(store, make(timeouts=Timeouts(queue=BRIEF)))
        await accept(store, make(delay=LONG))
        await store.request_cancel((await accept(store, make(delay=LONG)))[0], None)
        (gone,) = await accept(store, make(delay=LONG))
        await store.request_cancel(gone, None)
        await store.remove(gone)
    await lapse()
    async with open_store() as store:
        expect("reopening, then prune", await store.prune(0.01), 1)
        await store.sweep()
        job = await store.get(hasty)
        expect("reopening, then sweep", (job.state, job.reason), (State.FAILED, Reason.QUEUE_TIMEOUT))
        expect("reopening, then find", len(await store.find(Where(), ALL)), 2)
