"""Stores that are durable: what is found when one is opened again. Others pass these checks at once."""

from __future__ import annotations

from ..._common.errors import KeyConflict
from ..._common.states import Reason, State, Transition
from ..._model.job import Ended, Event, Job, Kind, Progress, Timeouts
from ..._model.retry import Retry
from ...stores.contract import Claimant, Outcome, Store, Where
from . import kit


async def _everything(store: Store) -> list[tuple[Job, list[Event]]]:
    return [
        (await store.get(job.id), await kit.whole(store, job.id))
        for job in await store.find(Where(), kit.ALL)
    ]


async def everything_is_there_again(open_store: kit.Opener) -> None:
    """Every job and every log is the same as before, whatever state it is in."""
    async with open_store() as store:
        if not store.durable:
            return
        await kit.accept(store, kit.make("queued", delay=kit.LONG, key="k", owner="me", tags={"a": "b"}))
        running = await kit.started(store, retry=Retry(attempts=3), timeouts=Timeouts(1, 2, 3, 4))
        await store.append(running, 1, Kind.TOKEN, ["a", None, {"b": [1]}], 0)
        await store.append(running, 1, Kind.PROGRESS, [Progress(1, 2, "x")], 3)
        await store.append(running, 1, Kind.SAVED, [{"half": True}], 4)
        await store.request_cancel(running, "tired", 3.0)
        outcomes = (
            kit.completed({"answer": 42}),
            Outcome(Transition.FAILED, None, Ended(Reason.TIMEOUT, "too long", kit.ERROR)),
            Outcome(Transition.CANCELLED, None, Ended(Reason.UNREAD, "nobody reads")),
            kit.retried(Reason.SNOOZED, kit.LONG),
        )
        for outcome in outcomes:
            await store.finish(await kit.started(store), 1, outcome)
        await store.spawn(running, 1, kit.make("child"), kit.HOLDER)
        before = await _everything(store)
    async with open_store() as store:
        after = await _everything(store)
        kit.expect("reopening, then find: number of jobs", len(after), len(before))
        for (job, log), wanted in zip(after, before, strict=True):
            kit.expect(f"reopening, then get of a job that is {job.state.value}", job, wanted[0])
            kit.expect(f"reopening, then read of a job that is {job.state.value}", log, wanted[1])


async def an_attempt_goes_on(open_store: kit.Opener) -> None:
    """An attempt that ran still runs: it writes on from its offset, saves and finishes; old ones cannot."""
    async with open_store() as store:
        if not store.durable:
            return
        job_id = await kit.started(store)
        await store.finish(job_id, 1, kit.retried())
        await kit.again(store, job_id)
        await store.append(job_id, 2, Kind.TOKEN, ["a", "b"], 0)
    async with open_store() as store:
        await kit.fenced(store, job_id, 1)
        await store.append(job_id, 2, Kind.TOKEN, ["b", "c"], 1)
        tokens = [data for _, kind, data in await kit.words(store, job_id) if kind == "token"]
        kit.expect("reopening, then append", tokens, ["a", "b", "c"])
        kit.expect("reopening, then finish", await store.finish(job_id, 2, kit.completed()), State.COMPLETED)


async def leases_are_kept(open_store: kit.Opener) -> None:
    """A lease lapses while the store is closed, and one that has not lapsed holds."""
    async with open_store() as store:
        if not store.durable:
            return
        held = await kit.started(store)
        lost = await kit.started(store, worker=kit.DOOMED)
        child = kit.make()
        await store.spawn(lost, 1, child, kit.HOLDER)
    await kit.lapse()
    async with open_store() as store:
        await store.sweep()
        states = [await kit.state_of(store, job_id) for job_id in (held, lost, child.id)]
        kit.expect("reopening, then sweep", states, [State.RUNNING, State.RETRYING, State.CANCELLED])
        answer = await store.heartbeat({held: 1, lost: 1}, kit.LONG)
        kit.expect("reopening, then heartbeat: lost", answer.lost, frozenset({lost}))


async def what_waits_is_claimed_later(open_store: kit.Opener) -> None:
    """Jobs that were due, or have become due, are claimed by rank, with all that was submitted."""
    async with open_store() as store:
        if not store.durable:
            return
        now, urgent = kit.make(1, {"a": [2]}, key="k"), kit.make(priority=0)
        later, soon = kit.make(delay=kit.LONG), kit.make(delay=kit.BRIEF, priority=3)
        await kit.accept(store, now, urgent, later, soon)
    await kit.lapse()
    async with open_store() as store:
        claims = await store.claim(9, Claimant("later", kit.LONG))
        kit.expect(
            "reopening, then claim", [one.submission.id for one in claims], [urgent.id, now.id, soon.id]
        )
        came = claims[1].submission
        kit.expect("reopening, then claim: args", (came.args, came.handler), (now.args, now.handler))
        kit.expect("reopening, then claim: options", (came.options, came.key), (now.options, now.key))


async def requests_are_kept(open_store: kit.Opener) -> None:
    """A request to cancel is in the answer to the next heartbeat, and counts when the attempt is lost."""
    async with open_store() as store:
        if not store.durable:
            return
        heard = await kit.started(store)
        lost = await kit.started(store, worker=kit.DOOMED)
        for job_id in (heard, lost):
            await store.request_cancel(job_id, "tired", 4.0)
    await kit.lapse()
    async with open_store() as store:
        answer = await store.heartbeat({heard: 1}, kit.LONG)
        kit.expect("reopening, then heartbeat: cancels", dict(answer.cancels), {heard: 4.0})
        await store.sweep()
        kit.expect("reopening, then sweep", await kit.state_of(store, lost), State.CANCELLED)


async def what_was_accepted_is_known(open_store: kit.Opener) -> None:
    """Ids and keys are known again: repeating a submit changes nothing, and a conflict is one."""
    async with open_store() as store:
        if not store.durable:
            return
        plain, keyed = kit.make(1), kit.make(2, key="k", owner="me")
        await kit.accept(store, plain)
        await kit.again(store, plain.id)
        await kit.accept(store, keyed)
    async with open_store() as store:
        kit.expect(
            "reopening, then submit again", await kit.accept(store, plain, keyed), [plain.id, keyed.id]
        )
        states = [await kit.state_of(store, one.id) for one in (plain, keyed)]
        kit.expect("reopening, then submit again, then get", states, [State.RUNNING, State.QUEUED])
        twin = kit.make(2, key="k", owner="me")
        kit.expect("reopening, then submit of the key", await kit.accept(store, twin), [keyed.id])
        other = kit.make(3, key="k", owner="me")
        await kit.refused(
            "reopening, then submit of a conflict", KeyConflict, store.submit([other], 0, kit.HOLDER)
        )
        kit.expect("reopening, then find", len(await store.find(Where(), kit.ALL)), 2)


async def queue_timeouts_and_ends_are_kept(open_store: kit.Opener) -> None:
    """A queue timeout passes while the store is closed; what was removed stays away."""
    async with open_store() as store:
        if not store.durable:
            return
        (hasty,) = await kit.accept(store, kit.make(timeouts=Timeouts(queue=kit.BRIEF)))
        await kit.accept(store, kit.make(delay=kit.LONG))
        await store.request_cancel((await kit.accept(store, kit.make(delay=kit.LONG)))[0], None)
        (gone,) = await kit.accept(store, kit.make(delay=kit.LONG))
        await store.request_cancel(gone, None)
        await store.remove(gone)
    await kit.lapse()
    async with open_store() as store:
        kit.expect("reopening, then prune", await store.prune(0.01), 1)
        await store.sweep()
        job = await store.get(hasty)
        kit.expect("reopening, then sweep", (job.state, job.reason), (State.FAILED, Reason.QUEUE_TIMEOUT))
        kit.expect("reopening, then find", len(await store.find(Where(), kit.ALL)), 2)
