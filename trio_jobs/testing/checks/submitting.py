"""`submit`: all of a batch or none, once per id, once per key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import attrs
import trio
from trio.testing import MockClock

from ..._common.errors import InvalidPayload, KeyConflict, LeaseLost, QueueFull, UnknownJob
from ..._common.states import State
from ..._model.job import Kind, Priority, Timeouts
from ..._model.retry import Retry
from ...stores.contract import Store, Submission, Where
from . import kit


async def a_job_is_as_it_was_submitted(store: Store) -> None:
    """A job that was accepted is QUEUED, has all that it was submitted with, and one event in its log."""
    timeouts, retry = Timeouts(1.0, kit.LONG, 2.0, 3.0), Retry(attempts=4, initial=0.5, jitter=0.0)
    new = kit.make("arg", timeouts=timeouts, retry=retry, priority=Priority.LOW, key="k", owner="me")
    new = attrs.evolve(new, options=attrs.evolve(new.options, tags={"a": "b"}, metadata={"n": [1, None]}))
    kit.expect("submit returns the ids", await kit.accept(store, new), [new.id])
    wanted: dict[str, object] = {
        "id": new.id,
        "handler": "work",
        "state": State.QUEUED,
        "attempt": 0,
        "priority": Priority.LOW,
        "tags": {"a": "b"},
        "metadata": {"n": [1, None]},
        "owner": "me",
        "key": "k",
        "timeouts": timeouts,
        "retry": retry,
        "spent": 0,
        "last_seq": 1,
    }
    nothing = ("reason", "message", "error", "result", "parent", "saved", "started_at", "finished_at")
    wanted |= dict.fromkeys((*nothing, "cancel_requested_at"))
    await kit.expect_job("submit", store, new.id, **wanted)
    kit.expect("submit, then read", await kit.words(store, new.id), [(0, "submitted", "work")])


async def submit_claims_in_the_same_step(store: Store) -> None:
    """`submit` starts up to `limit` jobs in the step that accepts them; the others wait."""
    batch = [kit.make(n) for n in range(3)]
    ids, claims = await store.submit(batch, 2, kit.HOLDER)
    kit.expect("submit returns the ids, in order", ids, [new.id for new in batch])
    started = {claim.submission.id for claim in claims}
    kit.ensure("submit with limit=2 claims two of the batch", holds=len(started & {*ids}) == 2, came=claims)
    wanted = [State.RUNNING if job_id in started else State.QUEUED for job_id in ids]
    kit.expect("submit, then get: state", await kit.states(store, *ids), wanted)
    log = [(0, "submitted", "work"), (1, "started", "holder")]
    for job_id in started:
        kit.expect("submit, then read of a claimed job", await kit.words(store, job_id), log)


async def a_submitted_job_overtakes_nobody(store: Store) -> None:
    """What `submit` claims is what ranks lowest, which may be a job that waited before."""
    (urgent,) = await kit.accept(store, kit.make(priority=Priority.URGENT))
    ids, claims = await store.submit([kit.make(priority=Priority.LOW)], 1, kit.HOLDER)
    kit.expect("submit, claiming while an urgent job waits", [one.submission.id for one in claims], [urgent])
    kit.expect("submit, then get: state", await kit.state_of(store, ids[0]), State.QUEUED)


async def a_known_id_changes_nothing(store: Store) -> None:
    """To submit a known id again changes nothing, whatever became of the job; others of the batch are new."""
    queued, running, ended, fresh = kit.make(1, key="k"), kit.make(2), kit.make(3), kit.make(4)
    await kit.accept(store, ended)
    await kit.again(store, ended.id)
    await store.finish(ended.id, 1, kit.completed())
    await kit.accept(store, running)
    await kit.again(store, running.id)
    await kit.accept(store, queued)
    before = [await store.get(one.id) for one in (queued, running, ended)]
    batch = [queued, running, fresh, ended]
    kit.expect("submit of known ids", await kit.accept(store, *batch), [one.id for one in batch])
    after = [await store.get(one.id) for one in (queued, running, ended)]
    kit.expect("submit of known ids, then get", after, before)
    kit.expect("submit of a new id beside them", await kit.state_of(store, fresh.id), State.QUEUED)
    kit.expect("submit of known ids, then find", len(await kit.found(store)), 4)


async def a_key_gives_the_same_job(store: Store) -> None:
    """The same submission under the same key gives the job that holds the key, and makes none."""
    first, second = kit.make(1, key="k", tags={"a": "b"}), kit.make(1, key="k", tags={"a": "b"})
    await kit.accept(store, first)
    await kit.unchanged("submit of a known key", store, first.id, partial(_same, store, second, first.id))
    what = "get of a submission that was answered with another job"
    await kit.refused(what, UnknownJob, store.get(second.id))


async def _same(store: Store, new: Submission, holder: str) -> None:
    kit.expect("submit under a key that is taken", await kit.accept(store, new), [holder])


async def a_key_is_held_whatever_became_of_the_job(store: Store) -> None:
    """A running, failed or completed job still holds its key."""
    for outcome in (kit.failed(), kit.completed()):
        new = kit.make(outcome.transition.value, key=outcome.transition.value)
        await kit.accept(store, new)
        await kit.again(store, new.id)
        twin = kit.make(outcome.transition.value, key=outcome.transition.value)
        await _same(store, twin, new.id)
        await store.finish(new.id, 1, outcome)
        await _same(store, twin, new.id)


async def a_key_conflicts_with_another_submission(store: Store) -> None:
    """Other arguments, options or another handler under a key are a `KeyConflict`, which names the job."""
    (holder,) = await kit.accept(store, kit.make(1, key="k"))
    others = {
        "other arguments": kit.make(2, key="k"),
        "more arguments": kit.make(1, 1, key="k"),
        "another handler": kit.make(1, key="k", target=kit.other_work),
        "other options": kit.make(1, key="k", priority=Priority.LOW),
        "other tags": kit.make(1, key="k", tags={"a": "b"}),
    }
    for name, new in others.items():
        error = await kit.rejected(f"submit under a key, {name}", KeyConflict, store, new, limit=1)
        kit.expect("KeyConflict of submit, key and job_id", (error.key, error.job_id), ("k", holder))
    kit.expect("submit that conflicted, then find", await kit.found(store), [holder])


async def arguments_are_given_by_name(store: Store) -> None:
    """Arguments by name come back as they were, in any order; under a key, others are a `KeyConflict`."""
    first, second = ({"b": [1, None], "a b": "é"}, {"a b": "é", "b": [1, None]})
    (holder,) = await kit.accept(store, kit.make(1, kwargs=first, key="k"))
    await _same(store, kit.make(1, kwargs=second, key="k"), holder)
    for other in ({}, {"b": [1, None]}, {**first, "b": [2, None]}):
        what = f"submit under a key, with the kwargs {other}"
        await kit.rejected(what, KeyConflict, store, kit.make(1, kwargs=other, key="k"))
    (claim,) = await store.claim(kit.ALL, kit.HOLDER)
    kit.expect(
        "claim: args and kwargs", (claim.submission.args, dict(claim.submission.kwargs)), ((1,), first)
    )
    job, (one,) = await store.get(holder), await store.find(Where(), kit.ALL)
    kit.expect("get: args and kwargs", ([*(job.args or ())], dict(job.kwargs or {})), ([1], first))
    text = '{"args":[1],"kwargs":{"ab":"é","b":[1,null]}}'
    kit.expect("find: args_text", (one.args_text or "").replace(" ", ""), text)


async def a_conflict_accepts_nothing(store: Store) -> None:
    """If one submission of a batch conflicts, none is accepted, nothing is claimed, and no key is taken."""
    (holder,) = await kit.accept(store, kit.make(1, key="k"))
    batch = [kit.make("new"), kit.make("keyed", key="fresh"), kit.make(2, key="k")]
    await kit.rejected("submit of a batch with a conflict", KeyConflict, store, *batch, limit=3)
    kit.expect("submit that conflicted, then find", await kit.found(store), [holder])
    kit.expect("submit that conflicted claims nothing", await kit.state_of(store, holder), State.QUEUED)
    await kit.accept(store, kit.make("something else", key="fresh"))


async def a_key_twice_in_a_batch(store: Store) -> None:
    """Within a batch the first submission under a key is accepted, and the same again is that job."""
    first, other, same = kit.make(1, key="k"), kit.make(2), kit.make(1, key="k")
    ids = await kit.accept(store, first, other, same)
    kit.expect("submit of a key twice in a batch", ids, [first.id, other.id, first.id])
    batch = [kit.make(1, key="c"), kit.make(2, key="c")]
    await kit.rejected("submit of a conflict within a batch", KeyConflict, store, *batch)
    found = {*await kit.found(store)}
    kit.expect("submit of a key twice, and of a conflict, then find", found, {first.id, other.id})


async def keys_are_per_owner(store: Store) -> None:
    """Different owners, and jobs without an owner, may use the same key."""
    batch = [kit.make(1, key="k"), kit.make(2, key="k", owner="me"), kit.make(3, key="k", owner="you")]
    kit.expect("submit of a key by three owners", await kit.accept(store, *batch), [one.id for one in batch])
    await _same(store, kit.make(2, key="k", owner="me"), batch[1].id)


async def a_delayed_job_is_not_due(store: Store) -> None:
    """A job with a delay waits for it; `next_attempt_at` says until when."""
    later, sooner = await kit.accept(store, kit.make(delay=kit.LONG), kit.make(delay=kit.BRIEF))
    job = await kit.expect_job("submit with a delay", store, later, next_attempt_at=...)
    waits = ((job.next_attempt_at or job.created_at) - job.created_at).total_seconds()
    kit.ensure(f"it is due {kit.LONG} s after created_at", holds=abs(waits - kit.LONG) < 5, came=waits)
    await kit.lapse()
    kit.expect("claim, of two delayed jobs,", await kit.claimed(store, 2), [sooner])


async def run_at_is_when_a_job_is_due(store: Store) -> None:
    """A job with `run_at` is due then by the wall clock, as `created_at` is; at once, if that has passed."""
    begun = datetime.now(UTC)
    (first,) = await kit.accept(store, kit.make(delay=2 * kit.LONG))
    now = (await store.get(first)).created_at
    if not isinstance(trio.lowlevel.current_clock(), MockClock):  # whose epoch is the store's choice
        near = abs((now - begun).total_seconds()) < 3600
        kit.ensure("created_at is a time of the wall clock", holds=near, came=now)
    future, past = kit.make(run_at=now + timedelta(hours=1)), kit.make(run_at=now - timedelta(days=4000))
    await kit.accept(store, future, past)
    kit.expect("claim, by run_at,", await kit.claimed(store, 2), [past.id])
    due = (await store.get(future.id)).next_attempt_at
    off = None if due is None else abs((due - now).total_seconds() - 3600)
    kit.ensure("get: next_attempt_at is run_at", holds=off is not None and off < 5, came=due)


async def a_big_batch_is_one_batch(store: Store) -> None:
    """Hundreds of jobs are accepted in one step, in order."""
    batch = [kit.make(n) for n in range(300)]
    ids, claims = await store.submit(batch, 100, kit.HOLDER)
    kit.expect("submit of 300 jobs returns the ids", ids, [one.id for one in batch])
    kit.expect("submit of 300 jobs, claims", len({claim.submission.id for claim in claims}), 100)
    counts = {State.RUNNING: 100, State.QUEUED: 200}
    kit.expect("submit of 300 jobs, then count", await kit.counted(store), counts)


async def what_cannot_be_kept_is_refused_whole(store: Store) -> None:
    """A value that the store cannot keep is `InvalidPayload`, and nothing of the call is accepted."""
    thing, fine = kit.make(object()), kit.make("fine")
    try:
        await store.submit([fine, thing], 2, kit.HOLDER)
    except InvalidPayload:
        kit.expect("submit refused, then find", await kit.found(store), [])
    else:
        kit.expect("submit accepted, then find", len(await kit.found(store)), 2)
        return
    job_id = await kit.started(store)
    for kind in (Kind.TOKEN, Kind.PROGRESS, Kind.SAVED):
        call = store.append(job_id, 1, kind, ["fine", object()], 0)
        await kit.refused(f"append of {kind.value}: what submit refuses", InvalidPayload, call)
    kit.expect("append refused, then read", len(await kit.whole(store, job_id)), 2)


async def a_key_is_compared_by_what_was_given(store: Store) -> None:
    """A key gives its job to who gives the same, whatever the defaults of the handler are by now."""
    first = kit.make("a", key="k", tags={"b": "c"})
    await kit.accept(store, first)
    later = kit.make("a", key="k", tags={"b": "c"})
    options = attrs.evolve(later.options, timeouts=Timeouts(run=7.0), retry=Retry(attempts=9))
    ids = await kit.accept(store, attrs.evolve(later, options=options))
    kit.expect("submit of a key after the handler's defaults changed", ids, [first.id])
    others: list[dict[str, Any]] = [{}, {"tags": {"b": "d"}}, {"tags": {"b": "c"}, "timeout": 7.0}]
    for given in others:
        what = f"submit of a key with {given} in place of other options"
        await kit.rejected(what, KeyConflict, store, kit.make("a", key="k", **given))


async def a_running_attempt_submits(store: Store) -> None:
    """What the handler of an attempt submits is a job of its own: it has no parent, and outlives the attempt.

    A batch of an attempt that does not run, of a claim that did not start it, or of a job that is unknown is
    refused whole; but not one that was accepted while it ran.
    """
    job_id = await kit.started(store, worker=kit.KNOWN)
    new = kit.make_by(job_id, 1, kit.KNOWN.claim, "arg", key="k")
    what = "submit by a running attempt"
    kit.expect(f"{what} returns the id", await kit.accept(store, new), [new.id])
    await kit.expect_job(what, store, new.id, state=State.QUEUED, parent=None, attempt=0)
    by_others = [
        (job_id, 2, kit.KNOWN.claim),
        (job_id, 1, "other-1"),
        (job_id, 1, None),
        ("unknown", 1, None),
    ]
    for by in by_others:
        batch = [kit.make(), kit.make_by(*by)]
        await kit.rejected(f"submit by {by}, which does not run", LeaseLost, store, *batch, limit=1)
    await store.finish(job_id, 1, kit.failed(), kit.KNOWN.claim)
    await kit.expect_job("finish of the attempt that submitted", store, new.id, state=State.QUEUED)
    kit.expect("submit again by an attempt that has ended", await kit.accept(store, new), [new.id])
    late = kit.make_by(job_id, 1, kit.KNOWN.claim, "arg", key="k")
    await kit.rejected("submit by an attempt that has ended", LeaseLost, store, late, limit=1)
    kit.expect("refused submits, then count", (await kit.counted(store)).get(State.QUEUED), 1)


async def an_owner_has_so_much_room(store: Store) -> None:
    """No more jobs of an owner wait than `room` says; what runs, has ended or is of others does not count."""

    def mine() -> Submission:
        return attrs.evolve(kit.make(owner="me"), room=2)

    await kit.accept(store, *(kit.make(owner="you") for _ in range(3)), kit.make())
    await store.claim(kit.ALL, kit.HOLDER)
    await kit.finished(store, kit.retried(delay=kit.LONG), owner="me")
    known = mine()
    await kit.accept(store, known)
    error = await kit.rejected("submit without room", QueueFull, store, mine())
    kit.expect("QueueFull: its limit and its owner", (error.limit, error.owner), (2, "me"))
    kit.expect("submit of a known id without room", await kit.accept(store, known), [known.id])
    await kit.accept(store, attrs.evolve(kit.make(owner="you", delay=kit.LONG), room=1))
    await kit.rejected("submit of too many", QueueFull, store, mine(), mine(), limit=1)
    await store.request_cancel(known.id, None)
    await kit.accept(store, mine())
    _, claims = await store.submit([mine()], 1, kit.HOLDER)
    kit.expect("submit of what starts at once, without room: claims", len(claims), 1)


async def room_is_for_what_waits_afterwards(store: Store) -> None:
    """If a submit starts jobs of others, those of its owner wait, and need room."""
    await kit.accept(store, kit.make(owner="you"))
    await kit.accept(store, attrs.evolve(kit.make(owner="me"), room=1))
    new = attrs.evolve(kit.make(owner="me"), room=1)
    await kit.rejected("submit that starts the job of another", QueueFull, store, new, limit=1)
    kit.expect("submit without room, then count", await kit.counted(store), {State.QUEUED: 2})
    _, claims = await store.submit([new], 2, kit.HOLDER)
    kit.expect("submit that starts the job of another and one of its owner: claims", len(claims), 2)
    delayed = attrs.evolve(kit.make(owner="me", delay=kit.LONG), room=1)
    _, claims = await store.submit([delayed], 1, kit.HOLDER)
    kit.expect("submit that starts the other job of its owner: claims", len(claims), 1)
