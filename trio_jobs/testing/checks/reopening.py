"""Stores that are durable: what is found when one is opened again. Others pass these checks at once."""

from __future__ import annotations

from ..._common.errors import KeyConflict
from ..._common.states import Reason, State, Transition
from ..._model.job import Ended, Event, Job, Kind, Progress, Timeouts
from ..._model.retry import Retry
from ...stores.contract import Claimant, Outcome, Store
from . import kit


async def _everything(store: Store) -> list[tuple[Job, list[Event]]]:
    return [(await store.get(job_id), await kit.whole(store, job_id)) for job_id in await kit.found(store)]


async def everything_is_there_again(open_durable: kit.Opener) -> None:
    """Every job and every log is the same as before, whatever state it is in."""
    async with open_durable() as store:
        await kit.accept(store, kit.make("queued", delay=kit.LONG, key="k", owner="me", tags={"a": "b"}))
        running = await kit.started(store, retry=Retry(attempts=3), timeouts=Timeouts(1, 2, 3, 4))
        await store.append(running, 1, Kind.TOKEN, ["a", None, {"b": [1]}], 0)
        await store.append(running, 1, Kind.PROGRESS, [Progress(1, 2, "x")], 3)
        await store.append(running, 1, Kind.SAVED, [{"half": True}], 4)
        await store.request_cancel(running, "tired", 3.0)
        for outcome in (
            kit.completed({"answer": 42}),
            Outcome(Transition.FAILED, None, Ended(Reason.TIMEOUT, "too long", kit.ERROR)),
            Outcome(Transition.CANCELLED, None, Ended(Reason.UNREAD, "nobody reads")),
            kit.retried(Reason.SNOOZED, kit.LONG),
        ):
            await kit.finished(store, outcome)
        await kit.spawned(store, running)
        before = await _everything(store)
    async with open_durable() as store:
        after = await _everything(store)
        kit.expect("reopening, then find: number of jobs", len(after), len(before))
        for (job, log), wanted in zip(after, before, strict=True):
            kit.expect(f"reopening, then get of a job that is {job.state.value}", job, wanted[0])
            kit.expect(f"reopening, then read of a job that is {job.state.value}", log, wanted[1])


async def an_attempt_goes_on(open_durable: kit.Opener) -> None:
    """An attempt that ran still runs: it writes on from its offset, saves and finishes; old ones cannot."""
    async with open_durable() as store:
        job_id = await kit.finished(store, kit.retried())
        await kit.again(store, job_id)
        await store.append(job_id, 2, Kind.TOKEN, ["a", "b"], 0)
    async with open_durable() as store:
        await kit.fenced(store, job_id, 1)
        await store.append(job_id, 2, Kind.TOKEN, ["b", "c"], 1)
        tokens = [data for _, kind, data in await kit.words(store, job_id) if kind == "token"]
        kit.expect("reopening, then append", tokens, ["a", "b", "c"])
        kit.expect("reopening, then finish", await store.finish(job_id, 2, kit.completed()), State.COMPLETED)


async def leases_are_kept(open_durable: kit.Opener) -> None:
    """A lease lapses while the store is closed, and one that has not lapsed holds."""
    async with open_durable() as store:
        held = await kit.started(store)
        lost = await kit.started(store, worker=kit.DOOMED)
        child = await kit.spawned(store, lost)
    await kit.lapse()
    async with open_durable() as store:
        await store.sweep()
        wanted = [State.RUNNING, State.RETRYING, State.CANCELLED]
        kit.expect("reopening, then sweep", await kit.states(store, held, lost, child), wanted)
        await kit.expect_beat("reopening, then heartbeat", store, {held: 1, lost: 1}, lost={lost})


async def what_waits_is_claimed_later(open_durable: kit.Opener) -> None:
    """Jobs that were due, or have become due, are claimed by rank, with all that was submitted."""
    async with open_durable() as store:
        now, urgent = kit.make(1, {"a": [2]}, key="k"), kit.make(priority=0)
        later, soon = kit.make(delay=kit.LONG), kit.make(delay=kit.BRIEF, priority=3)
        await kit.accept(store, now, urgent, later, soon)
    await kit.lapse()
    async with open_durable() as store:
        claims = await store.claim(9, Claimant("later", kit.LONG))
        wanted = [urgent.id, now.id, soon.id]
        kit.expect("reopening, then claim", [one.submission.id for one in claims], wanted)
        came = claims[1].submission
        kit.expect("reopening, then claim: args", (came.args, came.handler), (now.args, now.handler))
        kit.expect("reopening, then claim: options", (came.options, came.key), (now.options, now.key))


async def requests_are_kept(open_durable: kit.Opener) -> None:
    """A request to cancel is in the answer to the next heartbeat, and counts when the attempt is lost."""
    async with open_durable() as store:
        heard = await kit.started(store)
        lost = await kit.started(store, worker=kit.DOOMED)
        for job_id in (heard, lost):
            await store.request_cancel(job_id, "tired", 4.0)
    await kit.lapse()
    async with open_durable() as store:
        await kit.expect_beat("reopening, then heartbeat", store, {heard: 1}, cancels={heard: 4.0})
        await store.sweep()
        kit.expect("reopening, then sweep", await kit.state_of(store, lost), State.CANCELLED)


async def what_was_accepted_is_known(open_durable: kit.Opener) -> None:
    """Ids and keys are known again: repeating a submit changes nothing, and a conflict is one."""
    plain, keyed, twin = kit.make(1), *(kit.make(2, key="k", owner="me") for _ in range(2))
    async with open_durable() as store:
        await kit.accept(store, plain)
        await kit.again(store, plain.id)
        await kit.accept(store, keyed)
    async with open_durable() as store:
        ids = [plain.id, keyed.id, keyed.id]
        kit.expect("reopening, then submit again", await kit.accept(store, plain, keyed, twin), ids)
        states = await kit.states(store, plain.id, keyed.id)
        kit.expect("reopening, then submit again, then get", states, [State.RUNNING, State.QUEUED])
        other = kit.make(3, key="k", owner="me")
        await kit.rejected("reopening, then submit of a conflict", KeyConflict, store, other)
        kit.expect("reopening, then find", {*await kit.found(store)}, {plain.id, keyed.id})


async def queue_timeouts_and_ends_are_kept(open_durable: kit.Opener) -> None:
    """A queue timeout passes while the store is closed; what was removed stays away."""
    async with open_durable() as store:
        (hasty,) = await kit.accept(store, kit.make(timeouts=Timeouts(queue=kit.BRIEF)))
        stays, old, gone = await kit.accept(store, *(kit.make(delay=kit.LONG) for _ in range(3)))
        for job_id in (old, gone):
            await store.request_cancel(job_id, None)
        await store.remove(gone)
    await kit.lapse()
    async with open_durable() as store:
        kit.expect("reopening, then prune", await store.prune(0.01), 1)
        await store.sweep()
        over = {"state": State.FAILED, "reason": Reason.QUEUE_TIMEOUT}
        await kit.expect_job("reopening, then sweep", store, hasty, **over)
        kit.expect("reopening, then find", {*await kit.found(store)}, {hasty, stays})
