"""The store in memory, verb by verb, and whole programs of verbs against a model without its code."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, cast
from uuid import uuid4

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, assert_no_checkpoints, wait_all_tasks_blocked

from tests.inside import epoch_of, rows_of
from trio_jobs import (
    Ended,
    ErrorRecord,
    Event,
    IllegalTransition,
    InvalidPayload,
    Job,
    KeyConflict,
    Kind,
    LeaseLost,
    Priority,
    Progress,
    QueueFull,
    Reason,
    Retention,
    State,
    Timeouts,
    UnknownJob,
)
from trio_jobs.stores import Options, Transition, summary_of
from trio_jobs.stores.contract import Claim, Claimant, Outcome, Store, Submission, Where
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.testing.fold import NEXT, OVER

ALL = 10**6
DONE = Outcome(Transition.COMPLETED, "result")

W = Claimant("w")


async def append(store: MemoryStore, job_id: str, attempt: int, kind: Kind, values: Sequence[Any]) -> int:
    """Append behind everything that the attempt has appended."""
    row = rows_of(store).get(job_id)
    return await store.append(job_id, attempt, kind, values, row.log.appended if row else 0)


async def nothing(job: object, arg: object = None) -> None: ...


async def something(job: object, arg: object = None) -> None: ...


def make(
    arg: object = None,
    *,
    key: str | None = None,
    target: Callable[..., Awaitable[None]] = nothing,
    **options: Any,
) -> Submission:
    """Return a submission with a new id."""
    return Submission(uuid4().hex, target.__name__, target, (arg,), Options(**options), key)


def failed(reason: Reason = Reason.ERROR, error: ErrorRecord | None = None) -> Outcome:
    return Outcome(Transition.FAILED, None, Ended(reason, "it failed", error))


def retried(
    reason: Reason = Reason.ERROR, delay: float | None = 0.0, error: ErrorRecord | None = None
) -> Outcome:
    return Outcome(Transition.RETRIED, None, Ended(reason, "again", error, delay))


async def accept(store: MemoryStore, *batch: Submission) -> list[str]:
    """Submit without claiming."""
    ids, claims = await store.submit(batch, 0, W)
    assert claims == []
    return ids


async def run(store: MemoryStore, **options: Any) -> Claim:
    """Submit a job and claim it."""
    _, (claim,) = await store.submit([make(**options)], 1, W)
    return claim


async def words(store: MemoryStore, job_id: str) -> list[tuple[int, str, Any]]:
    """Return the log without cursors and times, after checking that the cursors are dense."""
    events = await store.read(job_id, 0, ALL)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    return [(event.attempt, event.kind.value, event.data) for event in events]


# ---------------------------------------------------------------- coming in


async def test_the_contract() -> None:
    """The store has every verb of the contract, and is not durable."""
    store: Store = MemoryStore()
    assert store.durable is False
    for name in vars(Store):
        if not name.startswith("_"):
            assert hasattr(store, name)


async def test_a_new_job() -> None:
    """An accepted job is QUEUED with its options, and has one event in its log."""
    store = MemoryStore()
    before = datetime.now(UTC)
    new = make(key="k", owner="me", tags={"a": "b"}, metadata={"n": 1}, priority=Priority.LOW, delay=60.0)
    assert await accept(store, new) == [new.id]
    job = await store.get(new.id)
    after = datetime.now(UTC)
    margin = timedelta(seconds=1)
    assert before - margin <= job.created_at <= after + margin
    assert job.next_attempt_at is not None
    assert abs((job.next_attempt_at - job.created_at).total_seconds() - 60) < 1e-3
    assert job == Job(
        id=new.id,
        handler="nothing",
        state=State.QUEUED,
        reason=None,
        message=None,
        error=None,
        result=None,
        attempt=0,
        priority=Priority.LOW,
        tags={"a": "b"},
        metadata={"n": 1},
        owner="me",
        key="k",
        parent=None,
        timeouts=Timeouts(),
        retry=new.options.retry,
        spent=0,
        saved=None,
        created_at=job.created_at,
        started_at=None,
        finished_at=None,
        next_attempt_at=job.next_attempt_at,
        cancel_requested_at=None,
        last_seq=1,
        args=new.args,
        kwargs={},
        waiting_for="due",
    )
    assert await words(store, new.id) == [(0, "submitted", "nothing")]


async def test_submit_claims_in_the_same_step() -> None:
    """With free slots the jobs of a batch start in the step that accepts them, in order, the rest wait."""
    store = MemoryStore()
    batch = [make(n) for n in range(3)]
    with assert_no_checkpoints():
        ids, claims = await store.submit(batch, 2, W)
    assert ids == [new.id for new in batch]
    assert claims == [Claim(new, 1, 1, None, 2) for new in batch[:2]]
    assert await store.count(Where()) == {State.RUNNING: 2, State.QUEUED: 1}
    assert await words(store, ids[0]) == [(0, "submitted", "nothing"), (1, "started", "w")]


async def test_a_new_job_overtakes_nobody(autojump_clock: MockClock) -> None:
    """A submit claims the job of the lowest rank, which may be one that waited before."""
    store = MemoryStore()
    (first,) = await accept(store, make())
    ids, claims = await store.submit([make()], 1, W)
    assert [claim.submission.id for claim in claims] == [first]
    assert (await store.get(ids[0])).state is State.QUEUED


async def test_the_urgent_job_of_a_batch_starts_first() -> None:
    """Within a batch too, the slots are for the jobs of the lowest rank."""
    store = MemoryStore()
    low, urgent = make(priority=Priority.LOW), make(priority=Priority.URGENT)
    _, claims = await store.submit([low, urgent], 1, W)
    assert [claim.submission.id for claim in claims] == [urgent.id]


async def test_a_job_that_is_due_and_finds_a_slot_waits_for_no_time() -> None:
    """With a free slot a queue timeout of 0 ends no job, due now or long ago."""
    store = MemoryStore()
    for run_at in (None, datetime(1970, 1, 1, tzinfo=UTC)):
        (job_id,), claims = await store.submit([make(timeouts=Timeouts(queue=0), run_at=run_at)], 1, W)
        assert [claim.submission.id for claim in claims] == [job_id]


async def test_run_at(autojump_clock: MockClock) -> None:
    """A job is due at `run_at` by the wall clock; at once if that has passed, however long ago."""
    store = MemoryStore()
    soon = datetime.now(UTC) + timedelta(seconds=100)
    past, longest = datetime(1970, 1, 1, tzinfo=UTC), datetime.min.replace(tzinfo=UTC)
    later, *now = await accept(store, make(run_at=soon), make(run_at=past), make(run_at=longest))
    assert [claim.submission.id for claim in await store.claim(9, W)] == now
    due = (await store.get(later)).next_attempt_at
    assert due is not None
    assert abs(due - soon) < timedelta(milliseconds=1)
    await trio.sleep(90)
    assert await store.claim(9, W) == []
    await trio.sleep(11)
    assert [claim.submission.id for claim in await store.claim(9, W)] == [later]


@pytest.mark.parametrize(
    "options",
    [{"delay": 1e12}, {"delay": 1e300}, {"run_at": datetime.max.replace(tzinfo=UTC)}],
    ids=["longer than dates go", "longest", "last date"],
)
async def test_a_job_in_the_far_future(options: dict[str, Any]) -> None:
    """A job that is due after the last date can be read, listed and cancelled as any other."""
    store = MemoryStore()
    (job_id,) = await accept(store, make(**options))
    assert (await store.get(job_id)).state is State.QUEUED
    assert len(await store.find(Where(), ALL)) == 1
    assert await store.request_cancel(job_id, None) == "cancelled"


async def test_a_retry_in_the_far_future() -> None:
    """A job whose retry is due after the last date can be read."""
    store = MemoryStore()
    claim = await run(store)
    await store.finish(claim.submission.id, 1, retried(delay=1e12))
    assert (await store.get(claim.submission.id)).state is State.RETRYING


async def test_queue_full() -> None:
    """A batch that does not fit is refused as a whole; what is claimed at once needs no room."""
    store = MemoryStore(queue_limit=2)
    with pytest.raises(QueueFull) as caught:
        await accept(store, make(), make(), make())
    assert caught.value.limit == 2
    assert await store.count(Where()) == {}
    assert await store.claim(9, W) == []

    ids, claims = await store.submit([make(), make(), make()], 1, W)
    assert len(ids) == 3
    assert len(claims) == 1
    with pytest.raises(QueueFull):
        await accept(store, make())
    with pytest.raises(QueueFull):
        await store.submit([make(delay=1.0)], 1, W)
    _, claims = await store.submit([make()], 1, W)
    assert len(claims) == 1
    await store.request_cancel(ids[2], None)
    await accept(store, make())


async def test_queue_full_takes_no_key() -> None:
    """A refused job takes no key; a job with a used key is found even if the queue is full."""
    store = MemoryStore(queue_limit=1)
    (held,) = await accept(store, make(key="held"))
    with pytest.raises(QueueFull):
        await accept(store, make(key="free"))
    assert await accept(store, make(key="held")) == [held]
    await store.request_cancel(held, None)
    await accept(store, make(7, key="free"))


# ---------------------------------------------------------------- keys


async def test_the_same_key_again() -> None:
    """The same submission under the same key is the same job, in whatever state, and writes nothing."""
    store = MemoryStore()
    first = make(1, key="k", tags={"a": "b"})
    await accept(store, first)
    for step in range(3):
        assert await accept(store, make(1, key="k", tags={"a": "b"})) == [first.id]
        if step == 0:
            assert len(await store.claim(9, W)) == 1
        elif step == 1:
            await store.finish(first.id, 1, failed())
    assert await store.count(Where()) == {State.FAILED: 1}
    assert [word for _, word, _ in await words(store, first.id)] == ["submitted", "started", "failed"]


@pytest.mark.parametrize(
    "other",
    [
        make(2, key="k"),
        make(1, key="k", target=something),
        make(1, key="k", delay=1.0),
        make(1, key="k", tags={"a": ""}),
    ],
    ids=["argument", "handler", "option", "tag"],
)
async def test_a_key_for_another_submission(other: Submission) -> None:
    """Another handler, argument or option under the same key is a conflict, which accepts nothing."""
    store = MemoryStore()
    first = make(1, key="k")
    await accept(store, first)
    with pytest.raises(KeyConflict) as caught:
        await accept(store, make(3, key="free"), other, make(4))
    assert (caught.value.key, caught.value.job_id) == ("k", first.id)
    assert await store.count(Where()) == {State.QUEUED: 1}
    await accept(store, make(5, key="free"))


async def test_keys_of_different_owners() -> None:
    """Owners do not share keys, and no owner is one of them."""
    store = MemoryStore()
    batch = [make(n, key="k", owner=owner) for n, owner in enumerate([None, "a", "b"])]
    assert await accept(store, *batch) == [new.id for new in batch]
    assert await accept(store, make(1, key="k", owner="a")) == [batch[1].id]
    with pytest.raises(KeyConflict):
        await accept(store, make(1, key="k", owner="b"))


async def test_a_key_twice_in_a_batch() -> None:
    """Within one batch a key counts as well."""
    store = MemoryStore()
    one, same = make(1, key="k"), make(1, key="k")
    assert await accept(store, one, same) == [one.id, one.id]
    with pytest.raises(KeyConflict):
        await accept(store, make(1, key="other"), make(2, key="other"))
    assert await store.count(Where()) == {State.QUEUED: 1}


class Incomparable:
    """Cannot be compared."""

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError

    __hash__ = object.__hash__


class Undecided:
    """Compares to something that is neither true nor false, as an array does."""

    def __eq__(self, other: object) -> Any:
        return self

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise ValueError("ambiguous")


@pytest.mark.parametrize("kind", [Incomparable, Undecided, object])
async def test_arguments_that_cannot_be_compared(kind: type) -> None:
    """The same object is the same argument; two that cannot be compared are a conflict, without an error."""
    store = MemoryStore()
    value = kind()
    (first,) = await accept(store, make(value, key="k"))
    assert await accept(store, make(value, key="k")) == [first]
    with pytest.raises(KeyConflict):
        await accept(store, make(kind(), key="k"))


@attrs.frozen
class Fare:
    """Compares equal to another one with a different number."""

    line: str
    number: Any = attrs.field(default=0, eq=False)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        ([1, 2], [1]),
        ({"a": [0]}, {"a": [False]}),
        ({"a": 0}, {"b": 0}),
        ({1: "a"}, {True: "a"}),
        ({1}, {1.0}),
        ({1}, {2}),
        (Fare("U1", 1), Fare("U1", 2)),
        (Fare("U1"), Fare("U2")),
        (Fare("U1", [1]), Fare("U1", [True])),
    ],
)
async def test_different_values_are_a_conflict_under_a_key(one: object, other: object) -> None:
    """Values are the same if all fields and classes are; `==` is not used for that."""
    store = MemoryStore()
    (first,) = await accept(store, make(one, key="k"))
    assert await accept(store, make(copy.deepcopy(one), key="k")) == [first]
    with pytest.raises(KeyConflict):
        await accept(store, make(other, key="k"))


@pytest.mark.parametrize("how", ["remove", "prune", "retention"])
async def test_a_key_is_free_once_its_job_is_gone(how: str, autojump_clock: MockClock) -> None:
    """A key is free again when its job is removed, in whichever way."""
    store = MemoryStore(retention=Retention(finished=1))
    claim = await run(store, key="k")
    await store.finish(claim.submission.id, 1, DONE)
    if how == "remove":
        await store.remove(claim.submission.id)
    elif how == "prune":
        await trio.sleep(1)
        await store.prune(0)
    else:
        other = await run(store)
        await store.finish(other.submission.id, 1, DONE)
    (fresh,) = await accept(store, make(7, key="k"))
    assert fresh != claim.submission.id


# ---------------------------------------------------------------- attempts


async def test_claim_in_the_order_of_rank(autojump_clock: MockClock) -> None:
    """Jobs are claimed by rank, and those of equal rank first in, first out."""
    store = MemoryStore()
    batch = [make(priority=priority) for priority in [*reversed(Priority), *reversed(Priority)]]
    await accept(store, *batch)
    order = [claim.submission.id for _ in range(5) for claim in await store.claim(2, W)]
    assert order == [new.id for new in sorted(batch, key=lambda new: new.options.priority)]


async def test_waiting_long_enough_beats_priority(autojump_clock: MockClock) -> None:
    """A NORMAL job that waited longer than the bound is claimed before an URGENT one."""
    store = MemoryStore()
    (old,) = await accept(store, make())
    await trio.sleep(299)
    (young,) = await accept(store, make(priority=Priority.URGENT))
    await trio.sleep(2)
    (younger,) = await accept(store, make(priority=Priority.URGENT))
    assert [claim.submission.id for claim in await store.claim(9, W)] == [young, old, younger]


async def test_a_retry_keeps_its_priority(autojump_clock: MockClock) -> None:
    """A retry is ranked from when it is due, with its job's priority."""
    store = MemoryStore()
    claim = await run(store, priority=Priority.LOW)
    await store.finish(claim.submission.id, 1, retried(delay=10.0))
    await trio.sleep(10)
    (normal,) = await accept(store, make())
    found = await store.claim(9, W)
    assert [claim.submission.id for claim in found] == [normal, claim.submission.id]
    assert found[1].attempt == 2


@pytest.mark.parametrize("kind", [Kind.TOKEN, Kind.PROGRESS, Kind.SAVED])
async def test_append(kind: Kind) -> None:
    """Each value becomes an event of the attempt; the answer is the last cursor; `saved` keeps the last."""
    store = MemoryStore()
    claim = await run(store)
    job_id = claim.submission.id
    with assert_no_checkpoints():
        assert await append(store, job_id, 1, kind, ["a", "b"]) == 4
    assert (await words(store, job_id))[2:] == [(1, kind.value, "a"), (1, kind.value, "b")]
    assert (await store.get(job_id)).saved == ("b" if kind is Kind.SAVED else None)
    await store.finish(job_id, 1, retried())
    (again,) = await store.claim(1, W)
    assert again.saved == ("b" if kind is Kind.SAVED else None)


async def test_a_token_too_large() -> None:
    """A token over the limit is refused with its whole batch; a saved value may be larger."""
    store = MemoryStore(retention=Retention(token_bytes=1000))
    job_id = (await run(store)).submission.id
    with pytest.raises(InvalidPayload):
        await append(store, job_id, 1, Kind.TOKEN, ["a", "x" * 1000])
    assert (await store.get(job_id)).last_seq == 2
    await append(store, job_id, 1, Kind.SAVED, ["x" * 1000])


async def test_trimming() -> None:
    """A job keeps no more tokens than `Retention` allows, and all of its history."""
    store = MemoryStore(retention=Retention(events=8))
    job_id = (await run(store)).submission.id
    for n in range(100):
        await append(store, job_id, 1, Kind.TOKEN, [n])
    await append(store, job_id, 1, Kind.SAVED, ["s"])
    await store.finish(job_id, 1, DONE)
    kept = await store.read(job_id, 0, ALL)
    assert [event.data for event in kept if event.kind is Kind.TOKEN][-1] == 99
    assert sum(event.kind is Kind.TOKEN for event in kept) in {7, 8}
    history = await store.history(job_id)
    assert [event.kind for event in history] == [Kind.SUBMITTED, Kind.STARTED, Kind.SAVED, Kind.COMPLETED]
    assert [event for event in kept if event.kind is not Kind.TOKEN] == history
    assert history[-1].seq == (await store.get(job_id)).last_seq == 104


ERROR = ErrorRecord("ValueError", "no", "Traceback …")


@pytest.mark.parametrize(
    ("outcome", "state", "reason"),
    [
        (DONE, State.COMPLETED, None),
        (Outcome(Transition.COMPLETED), State.COMPLETED, None),
        (failed(Reason.TIMEOUT, ERROR), State.FAILED, Reason.TIMEOUT),
        (Outcome(Transition.CANCELLED, None, Ended(Reason.USER, None, ERROR)), State.CANCELLED, Reason.USER),
        (retried(error=ERROR), State.RETRYING, Reason.ERROR),
    ],
    ids=["result", "no result", "failed", "cancelled", "retried"],
)
async def test_finish(outcome: Outcome, state: State, reason: Reason | None) -> None:
    """An outcome sets the job's state, reason, error and result, and one event with the same facts."""
    store = MemoryStore()
    job_id = (await run(store)).submission.id
    with assert_no_checkpoints():
        assert await store.finish(job_id, 1, outcome) is state
    job = await store.get(job_id)
    assert (job.state, job.reason, job.result) == (state, reason, outcome.result)
    assert job.error == (outcome.ended and outcome.ended.error)
    assert (job.finished_at is not None) is state.over
    assert (job.next_attempt_at is not None) is (state is State.RETRYING)
    said = outcome.result if outcome.ended is None else outcome.ended
    assert (await words(store, job_id))[2:] == [(1, outcome.transition.value, said)]


async def test_a_new_attempt_forgets_the_last_ones_error() -> None:
    """While a job runs again it has no reason and no error; its log keeps both."""
    store = MemoryStore()
    job_id = (await run(store)).submission.id
    await store.finish(job_id, 1, retried(error=ERROR))
    await store.claim(1, W)
    job = await store.get(job_id)
    assert (job.state, job.reason, job.error, job.attempt) == (State.RUNNING, None, None, 2)


@pytest.mark.parametrize("reason", Reason)
async def test_spent(reason: Reason) -> None:
    """Every claim spends an attempt; a shutdown, snooze or wait returns it; no number decreases."""
    store = MemoryStore()
    job_id = (await run(store)).submission.id
    given_back = reason in {Reason.SHUTDOWN, Reason.SNOOZED, Reason.AWAITING_INPUT}
    for attempt in (1, 2, 3):
        await store.finish(job_id, attempt, retried(reason))
        assert (await store.get(job_id)).spent == (0 if given_back else attempt)
        (claim,) = await store.claim(1, W)
        assert (claim.attempt, claim.spent) == (attempt + 1, 1 if given_back else attempt + 1)
    await store.finish(job_id, 4, failed(reason))
    assert (await store.get(job_id)).spent == (1 if given_back else 4)


@pytest.mark.parametrize("attempt", [0, 1, 2, 4])
async def test_the_fence(attempt: int) -> None:
    """Only the running attempt can write: no earlier one and no later one, by any verb."""
    store = MemoryStore()
    job_id = (await run(store)).submission.id
    for number in (1, 2):
        await store.finish(job_id, number, retried())
        await store.claim(1, W)
    before, log = await store.get(job_id), await words(store, job_id)
    for write in (
        append(store, job_id, attempt, Kind.TOKEN, ["late"]),
        append(store, job_id, attempt, Kind.SAVED, ["late"]),
        store.finish(job_id, attempt, DONE),
        store.finish(job_id, attempt, retried()),
        store.spawn(job_id, attempt, make(), W),
    ):
        with pytest.raises(LeaseLost) as caught:
            await cast("Awaitable[object]", write)
        assert (caught.value.job_id, caught.value.attempt) == (job_id, attempt)
    assert await store.get(job_id) == before
    assert await words(store, job_id) == log
    assert await store.count(Where()) == {State.RUNNING: 1}


@pytest.mark.parametrize("outcome", [DONE, failed(), retried()], ids=["completed", "failed", "retried"])
async def test_an_attempt_that_ended_can_write_nothing(outcome: Outcome) -> None:
    """After its end an attempt can write nothing, whether its job goes on, has ended, or was removed."""
    store = MemoryStore()
    job_id = (await run(store)).submission.id
    await store.finish(job_id, 1, outcome)
    for _ in range(2):
        with pytest.raises(LeaseLost):
            await append(store, job_id, 1, Kind.TOKEN, ["late"])
        with pytest.raises(LeaseLost):
            await store.finish(job_id, 1, DONE)
        if await store.count(Where()):
            await store.request_cancel(job_id, None)
            await store.remove(job_id)


# ---------------------------------------------------------------- children


async def test_spawn() -> None:
    """A child is RUNNING at once, has a log of its own and its parent's id; it is never in the queue."""
    store = MemoryStore(queue_limit=1)
    parent = (await run(store)).submission.id
    child = make(tags={"a": "b"})
    with assert_no_checkpoints():
        claim = await store.spawn(parent, 1, child, W)
    assert claim == Claim(child, 1, 1, None, 2)
    job = await store.get(child.id)
    assert (job.state, job.parent, job.attempt) == (State.RUNNING, parent, 1)
    assert await words(store, child.id) == [(0, "submitted", "nothing"), (1, "started", "w")]
    assert [job.id for job in await store.find(Where(parent=parent), ALL)] == [child.id]
    assert await store.claim(9, W) == []


@pytest.mark.parametrize("outcome", [DONE, failed(), retried()], ids=["completed", "failed", "retried"])
async def test_children_end_with_their_parents_attempt(outcome: Outcome) -> None:
    """Open children are cancelled in the step that ends their parent's attempt; those that ended stay."""
    store = MemoryStore()
    parent = (await run(store)).submission.id
    ended, open_ = make(), make()
    for child in (ended, open_):
        await store.spawn(parent, 1, child, W)
    await store.finish(ended.id, 1, DONE)
    await store.finish(parent, 1, outcome)
    assert (await store.get(ended.id)).state is State.COMPLETED
    job = await store.get(open_.id)
    assert (job.state, job.reason) == (State.CANCELLED, Reason.PARENT)
    assert (await words(store, open_.id))[-1] == (1, "cancelled", Ended(Reason.PARENT))
    with pytest.raises(LeaseLost):
        await store.finish(open_.id, 1, DONE)


async def test_children_of_an_earlier_attempt_are_not_ended_again() -> None:
    """The next attempt spawns others, and its end ends only its own children."""
    store = MemoryStore()
    parent = (await run(store)).submission.id
    first, second = make(), make()
    await store.spawn(parent, 1, first, W)
    await store.finish(parent, 1, retried())
    await store.claim(1, W)
    await store.spawn(parent, 2, second, W)
    await store.finish(parent, 2, DONE)
    for child in (first, second):
        assert [word for _, word, _ in await words(store, child.id)] == ["submitted", "started", "cancelled"]


async def test_ended_children_take_no_room() -> None:
    """A parent that spawns without end keeps no more of its ended children than retention allows."""
    store = MemoryStore(retention=Retention(finished=10))
    parent = (await run(store)).submission.id
    for _ in range(1000):
        child = make()
        await store.spawn(parent, 1, child, W)
        await store.finish(child.id, 1, DONE)
    assert (await store.count(Where()))[State.COMPLETED] == 10
    assert len(rows_of(store)[parent].children or ()) <= 100


# ---------------------------------------------------------------- ends


@pytest.mark.parametrize(
    ("asked", "reason", "told"),
    [
        ("please", Reason.ERROR, "please"),
        (None, Reason.ERROR, None),
        ("please", Reason.WORKER_LOST, "please (again)"),
        (None, Reason.WORKER_LOST, "again"),
    ],
)
async def test_a_cancellation_that_nobody_confirmed(
    asked: str | None, reason: Reason, told: str | None
) -> None:
    """A job whose cancellation was requested does not run again; if its worker was lost, that is added to the
    request's text."""
    store = MemoryStore()
    claim = await run(store)
    job_id = claim.submission.id
    await store.request_cancel(job_id, asked)
    assert await store.finish(job_id, 1, retried(reason)) is State.CANCELLED
    job = await store.get(job_id)
    assert (job.reason, job.message) == (Reason.USER, told)


async def test_cancel_a_queued_job() -> None:
    """A waiting job is cancelled at once, and is never claimed."""
    store = MemoryStore()
    (job_id,) = await accept(store, make())
    with assert_no_checkpoints():
        assert await store.request_cancel(job_id, "tired") == "cancelled"
    job = await store.get(job_id)
    assert (job.state, job.reason, job.attempt) == (State.CANCELLED, Reason.USER, 0)
    assert job.cancel_requested_at == job.finished_at
    assert await words(store, job_id) == [
        (0, "submitted", "nothing"),
        (0, "cancel_requested", "tired"),
        (0, "cancelled", Ended(Reason.USER, "tired")),
    ]
    assert await store.claim(9, W) == []


async def test_cancel_a_retrying_job() -> None:
    """A job that waits to run again is cancelled at once too."""
    store = MemoryStore()
    job_id = (await run(store)).submission.id
    await store.finish(job_id, 1, retried())
    assert await store.request_cancel(job_id, None) == "cancelled"
    assert (await store.get(job_id)).state is State.CANCELLED
    assert await store.claim(9, W) == []


@pytest.mark.parametrize("reason", [Reason.ERROR, Reason.SHUTDOWN, Reason.SNOOZED])
async def test_cancel_a_running_job(reason: Reason) -> None:
    """A running job is marked, once; it goes on until its attempt ends, and then does not run again."""
    store = MemoryStore()
    job_id = (await run(store)).submission.id
    assert await store.request_cancel(job_id, "first") == "requested"
    marked = await store.get(job_id)
    assert marked.state is State.RUNNING
    assert marked.cancel_requested_at is not None
    assert await store.request_cancel(job_id, "second") == "requested"
    assert await store.get(job_id) == marked
    await append(store, job_id, 1, Kind.TOKEN, ["still here"])
    assert await store.finish(job_id, 1, retried(reason, error=ERROR)) is State.CANCELLED
    job = await store.get(job_id)
    assert (job.state, job.reason, job.error) == (State.CANCELLED, Reason.USER, ERROR)
    assert (await words(store, job_id))[2:] == [
        (1, "cancel_requested", "first"),
        (1, "token", "still here"),
        (1, "cancelled", Ended(Reason.USER, "first", ERROR)),
    ]
    assert await store.claim(9, W) == []


async def test_a_cancelled_attempt_ends_with_the_words_of_the_request() -> None:
    """The end of the job has the text of the first request, not of a later one."""
    store = MemoryStore()
    for reason, said in ((Reason.USER, "tired"), (Reason.UNREAD, "nobody reads")):
        job_id = (await run(store)).submission.id
        await store.request_cancel(job_id, "tired")
        await store.request_cancel(job_id, "again")
        await store.finish(
            job_id, 1, Outcome(Transition.CANCELLED, None, Ended(reason, "nobody reads", ERROR))
        )
        assert (await words(store, job_id))[-1] == (1, "cancelled", Ended(reason, said, ERROR))


@pytest.mark.parametrize("outcome", [DONE, failed()], ids=["completed", "failed"])
async def test_a_job_may_end_otherwise_after_a_cancel(outcome: Outcome) -> None:
    """A job that ends before it is stopped keeps that end; the request stays visible."""
    store = MemoryStore()
    job_id = (await run(store)).submission.id
    await store.request_cancel(job_id, None)
    state = await store.finish(job_id, 1, outcome)
    assert state.value == outcome.transition.value
    assert (await store.get(job_id)).cancel_requested_at is not None
    before = await words(store, job_id)
    assert await store.request_cancel(job_id, None) == "already_over"
    assert await words(store, job_id) == before


async def test_queue_timeout(autojump_clock: MockClock) -> None:
    """A job that was not started in time fails exactly then, at a sweep or a claim, and never runs."""
    store = MemoryStore()
    swept, claimed = await accept(store, make(timeouts=Timeouts(queue=10)), make(timeouts=Timeouts(queue=20)))
    await trio.sleep(9.5)
    await store.sweep()
    assert (await store.get(swept)).state is State.QUEUED
    await trio.sleep(0.5)
    await store.sweep()
    job = await store.get(swept)
    assert (job.state, job.reason, job.attempt) == (State.FAILED, Reason.QUEUE_TIMEOUT, 0)
    await trio.sleep(10)
    assert await store.claim(9, W) == []
    ended = Ended(Reason.QUEUE_TIMEOUT, "Job was not started within 20s")
    assert (await words(store, claimed))[1:] == [(0, "expired", ended)]


async def test_the_queue_timeout_runs_from_due_to_the_first_start(autojump_clock: MockClock) -> None:
    """Neither the delay before a job is due nor a wait for a retry counts."""
    store = MemoryStore()
    (late,) = await accept(store, make(delay=100.0, timeouts=Timeouts(queue=10)))
    retrying = (await run(store, timeouts=Timeouts(queue=10))).submission.id
    await store.finish(retrying, 1, retried(delay=50.0))
    await trio.sleep(109)
    await store.sweep()
    assert (await store.get(late)).state is State.QUEUED
    assert (await store.get(retrying)).state is State.RETRYING
    assert {claim.submission.id for claim in await store.claim(9, W)} == {late, retrying}
    await trio.sleep(100)
    await store.sweep()
    assert await store.count(Where()) == {State.RUNNING: 2}


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=12)
)
def test_due_and_overdue_are_never_late(jobs: list[tuple[int, int, int]]) -> None:
    """A worker and a sweeper that wait for `due` and `overdue` start and end each job at the exact time."""

    async def main() -> None:
        store = MemoryStore()
        started: dict[str, float] = {}

        async def work() -> None:
            while True:
                await store.due()
                for claim in await store.claim(9, W):
                    started[claim.submission.id] = trio.current_time()

        async def sweep() -> None:
            while True:
                await store.overdue()
                await store.sweep()

        waits: dict[str, float] = {}
        expires: dict[str, float] = {}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sweep)
            for before, delay, _ in jobs:
                await trio.sleep(before)
                (job_id,) = await accept(store, make(delay=float(delay), timeouts=Timeouts(queue=1000)))
                expires[job_id] = trio.current_time() + delay + 1000
            await trio.sleep(2000)
            for job_id, when in expires.items():
                finished = (await store.get(job_id)).finished_at
                assert finished is not None
                assert finished.timestamp() == pytest.approx(when + epoch_of(store), abs=1e-3)
            nursery.start_soon(work)
            for before, delay, queue in jobs:
                await trio.sleep(before)
                (job_id,) = await accept(store, make(delay=float(delay), timeouts=Timeouts(queue=queue + 1)))
                waits[job_id] = trio.current_time() + delay
            await trio.sleep(100)
            nursery.cancel_scope.cancel()
        assert started == waits

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def test_close() -> None:
    """Closing ends every unfinished job with the reason, and wakes all waiting tasks."""
    store = MemoryStore()
    running = (await run(store)).submission.id
    over = (await run(store)).submission.id
    await store.finish(over, 1, DONE)
    (queued,) = await accept(store, make(timeouts=Timeouts(queue=1)))
    ended: list[State] = []

    async def wait(job_id: str) -> None:
        ended.append((await store.ended(job_id)).state)

    async with trio.open_nursery() as nursery:
        for job_id in (running, queued):
            nursery.start_soon(wait, job_id)
        await wait_all_tasks_blocked()
        store.close(Reason.SHUTDOWN)
    assert ended == [State.CANCELLED] * 2
    for job_id in (running, queued):
        assert (await words(store, job_id))[-1][1:] == ("cancelled", Ended(Reason.SHUTDOWN))
    assert (await store.get(over)).state is State.COMPLETED
    assert await store.claim(9, W) == []
    with pytest.raises(LeaseLost):
        await store.finish(running, 1, DONE)
    store.close(Reason.SHUTDOWN)


# ---------------------------------------------------------------- looking


@pytest.mark.parametrize("verb", ["get", "history", "ended", "remove", "read", "follow", "request_cancel"])
async def test_an_unknown_job(verb: str) -> None:
    """Every verb about one job raises UnknownJob with its id."""
    store = MemoryStore()
    more: dict[str, tuple[Any, ...]] = {"read": (0, 1), "follow": (0, 1), "request_cancel": (None,)}
    with pytest.raises(UnknownJob) as caught:
        await getattr(store, verb)("nobody", *more.get(verb, ()))
    assert caught.value.job_id == "nobody"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_read_and_history() -> None:
    """`read` pages through the log by cursor; `history` is the log without tokens and progress."""
    store = MemoryStore()
    job_id = (await run(store)).submission.id
    await append(store, job_id, 1, Kind.TOKEN, ["a", "b"])
    await append(store, job_id, 1, Kind.SAVED, ["s"])
    await append(store, job_id, 1, Kind.PROGRESS, ["p"])
    assert [event.seq for event in await store.read(job_id, 2, 2)] == [3, 4]
    assert await store.read(job_id, 6, 2) == await store.read(job_id, 99, 2) == []
    assert [event.kind for event in await store.history(job_id)] == [Kind.SUBMITTED, Kind.STARTED, Kind.SAVED]


WHERES: list[tuple[Where, set[str]]] = [
    (Where(), {"a", "b", "c", "d"}),
    (Where(states={State.QUEUED}), {"a", "b"}),
    (Where(states=[State.QUEUED, State.RUNNING]), {"a", "b", "c", "d"}),
    (Where(states=()), set()),
    (Where(tags={"user": "7"}), {"a", "c"}),
    (Where(tags={"user": "7", "size": "L"}), {"c"}),
    (Where(tags={}), {"a", "b", "c", "d"}),
    (Where(tags={"user": "9"}), set()),
    (Where(handler="something"), {"b"}),
    (Where(owner="me"), {"b"}),
    (Where(owner="you"), set()),
    (Where(parent="PARENT"), {"d"}),
    (Where(states={State.QUEUED}, tags={"user": "7"}), {"a"}),
]


@pytest.mark.parametrize(("where", "wanted"), WHERES, ids=[str(n) for n in range(len(WHERES))])
async def test_find_and_count(where: Where, wanted: set[str]) -> None:
    """A job matches when each field given matches; `find` is oldest first up to a limit, `count` by state."""
    store = MemoryStore()
    _, (claim,) = await store.submit([make(metadata={"name": "c"}, tags={"user": "7", "size": "L"})], 1, W)
    await accept(store, make(metadata={"name": "a"}, tags={"user": "7"}))
    await accept(store, make(metadata={"name": "b"}, owner="me", target=something))
    await store.spawn(claim.submission.id, 1, make(metadata={"name": "d"}), W)
    if where.parent is not None:
        where = where._replace(parent=claim.submission.id)
    found = await store.find(where, ALL)
    names = [(await store.get(job.id)).metadata["name"] for job in found]
    assert names == [name for name in "cabd" if name in wanted]
    assert await store.count(where) == Counter(job.state for job in found)
    for limit in (0, 1, 2):
        assert (await store.find(where, limit)).jobs == found[:limit]


# ---------------------------------------------------------------- waiting


async def test_follow() -> None:
    """`follow` returns existing events, waits for the next ones, and returns none after the end."""
    store = MemoryStore()
    job_id = (await run(store)).submission.id
    assert [event.seq for event in await store.follow(job_id, 0, 1)] == [1]
    seen: list[int] = []

    async def read(after: int) -> None:
        while events := await store.follow(job_id, after, 3):
            seen.extend(event.seq for event in events)
            after = events[-1].seq

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, 2)
        nursery.start_soon(read, 2)
        await wait_all_tasks_blocked()
        assert seen == []
        await append(store, job_id, 1, Kind.TOKEN, ["a", "b", "c", "d", "e"])
        await wait_all_tasks_blocked()
        assert sorted(seen) == [3, 3, 4, 4, 5, 5, 6, 6, 7, 7]
        await append(store, job_id, 1, Kind.SAVED, ["s"])
        await store.request_cancel(job_id, None)
        await wait_all_tasks_blocked()
        assert sorted(seen)[-4:] == [8, 8, 9, 9]
        await store.finish(job_id, 1, DONE)
    assert sorted(seen)[-2:] == [10, 10]
    assert await store.follow(job_id, 10, 1) == []


async def test_follow_is_a_checkpoint() -> None:
    """`follow` is a checkpoint whether or not it has to wait, and after the job's end."""
    store = MemoryStore()
    job_id = (await run(store)).submission.id
    for _ in range(2):
        with trio.testing.assert_checkpoints():
            await store.follow(job_id, 0, 1)
        await store.request_cancel(job_id, None)
        if (await store.get(job_id)).state is State.RUNNING:
            await store.finish(job_id, 1, DONE)
    with trio.testing.assert_checkpoints():
        assert await store.follow(job_id, 4, 1) == []


@pytest.mark.parametrize("verb", ["follow", "ended", "due", "overdue"])
async def test_waiting_can_be_cancelled(verb: str, autojump_clock: MockClock) -> None:
    """A wait that is cancelled leaves nothing behind: the next one wakes."""
    store = MemoryStore()
    job_id = (await run(store)).submission.id
    waits: dict[str, Callable[[], Awaitable[object]]] = {
        "follow": partial(store.follow, job_id, 2, 1),
        "ended": partial(store.ended, job_id),
        "due": store.due,
        "overdue": store.overdue,
    }
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waits[verb])
            await wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waits[verb])
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        await store.finish(job_id, 1, DONE)
        await accept(store, make(timeouts=Timeouts(queue=1)))


async def test_ended() -> None:
    """`ended` gives the job once it has ended, at once if it has; a retry is no end."""
    store = MemoryStore()
    job_id = (await run(store)).submission.id
    found: list[Job] = []

    async def wait() -> None:
        found.append(await store.ended(job_id))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        await store.finish(job_id, 1, retried())
        await store.claim(1, W)
        await wait_all_tasks_blocked()
        assert found == []
        await store.finish(job_id, 2, DONE)
    job = await store.get(job_id)
    assert found == [job, job]
    assert await store.ended(job_id) == job


@pytest.mark.parametrize("outcome", [DONE, failed()], ids=["completed", "failed"])
async def test_end(outcome: Outcome) -> None:
    """`end` gives the end of the job that `ended` gives."""
    store = MemoryStore()
    job_id = (await run(store)).submission.id
    await store.finish(job_id, 1, outcome)
    job, end = await store.ended(job_id), await store.end(job_id)
    assert end._asdict().items() <= attrs.asdict(job, recurse=False).items()


# ---------------------------------------------------------------- going


async def test_remove() -> None:
    """A job that has ended can be removed, once; a job that has not is refused and stays."""
    store = MemoryStore()
    job_id = (await run(store)).submission.id
    for state in ("running", "retrying"):
        with pytest.raises(IllegalTransition) as caught:
            await store.remove(job_id)
        assert (
            str(caught.value)
            == f"a job that is {state} cannot be removed; cancel it first, or wait for its end"
        )
        assert (caught.value.state, caught.value.transition) == (State(state), "removed")
        if state == "running":
            await store.finish(job_id, 1, retried())
    await store.request_cancel(job_id, None)
    await store.remove(job_id)
    for _ in range(2):
        with pytest.raises(UnknownJob):
            await store.remove(job_id)
    assert not await store.find(Where(), ALL)


async def test_prune(autojump_clock: MockClock) -> None:
    """Jobs that ended longer ago than that are removed; those that ended then, or have not ended, stay."""
    store = MemoryStore()
    ids = []
    for _ in range(3):
        claim = await run(store)
        await store.finish(claim.submission.id, 1, DONE)
        ids.append(claim.submission.id)
        await trio.sleep(10)
    await accept(store, make())
    assert await store.prune(30) == 0
    assert await store.prune(20) == 1
    assert await store.prune(20) == 0
    assert {job.id for job in await store.find(Where(states=[State.COMPLETED]), ALL)} == set(ids[1:])
    assert await store.prune(0) == 2
    assert await store.count(Where()) == {State.QUEUED: 1}


async def test_retention_of_ended_jobs() -> None:
    """Of the jobs that ended, the last `finished` are kept; those that have not ended do not count."""
    store = MemoryStore(retention=Retention(finished=3))
    claims = [await run(store) for _ in range(6)]
    for claim in reversed(claims[1:]):
        await store.finish(claim.submission.id, 1, DONE)
    assert [job.id for job in await store.find(Where(), ALL)] == [claim.submission.id for claim in claims[:4]]
    await store.remove(claims[1].submission.id)
    await store.finish(claims[0].submission.id, 1, DONE)
    assert await store.count(Where()) == {State.COMPLETED: 3}


# ---------------------------------------------------------------- whole programs

# The model is written from the design. It uses nothing of the package's rules, only the records.

PENALTIES = {Priority.URGENT: 0.0, Priority.HIGH: 60.0, Priority.NORMAL: 300.0, Priority.LOW: 1800.0}


@attrs.define
class Model:
    """One job as it should be."""

    content: tuple[Any, ...]
    created: float
    due: float
    penalty: float
    deadline: float = math.inf
    parent: str | None = None
    state: str = "queued"
    attempt: int = 0
    spent: int = 0
    reason: str | None = None
    message: str | None = None
    result: Any = None
    saved: Any = None
    started: float | None = None
    finished: float | None = None
    cancelled_at: float | None = None
    cancel_message: str | None = None
    ticket: int = 0
    first_due: float = attrs.field(default=attrs.Factory(lambda job: job.due, takes_self=True))
    log: list[tuple[int, str, float, Any]] = attrs.field(factory=list)


class World:
    """All jobs as they should be."""

    def __init__(self, queue_limit: int, keep_ended: int) -> None:
        self.jobs: dict[str, Model] = {}
        self.logs: dict[str, list[tuple[int, str, float, Any]]] = {}
        self.keys: dict[tuple[str | None, str], str] = {}
        self.ended: list[str] = []
        self.queue_limit = queue_limit
        self.keep_ended = keep_ended
        self.tickets = 0
        self.now = 0.0

    def waiting(self) -> list[str]:
        return [job_id for job_id, job in self.jobs.items() if job.state in {"queued", "retrying"}]

    def add(self, job_id: str, job: Model) -> None:
        self.jobs[job_id] = job
        self.logs[job_id] = job.log
        self.ticket(job)
        self.write(job, "submitted", "nothing")

    def ticket(self, job: Model) -> None:
        self.tickets += 1
        job.ticket = self.tickets

    def write(self, job: Model, kind: str, data: Any) -> None:
        job.log.append((job.attempt, kind, self.now, data))

    def step(self, job_id: str, transition: str, data: Any) -> None:
        job = self.jobs[job_id]
        job.state = NEXT[job.state, transition]
        if isinstance(data, Ended):
            job.reason, job.message = data.reason.value, data.message
        if job.state in OVER:
            job.finished = self.now
            self.ended.append(job_id)
        self.write(job, transition, data)
        while len(self.ended) > self.keep_ended:
            self.forget(self.ended[0])

    def forget(self, job_id: str) -> None:
        del self.jobs[job_id]
        self.ended.remove(job_id)
        self.keys = {address: holder for address, holder in self.keys.items() if holder != job_id}

    def start(self, job_id: str) -> None:
        job = self.jobs[job_id]
        job.attempt += 1
        job.spent += 1
        job.reason, job.message, job.started = None, None, self.now
        self.step(job_id, "started", "w")

    def expire(self) -> None:
        late = [job_id for job_id in self.waiting() if self.jobs[job_id].deadline <= self.now]
        for job_id in sorted(late, key=lambda one: (self.jobs[one].deadline, self.jobs[one].ticket)):
            if self.jobs[job_id].state == "queued":
                limit = self.jobs[job_id].deadline - self.jobs[job_id].due
                message = f"Job was not started within {limit:g}s"
                self.step(job_id, "expired", Ended(Reason.QUEUE_TIMEOUT, message))

    def claim(self, limit: int) -> list[str]:
        self.expire()
        due = [job_id for job_id in self.waiting() if self.jobs[job_id].due <= self.now]
        due.sort(key=lambda one: (self.jobs[one].due + self.jobs[one].penalty, self.jobs[one].ticket))
        for job_id in due[:limit]:
            self.start(job_id)
        return due[:limit]

    def end_children(self, parent: str) -> None:
        below = [parent]
        for above in below:  # which grows meanwhile
            below += [one for one, job in self.jobs.items() if job.parent == above and job.state == "running"]
        for job_id in reversed(below[1:]):
            self.step(job_id, "cancelled", Ended(Reason.PARENT))


def fold(events: list[Event]) -> dict[str, Any]:
    """Return the state of a job by its log, checking each step with the table."""
    found: dict[str, Any] = {
        "state": "queued",
        "attempt": 0,
        "spent": 0,
        "reason": None,
        "message": None,
        "result": None,
        "saved": None,
        "started_at": None,
        "finished_at": None,
        "cancel_requested_at": None,
    }
    for seq, event in enumerate(events, 1):
        kind, data = event.kind.value, event.data
        assert event.seq == seq
        assert found["state"] not in OVER, "an event after the end"
        assert (seq == 1) is (kind == "submitted")
        if kind == "saved":
            found["saved"] = data
        elif kind == "cancel_requested":
            assert found["cancel_requested_at"] is None
            found["cancel_requested_at"] = event.at
        elif kind not in {"submitted", "token", "progress"}:
            found["state"] = NEXT[found["state"], kind]
            if kind == "started":
                found |= {"attempt": event.attempt, "spent": found["spent"] + 1}
                found |= {"reason": None, "message": None, "started_at": event.at}
            elif kind == "completed":
                found["result"] = data
            else:
                found |= {"reason": data.reason.value, "message": data.message}
            if kind == "retried" and data.reason.value in {"shutdown", "snoozed"}:
                found["spent"] -= 1
            if found["state"] in OVER:
                found["finished_at"] = event.at
        else:
            assert kind == "submitted" or found["state"] == "running"
        assert event.attempt == found["attempt"]
    return found


class Program:
    """Runs drawn steps on a store and on the model, and compares the two after each."""

    def __init__(self, data: st.DataObject, queue_limit: int, keep_ended: int, clock: MockClock) -> None:
        self.draw = data.draw
        self.clock = clock
        self.store = MemoryStore(queue_limit=queue_limit, retention=Retention(finished=keep_ended))
        self.world = World(queue_limit, keep_ended)
        self.claims: list[tuple[str, int]] = []
        self.ids: list[str] = []
        self.followed: dict[str, list[Event]] = {}

    def wall(self, when: float | None) -> datetime | None:
        return None if when is None else datetime.fromtimestamp(when + epoch_of(self.store), UTC)

    async def submit(self) -> None:
        """Submit up to three jobs with the same options."""
        delay, queue = (
            self.draw(st.sampled_from([0.0, 0.0, 5.0, 50.0])),
            self.draw(st.sampled_from([None, 3, 20])),
        )
        priority, owner = self.draw(st.sampled_from(Priority)), self.draw(st.sampled_from([None, None, "me"]))
        calls = self.draw(
            st.lists(
                st.tuples(st.integers(0, 1), st.sampled_from([None, None, "a", "b"])), min_size=1, max_size=3
            )
        )
        slots, world = self.draw(st.integers(0, 2)), self.world
        batch = [
            make(arg, key=key, delay=delay, priority=priority, owner=owner, timeouts=Timeouts(queue=queue))
            for arg, key in calls
        ]
        content = [(arg, delay, priority, queue) for arg, _ in calls]

        ids, fresh, held, conflict = list[str](), list[int](), dict[str, int](), False
        for n, new in enumerate(batch):
            holder = None if new.key is None else world.keys.get((owner, new.key))
            if holder is not None:
                conflict = conflict or world.jobs[holder].content != content[n]
                ids.append(holder)
            elif new.key is not None and new.key in held:
                conflict = conflict or content[held[new.key]] != content[n]
                ids.append(batch[held[new.key]].id)
            else:
                fresh.append(n)
                ids.append(new.id)
                if new.key is not None:
                    held[new.key] = n
        if conflict:
            with pytest.raises(KeyConflict):
                await self.store.submit(batch, slots, W)
            return
        at_once = min(slots, len(fresh)) if delay == 0 else 0
        if fresh and len(world.waiting()) + len(fresh) - at_once > world.queue_limit:
            with pytest.raises(QueueFull):
                await self.store.submit(batch, slots, W)
            return
        for n in fresh:
            due = world.now + delay
            deadline = math.inf if queue is None else due + queue
            world.add(batch[n].id, Model(content[n], world.now, due, PENALTIES[priority], deadline))
            if batch[n].key is not None:
                world.keys[owner, batch[n].key or ""] = batch[n].id
        # Without anybody in the queue, or a slot, there is nothing to claim, nor to expire.
        wanted = world.claim(slots) if slots and world.waiting() else []
        self.ids += [batch[n].id for n in fresh]
        assert await self.check_claims(self.store.submit(batch, slots, W), wanted) == ids

    async def check_claims(self, verb: Awaitable[Any], wanted: list[str]) -> list[str]:
        """Compare the claims of a verb with the expected ones, and record them."""
        answer = await verb
        ids, claims = answer if isinstance(answer, tuple) else ([], answer)
        assert [claim.submission.id for claim in claims] == wanted
        for claim in claims:
            job = self.world.jobs[claim.submission.id]
            assert (claim.attempt, claim.spent, claim.saved) == (job.attempt, job.spent, job.saved)
            assert claim.seq == len(job.log)
            self.claims.append((claim.submission.id, claim.attempt))
        return cast("list[str]", ids)

    async def claim(self) -> None:
        limit = self.draw(st.integers(1, 3))
        await self.check_claims(self.store.claim(limit, W), self.world.claim(limit))

    def fence(self) -> tuple[str, int, Model | None]:
        """Draw an attempt, mostly a late one; the job is returned with it if it runs that attempt."""
        if not self.claims:
            return "nobody", 1, None
        job_id, attempt = self.claims[-1 - self.draw(st.integers(0, len(self.claims) - 1))]
        job = self.world.jobs.get(job_id)
        held = job is not None and job.state == "running" and job.attempt == attempt
        return job_id, attempt, job if held else None

    async def append(self) -> None:
        job_id, attempt, job = self.fence()
        kind = self.draw(st.sampled_from([Kind.TOKEN, Kind.PROGRESS, Kind.SAVED]))
        values: list[Any] = self.draw(st.lists(st.integers(), min_size=1, max_size=3))
        if kind is Kind.PROGRESS:
            values = [Progress(value) for value in values]
        if job is None:
            with pytest.raises(LeaseLost):
                await append(self.store, job_id, attempt, kind, values)
            return
        for value in values:
            self.world.write(job, kind.value, value)
        if kind is Kind.SAVED:
            job.saved = values[-1]
        assert await append(self.store, job_id, attempt, kind, values) == len(job.log)

    async def finish(self) -> None:
        job_id, attempt, job = self.fence()
        transition = self.draw(st.sampled_from(["completed", "failed", "cancelled", "retried", "retried"]))
        reason = self.draw(
            st.sampled_from([Reason.ERROR, Reason.SHUTDOWN, Reason.SNOOZED, Reason.WORKER_LOST])
        )
        if job is not None and job.parent is not None and transition == "retried":
            transition = "failed"  # a child has no retry of its own
        delay = self.draw(st.sampled_from([None, 0.0, 7.0])) if transition == "retried" else None
        ended = None if transition == "completed" else Ended(reason, "so", None, delay)
        outcome = Outcome(Transition(transition), "r" if ended is None else None, ended)
        if job is None:
            with pytest.raises(LeaseLost):
                await self.store.finish(job_id, attempt, outcome)
            return
        if transition == "retried" and job.cancelled_at is not None:
            message = job.cancel_message
            if reason is Reason.WORKER_LOST:  # nobody has confirmed the cancellation, and that is told
                message = "so" if message is None else f"{message} (so)"
            transition, ended = "cancelled", Ended(Reason.USER, message)
        self.world.end_children(job_id)
        if transition == "retried":
            job.spent -= reason in {Reason.SHUTDOWN, Reason.SNOOZED}
            again = reason in {Reason.SHUTDOWN, Reason.WORKER_LOST}
            job.due = job.first_due if again else self.world.now + (delay or 0.0)
            job.deadline = math.inf
        job.result = outcome.result
        self.world.step(job_id, transition, "r" if ended is None else ended)
        assert (await self.store.finish(job_id, attempt, outcome)).value == job.state

    async def spawn(self) -> None:
        job_id, attempt, job = self.fence()
        child = make()
        if job is None:
            with pytest.raises(LeaseLost):
                await self.store.spawn(job_id, attempt, child, W)
            return
        now = self.world.now
        self.world.add(child.id, Model((), now, now, 0, parent=job_id))
        self.world.start(child.id)
        self.ids.append(child.id)
        claim = await self.store.spawn(job_id, attempt, child, W)
        assert (claim.submission, claim.attempt, claim.spent, claim.seq) == (child, 1, 1, 2)
        self.claims.append((child.id, 1))

    def any_job(self) -> tuple[str, Model | None]:
        job_id = self.draw(st.sampled_from(self.ids)) if self.ids else "nobody"
        return job_id, self.world.jobs.get(job_id)

    async def cancel(self) -> None:
        job_id, job = self.any_job()
        message = self.draw(st.sampled_from([None, "one", "two"]))
        if job is None:
            with pytest.raises(UnknownJob):
                await self.store.request_cancel(job_id, message)
            return
        if job.state in OVER:
            wanted = "already_over"
        else:
            wanted = "requested" if job.state == "running" else "cancelled"
            if job.cancelled_at is None:
                job.cancelled_at, job.cancel_message = self.world.now, message
                self.world.write(job, "cancel_requested", message)
            if wanted == "cancelled":
                self.world.step(job_id, "cancelled", Ended(Reason.USER, message))
        assert await self.store.request_cancel(job_id, message) == wanted

    async def remove(self) -> None:
        job_id, job = self.any_job()
        if job is None:
            with pytest.raises(UnknownJob):
                await self.store.remove(job_id)
        elif job.state not in OVER:
            with pytest.raises(IllegalTransition):
                await self.store.remove(job_id)
        else:
            self.world.forget(job_id)
            await self.store.remove(job_id)

    async def prune(self) -> None:
        age = self.draw(st.sampled_from([0.0, 10.0, 60.0]))
        old = [
            one for one in self.world.ended if (self.world.jobs[one].finished or 0.0) < self.world.now - age
        ]
        for job_id in old:
            self.world.forget(job_id)
        assert await self.store.prune(age) == len(old)

    async def sweep(self) -> None:
        self.world.expire()
        await self.store.sweep()

    async def pass_time(self) -> None:
        seconds = self.draw(st.sampled_from([1, 2, 4, 30, 400]))
        self.clock.jump(seconds)
        self.world.now = trio.current_time()

    async def follow(self, job_id: str) -> None:
        """Read a job's log to its end, as a reader does, in small steps."""
        seen = self.followed[job_id]
        try:
            while events := await self.store.follow(job_id, len(seen), 2):
                seen += events
        except UnknownJob:
            assert job_id not in self.world.jobs

    async def compare(self) -> None:
        """Check that the store's jobs are the model's, and each is the fold of its log."""
        jobs = await self.store.find(Where(), ALL)
        assert [job.id for job in jobs] == list(self.world.jobs)
        for one in jobs:
            job = await self.store.get(one.id)
            wanted, events = self.world.jobs[job.id], await self.store.read(job.id, 0, ALL)
            found = [(event.attempt, event.kind.value, event.at, event.data) for event in events]
            assert found == [(attempt, kind, self.wall(at), data) for attempt, kind, at, data in wanted.log]
            given = ("args_bytes", "result_bytes", "log_bytes", "args_text")
            sizes = {name: getattr(one, name) for name in given}
            assert one == summary_of(job, progress=one.progress, **sizes)
            assert job.state.value == wanted.state
            assert (job.reason and job.reason.value, job.message) == (wanted.reason, wanted.message)
            assert (job.attempt, job.spent, job.parent) == (wanted.attempt, wanted.spent, wanted.parent)
            assert (job.result, job.saved, job.last_seq) == (wanted.result, wanted.saved, len(wanted.log))
            assert (job.created_at, job.started_at) == (self.wall(wanted.created), self.wall(wanted.started))
            assert job.finished_at == self.wall(wanted.finished)
            assert job.cancel_requested_at == self.wall(wanted.cancelled_at)
            assert job.next_attempt_at == (
                self.wall(wanted.due) if wanted.state in {"queued", "retrying"} else None
            )
            for name, value in fold(events).items():
                assert getattr(job, name) == value
        counts = Counter(job.state for job in self.world.jobs.values())
        assert {state.value: count for state, count in (await self.store.count(Where())).items()} == counts

    async def run(self, steps: list[str]) -> None:
        async with trio.open_nursery() as nursery:
            for step in steps:
                await getattr(self, step)()
                await self.compare()
                for job_id in self.world.jobs.keys() - self.followed.keys():
                    self.followed[job_id] = []
                    nursery.start_soon(self.follow, job_id)
                if step == "pass_time":
                    await wait_all_tasks_blocked()
            for job_id in [one for one, job in self.world.jobs.items() if job.state not in OVER]:
                self.world.step(job_id, "cancelled", Ended(Reason.SHUTDOWN))
            self.store.close(Reason.SHUTDOWN)
            await self.compare()
        # Every reader has come to an end, with all of the log, or with what there was when the job went.
        for job_id, seen in self.followed.items():
            log = [
                (attempt, kind, self.wall(at), data) for attempt, kind, at, data in self.world.logs[job_id]
            ]
            read = [(event.attempt, event.kind.value, event.at, event.data) for event in seen]
            assert read == log[: len(read)]
            assert len(read) == len(log) or job_id not in self.world.jobs


STEPS = ["submit", "claim", "append", "finish", "cancel", "spawn", "sweep", "pass_time", "remove", "prune"]
OFTEN = ["submit", "claim", "finish", "append", "finish", "claim", "submit"]


@settings(max_examples=settings().max_examples * 2)
@given(
    st.lists(st.sampled_from(STEPS + OFTEN), min_size=5, max_size=40),
    st.integers(1, 6),
    st.sampled_from([1, 2, 100]),
    st.data(),
)
def test_programs(steps: list[str], queue_limit: int, keep_ended: int, data: st.DataObject) -> None:
    """For any sequence of calls, the store's jobs are the model's and the folds of their logs.

    This includes: only legal steps, one end for each job and nothing after it, cursors without a hole, no
    write by an attempt that has ended, claims by rank and first in first out, and complete reading.
    """
    clock = MockClock()

    async def main() -> None:
        await Program(data, queue_limit, keep_ended, clock).run(steps)

    trio.run(main, clock=clock)


def test_the_fold_finds_a_second_end() -> None:
    """The fold refuses an illegal step, a hole and an event after the end."""

    def log(*kinds: Kind) -> Iterator[Event]:
        for seq, kind in enumerate(kinds, 1):
            yield Event(seq, 0, kind, 0.0, Ended(Reason.USER) if kind.ends else None)

    assert fold(list(log(Kind.SUBMITTED, Kind.CANCELLED)))["state"] == "cancelled"
    with pytest.raises(AssertionError, match="after the end"):
        fold(list(log(Kind.SUBMITTED, Kind.CANCELLED, Kind.CANCELLED)))
    with pytest.raises(KeyError):
        fold(list(log(Kind.SUBMITTED, Kind.COMPLETED)))
    with pytest.raises(AssertionError):
        fold(list(log(Kind.SUBMITTED, Kind.TOKEN)))
    with pytest.raises(AssertionError):
        fold(
            [event for event in log(Kind.SUBMITTED, Kind.CANCEL_REQUESTED, Kind.CANCELLED) if event.seq != 2]
        )


async def test_ended_jobs_are_bounded_in_bytes() -> None:
    """The size of ended jobs, with their logs, arguments and results, is bounded: the oldest are removed, but
    never the one that ended last."""
    for part in ("tokens", "saved", "argument", "result", "errors"):
        store = MemoryStore(retention=Retention(finished_bytes=100_000))
        ended = store._ended
        for _ in range(50):
            argument = "x" * 10_000 if part == "argument" else None
            (job_id,), _claims = await store.submit([make(argument)], 1, W)
            if part in {"tokens", "saved"}:
                kind = Kind.TOKEN if part == "tokens" else Kind.SAVED
                await append(store, job_id, 1, kind, ["x" * 1000 for _ in range(10)])
            if part == "errors":
                error = ErrorRecord("E", "", "x" * 10_000)
                await store.finish(job_id, 1, retried(error=error))
                (_again,) = await store.claim(1, W)
                await store.finish(job_id, 2, DONE)
            else:
                await store.finish(
                    job_id, 1, Outcome(Transition.COMPLETED, "x" * 10_000 * (part == "result"))
                )
        left = len(rows_of(store))
        assert 5 <= left <= 10, (part, left)
        assert ended.bytes <= 100_000
        (job_id,), _claims = await store.submit([make("x" * 200_000)], 1, W)
        await store.finish(job_id, 1, DONE)
        assert [*rows_of(store)] == [job_id]
        await store.remove(job_id)
        assert ended.bytes == 0


async def test_children_however_deep(autojump_clock: MockClock) -> None:
    """A chain of 1,200 nested children ends with the lost worker."""
    store = MemoryStore()
    doomed = Claimant("w", 1.0)
    _, (claim,) = await store.submit([make()], 1, doomed)
    ids = [claim.submission.id]
    for _ in range(1200):
        ids.append((await store.spawn(ids[-1], 1, make(), doomed)).submission.id)
    await trio.sleep(2)
    await store.sweep()
    assert (await store.get(ids[0])).state is State.RETRYING
    assert await store.count(Where()) == {State.RETRYING: 1, State.CANCELLED: 1200}


@pytest.mark.parametrize("hint", ["due", "overdue", "cancelling"])
async def test_close_wakes_who_waits_for_a_hint(hint: str) -> None:
    """Closing ends a wait for a hint, and any later one, with ClosedResourceError."""
    store = MemoryStore()
    wait: Any = partial(store.cancelling, {}) if hint == "cancelling" else getattr(store, hint)
    told = 0

    async def waits() -> None:
        nonlocal told
        with pytest.raises(trio.ClosedResourceError):
            await wait()
        told += 1

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waits)
            await wait_all_tasks_blocked()
            assert told == 0
            store.close(Reason.SHUTDOWN)
        await waits()
    assert told == 2
