"""What the checks have in common: jobs to submit, waits that end, and words for what went wrong.

The checks wait for three things only. For time to pass, they wait somewhat longer than it takes. For a
store to answer, they wait so long that no store which ever answers is too slow. For nothing to happen, they
wait for the answers of other calls, which take longer where all takes longer. None depends on being fast.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import trio
from outcome import acapture

from ..._common.errors import ErrorRecord, LeaseLost, UnknownJob
from ..._common.states import Reason, State, Transition
from ..._model.handler import handler
from ..._model.job import Ended, Event, Job, Kind, Retention
from ..._model.restart import Restart
from ...stores.contract import Claim, Claimant, Outcome, Store, Submission, Where
from ...stores.submission import submission

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

Opener: TypeAlias = Callable[[], AbstractAsyncContextManager[Store]]
"""Opens the store that a check is about; a second time, the same store once more."""
Act: TypeAlias = Callable[[], Awaitable[object]]
Look: TypeAlias = Callable[[], Awaitable[bool]]

ALL: Final = 10**6
BRIEF: Final = 0.05
"""Seconds of what is to lapse or to fall due during a check."""
LONG: Final = 60.0
"""Seconds of what is not."""
PATIENCE: Final = 10.0
"""Seconds after which a wait that should have ended is taken for one that never does."""

MANY: Final = 1001
"""More jobs than a store is likely to handle in one go."""

HOLDER: Final = Claimant("holder", LONG)
KNOWN: Final = HOLDER._replace(claim="0f1e2d3c-1")
"""The same worker, whose claim can be asked for again."""
DOOMED: Final = Claimant("doomed", BRIEF)
"""A worker that will be lost at once."""

QUEUE_LIMIT: Final = 4
RETENTION: Final = Retention(
    events=8, token_bytes=10_000, finished=3, inputs=4, input_bytes=25_000, steps=4, step_bytes=25_000
)
"""What a store with narrow limits is to be opened with."""

ERROR: Final = ErrorRecord("ValueError", "no such thing: \u00e9 \U0001f600", "Traceback\n  line\n")


async def work(job: object, *args: object, **kwargs: object) -> None:
    """Stand in for a handler. No check runs it."""


async def other_work(job: object, *args: object) -> None:
    """Stand in for another handler."""


@handler(service=Restart(first=BRIEF, healthy=LONG, most=2, within=LONG))
async def service_work(job: object) -> None:
    """Stand in for a service."""


def make(*args: object, target: Callable[..., Awaitable[Any]] = work, **options: Any) -> Submission:
    """Return a submission with a new id. The options are those of `JobRegistry.submit`."""
    return submission(target, args, options)


def make_by(job_id: str, attempt: int, claim: str | None = None, *args: object, **options: Any) -> Submission:
    """Return a submission by the handler of an attempt."""
    new = make(*args, **options)
    new.submitter = job_id, attempt, claim
    return new


def completed(result: object = None) -> Outcome:
    """Return the outcome of an attempt that returned `result`."""
    return Outcome(Transition.COMPLETED, result)


def failed(message: str = "it failed", error: ErrorRecord | None = None) -> Outcome:
    """Return the outcome of an attempt that failed."""
    return Outcome(Transition.FAILED, None, Ended(Reason.ERROR, message, error))


def cancelled() -> Outcome:
    """Return the outcome of an attempt that its user cancelled."""
    return Outcome(Transition.CANCELLED, None, Ended(Reason.USER))


def retried(reason: Reason = Reason.ERROR, delay: float = 0.0) -> Outcome:
    """Return the outcome of an attempt that is to be followed by another one."""
    return Outcome(Transition.RETRIED, None, Ended(reason, "once more", None, delay))


def awaiting(timeout: float = math.inf, *, received: int = 0) -> Outcome:
    """Return the outcome of an attempt that waits for an input; see `Outcome.received`."""
    ended = Ended(Reason.AWAITING_INPUT, "for an answer", None, timeout)
    return Outcome(Transition.RETRIED, None, ended, received)


async def accept(store: Store, *batch: Submission) -> list[str]:
    """Submit without claiming."""
    ids, claims = await store.submit(batch, 0, HOLDER)
    expect("submit with limit=0 claims", claims, [])
    return ids


async def start(store: Store, *args: object, worker: Claimant = HOLDER, **options: Any) -> Claim:
    """Submit a job and claim it, in a store in which no other job waits."""
    (job_id,) = await accept(store, make(*args, **options))
    return await again(store, job_id, worker)


async def started(store: Store, *args: object, worker: Claimant = HOLDER, **options: Any) -> str:
    """Submit a job and claim it, as `start` does, and return its id."""
    return (await start(store, *args, worker=worker, **options)).submission.id


async def finished(store: Store, outcome: Outcome | None = None, **options: Any) -> str:
    """Submit a job, claim it and end its attempt, and return its id."""
    job_id = await started(store, **options)
    await store.finish(job_id, 1, outcome or completed())
    return job_id


async def spawned(store: Store, parent: str, attempt: int = 1) -> str:
    """Spawn a child, and return its id."""
    return (await store.spawn(parent, attempt, make(), HOLDER)).submission.id


async def claimed(store: Store, limit: int) -> list[str]:
    """Claim jobs, and return their ids."""
    return [claim.submission.id for claim in await store.claim(limit, HOLDER)]


async def again(store: Store, job_id: str, worker: Claimant = HOLDER) -> Claim:
    """Claim the only job that is due."""
    claims = await store.claim(1, worker)
    expect("claim, of the only job that is due,", [claim.submission.id for claim in claims], [job_id])
    return claims[0]


async def lapse(seconds: float = BRIEF) -> None:
    """Let so many seconds pass. Stores may round to a few milliseconds."""
    await trio.sleep(seconds + 0.03)


def spans() -> Iterator[float]:
    """Give seconds in which a few calls are to be made, and more each time this machine was too slow."""
    yield from (BRIEF * 2**n for n in range(8))
    raise AssertionError("a few calls of the store took seconds each time")


async def swept(store: Store) -> None:
    """Let everything `BRIEF` pass, and sweep."""
    await lapse()
    await store.sweep()


async def whole(store: Store, job_id: str) -> list[Event]:
    """Return the whole log."""
    return await store.read(job_id, 0, ALL)


async def words(store: Store, job_id: str) -> list[tuple[int, str, Any]]:
    """Return the attempt, kind and data of each event."""
    return [(event.attempt, event.kind.value, event.data) for event in await whole(store, job_id)]


async def inbox(store: Store, job_id: str, after: int = 0) -> list[tuple[int, Any]]:
    """Return the `seq` and value of each input behind a cursor."""
    return [(event.seq, event.data) for event in await store.inputs(job_id, after, ALL)]


async def state_of(store: Store, job_id: str) -> State:
    """Return where a job is."""
    return (await store.get(job_id)).state


async def states(store: Store, *job_ids: str) -> list[State]:
    """Return where several jobs are."""
    return [await state_of(store, job_id) for job_id in job_ids]


async def found(store: Store, **where: Any) -> list[str]:
    """Return the ids of the jobs that match a filter, as far as a page goes."""
    return [job.id for job in await store.find(Where(**where), ALL)]


async def counted(store: Store, **where: Any) -> dict[State, int]:
    """Return how many jobs match a filter in each state."""
    return dict(await store.count(Where(**where)))


def expect(what: str, came: object, wanted: object) -> None:
    """Raise an error that says what was expected of which verb and what came, unless they are equal."""
    if came != wanted:
        raise AssertionError(f"{what}: expected {wanted!r}, got {came!r}")


def ensure(what: str, *, holds: bool, came: object) -> None:
    """Raise an error that says what was expected and what came, unless it holds."""
    if not holds:
        raise AssertionError(f"{what}; got {came!r}")


async def expect_job(what: str, store: Store, job_id: str, **wanted: object) -> Job:
    """Check fields of a snapshot, and return it; `...` stands for any value but None."""
    job = await store.get(job_id)
    came = {name: getattr(job, name) for name in wanted}
    came |= {name: ... for name, value in came.items() if wanted[name] is ... and value is not None}
    expect(f"{what}, then get", came, wanted)
    return job


async def expect_waits(store: Store, ids: Sequence[str], wanted: Sequence[str | None]) -> None:
    """Check what jobs wait for."""
    came = [(await store.get(job_id)).waiting_for for job_id in ids]
    expect("get: waiting_for", came, wanted)


async def expect_beat(
    what: str,
    store: Store,
    held: Mapping[str, int],
    *,
    lost: Collection[str] = (),
    cancels: Mapping[str, float] | None = None,
) -> None:
    """Check what a heartbeat says."""
    answer = await store.heartbeat(held, LONG)
    expect(f"{what}: lost and cancels", (answer.lost, dict(answer.cancels)), (frozenset(lost), cancels or {}))


async def expect_unknown(what: str, store: Store, job_id: str) -> None:
    """Check that every verb about one job says that it does not know an id, and none writes to it."""
    calls: dict[str, Act] = {
        "get": partial(store.get, job_id),
        "read": partial(store.read, job_id, 0, ALL),
        "history": partial(store.history, job_id),
        "follow": partial(store.follow, job_id, 0, ALL),
        "ended": partial(store.ended, job_id),
        "send": partial(store.send, job_id, "a", [1]),
        "end_inputs": partial(store.end_inputs, job_id),
        "inputs": partial(store.inputs, job_id, 0, ALL),
        "request_cancel": partial(store.request_cancel, job_id, None),
        "remove": partial(store.remove, job_id),
    }
    for name, call in calls.items():
        error = await refused(f"{name} of {what}", UnknownJob, call())
        expect(f"UnknownJob of {name} of {what}", error.job_id, job_id)
    await _refuse_writes(store, job_id, 1)


async def expect_shared(*workers: Store) -> None:
    """Let workers claim jobs at the same time, and check that each job is started once."""
    ids = await accept(workers[0], *[make(n) for n in range(20)])
    taken = list[str]()

    async def worker(store: Store) -> None:
        while claims := await claimed(store, 3):
            taken.extend(claims)

    async with trio.open_nursery() as nursery:
        for store in workers:
            nursery.start_soon(worker, store)
    expect("claim, by several at once,", sorted(taken), sorted(ids))
    expect("claim, then count", await counted(workers[0]), {State.RUNNING: 20})


async def refused(what: str, error: type[E], call: Awaitable[object]) -> E:
    """Return the error that a call raises; anything else it does is a failure."""
    try:
        came = await call
    except error as caught:
        return caught
    raise AssertionError(f"{what}: expected {error.__name__} to be raised, got {came!r}")


async def rejected(what: str, error: type[E], store: Store, *batch: Submission, limit: int = 0) -> E:
    """Return the error that a submit raises; see `refused`."""
    return await refused(what, error, store.submit(batch, limit, HOLDER))


async def unchanged(what: str, store: Store, job_id: str, act: Callable[[], Awaitable[T]]) -> T:
    """Do something that is to change nothing about a job, and return or raise what came of it."""
    before = await store.get(job_id), await whole(store, job_id)
    came = await acapture(act)
    after = await store.get(job_id), await whole(store, job_id)
    expect(f"{what}, which changes nothing about the job", after, before)
    return came.unwrap()


async def fenced(store: Store, job_id: str, attempt: int) -> None:
    """Check that an attempt can write nothing, in any way."""
    what = f"a write by attempt {attempt}, which does not run"
    await unchanged(what, store, job_id, partial(_refuse_writes, store, job_id, attempt))


async def _refuse_writes(store: Store, job_id: str, attempt: int) -> None:
    child, other = make(), make_by(job_id, attempt)
    calls: dict[str, Act] = {
        "spawn": partial(store.spawn, job_id, attempt, child, HOLDER),
        "submit": partial(store.submit, [other], 1, HOLDER),
    }
    for kind in (Kind.TOKEN, Kind.PROGRESS, Kind.SAVED):
        calls[f"append of {kind.value}"] = partial(store.append, job_id, attempt, kind, ["late"], 0)
    for outcome in (completed("late"), failed(), cancelled(), retried()):
        calls[f"finish ({outcome.transition.value})"] = partial(store.finish, job_id, attempt, outcome)
    for name, call in calls.items():
        what = f"{name} by attempt {attempt}, which does not run"
        error = await refused(what, LeaseLost, call())
        expect(f"LeaseLost of {what}", (error.job_id, error.attempt), (job_id, attempt))
    await refused("get of a child that was not accepted", UnknownJob, store.get(child.id))
    await expect_beat("heartbeat of what does not run", store, {job_id: attempt}, lost={job_id})


async def answered(what: str, wait: Awaitable[T]) -> T:
    """Return what a wait returns that is to end by itself.

    Raises:
        AssertionError: It took `PATIENCE` seconds.
    """
    with trio.move_on_after(PATIENCE):
        return await wait
    raise AssertionError(f"{what}: expected it to return, but it still waits after {PATIENCE:g} s")


async def settled(store: Store) -> None:
    """Let what has begun to wait get as far as it gets alone: it takes no longer than these calls."""
    for _ in range(8):
        await store.count(Where())
        await trio.sleep(BRIEF / 100)  # not every call lets others run, and `soon` pauses for less time


async def left(store: Store, wait: Act) -> list[object]:
    """Start a wait, and leave it when it could have ended; return what it returned by then, if it did."""
    came: list[object] = []

    async def waiter() -> None:
        came.append(await wait())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter)
        await settled(store)
        nursery.cancel_scope.cancel(reason="it has waited for long enough")
    return came


async def woken(what: str, store: Store, wait: Callable[[], Awaitable[T]], act: Act) -> T:
    """Start a wait, do what is to end it, and return what it returned."""
    found: list[T] = []

    async def waiter() -> None:
        found.append(await answered(what, wait()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter)
        await settled(store)
        expect(f"{what}, before that", found, [])
        await act()
    return found[0]


async def soon(what: str, hint: Act, look: Look) -> None:
    """Look when the hint says so, until there is something. Hints may come too early, but never too late."""

    async def wait() -> None:
        while True:
            await hint()
            if await look():
                return
            await trio.sleep(BRIEF / 1000)

    await answered(what, wait())


async def hinted(what: str, store: Store, hint: Act, look: Look, act: Act) -> None:
    """Wait for a hint, do what is to give it, and look; see `woken` and `soon`."""
    await woken(what, store, lambda: soon(what, hint, look), act)


async def expect_put_off(store: Store, job_id: str, seconds: float = BRIEF) -> None:
    """Check when a job is due; a claim could not tell, as by then that moment may have passed."""
    job = await store.get(job_id)
    off = ((job.next_attempt_at or job.created_at) - job.created_at).total_seconds()
    ensure(f"it is due {seconds} s after its submit", holds=abs(off - seconds) < BRIEF / 5, came=off)
