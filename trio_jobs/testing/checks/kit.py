"""What the checks have in common: jobs to submit, waits that end, and words for what went wrong.

The checks wait for two things only. For time to pass, they wait somewhat longer than it takes. For a
store to answer, they wait so long that no store which ever answers is too slow. None depends on being fast.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeAlias, TypeVar, cast

import trio

from ..._common.errors import ErrorRecord, LeaseLost, UnknownJob
from ..._common.states import Reason, State, Transition
from ..._model.job import Ended, Event, Kind, Retention
from ...stores.contract import Claim, Claimant, Outcome, Store, Submission
from ...stores.submission import submission

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

Opener: TypeAlias = Callable[[], AbstractAsyncContextManager[Store]]
"""Opens the store that a check is about; a second time, the same store once more."""

ALL: Final = 10**6
BRIEF: Final = 0.05
"""Seconds of what is to lapse or to fall due during a check."""
LONG: Final = 60.0
"""Seconds of what is not."""
PATIENCE: Final = 10.0
"""Seconds after which a wait that should have ended is taken for one that never does."""

PARTLY: Final = Claimant("partly", 0.2)
"""A worker whose lease is a part of a second."""
MANY: Final = 1001
"""More jobs than a store is likely to handle in one go."""

HOLDER: Final = Claimant("holder", LONG)
DOOMED: Final = Claimant("doomed", BRIEF)
"""A worker that will be lost at once."""

NOBODY: Final[frozenset[str]] = frozenset()
NOTHING: Final[dict[str, float]] = {}

QUEUE_LIMIT: Final = 4
RETENTION: Final = Retention(events=8, token_bytes=10_000, finished=3)
"""What a store with narrow limits is to be opened with."""

ERROR: Final = ErrorRecord("ValueError", "no such thing: \u00e9 \U0001f600", "Traceback\n  line\n")


async def work(job: object, *args: object) -> None:
    """Stand in for a handler. No check runs it."""


async def other_work(job: object, *args: object) -> None:
    """Stand in for another handler."""


def make(*args: object, target: Callable[..., Awaitable[Any]] = work, **options: Any) -> Submission:
    """Return a submission with a new id. The options are those of `JobRegistry.submit`."""
    return submission(target, args, options)


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


async def claimed(store: Store, limit: int) -> list[str]:
    """Claim jobs, and return their ids."""
    return [claim.submission.id for claim in await store.claim(limit, HOLDER)]


async def again(store: Store, job_id: str, worker: Claimant = HOLDER) -> Claim:
    """Claim the only job that is due."""
    claims = await store.claim(1, worker)
    expect("claim, of the only job that is due,", [claim.submission.id for claim in claims], [job_id])
    return claims[0]


async def lapse() -> None:
    """Let everything `BRIEF` pass. Stores may round to a few milliseconds."""
    await trio.sleep(BRIEF + 0.03)


async def whole(store: Store, job_id: str) -> list[Event]:
    """Return the whole log."""
    return await store.read(job_id, 0, ALL)


async def words(store: Store, job_id: str) -> list[tuple[int, str, Any]]:
    """Return the attempt, kind and data of each event."""
    return [(event.attempt, event.kind.value, event.data) for event in await whole(store, job_id)]


async def kinds(store: Store, job_id: str) -> list[str]:
    """Return the kinds of the events, as text."""
    return [event.kind.value for event in await whole(store, job_id)]


async def state_of(store: Store, job_id: str) -> State:
    """Return where a job is."""
    return (await store.get(job_id)).state


def expect(what: str, came: object, wanted: object) -> None:
    """Raise an error that says what was expected of which verb and what came, unless they are equal."""
    if came != wanted:
        raise AssertionError(f"{what}: expected {wanted!r}, got {came!r}")


def ensure(what: str, *, holds: bool, came: object) -> None:
    """Raise an error that says what was expected and what came, unless it holds."""
    if not holds:
        raise AssertionError(f"{what}; got {came!r}")


def first_error(error: Exception) -> Exception:
    """Return what went wrong first; what failed beside it followed from that."""
    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    return error


async def refused(what: str, error: type[E], call: Awaitable[object]) -> E:
    """Return the error that a call raises; anything else it does is a failure."""
    try:
        came = await call
    except error as caught:
        return caught
    raise AssertionError(f"{what}: expected {error.__name__} to be raised, got {came!r}")


async def unchanged(what: str, store: Store, job_id: str, act: Callable[[], Awaitable[object]]) -> None:
    """Do something that is to change nothing about a job."""
    before = await store.get(job_id), await whole(store, job_id)
    await act()
    after = await store.get(job_id), await whole(store, job_id)
    expect(f"{what}, which changes nothing about the job", after, before)


async def fenced(store: Store, job_id: str, attempt: int) -> None:
    """Check that an attempt can write nothing, in any way."""
    who = f"by attempt {attempt}, which does not run"

    async def write_all() -> None:
        for kind in (Kind.TOKEN, Kind.PROGRESS, Kind.SAVED):
            what = f"append of {kind.value} {who}"
            await refused(what, LeaseLost, store.append(job_id, attempt, kind, ["late"], 0))
        for outcome in (completed("late"), failed(), cancelled(), retried()):
            what = f"finish ({outcome.transition.value}) {who}"
            await refused(what, LeaseLost, store.finish(job_id, attempt, outcome))
        child = make()
        await refused(f"spawn {who}", LeaseLost, store.spawn(job_id, attempt, child, HOLDER))
        await refused("get of a child that was not accepted", UnknownJob, store.get(child.id))
        answer = await store.heartbeat({job_id: attempt}, LONG)
        expect(f"heartbeat {who}", answer.lost, frozenset({job_id}))

    await unchanged(f"a write {who}", store, job_id, write_all)


async def answered(what: str, wait: Awaitable[T]) -> T:
    """Return what a wait returns that is to end by itself.

    Raises:
        AssertionError: It took `PATIENCE` seconds.
    """
    with trio.move_on_after(PATIENCE):
        return await wait
    raise AssertionError(f"{what}: expected it to return, but it still waits after {PATIENCE:g} s")


async def woken(what: str, wait: Callable[[], Awaitable[T]], act: Callable[[], Awaitable[object]]) -> T:
    """Start a wait, do what is to end it, and return what it returned."""
    found: list[T] = []

    async def waiter() -> None:
        found.append(await answered(what, wait()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter)
        await trio.sleep(BRIEF)
        await act()
    return found[0]


async def soon(what: str, hint: Callable[[], Awaitable[None]], look: Callable[[], Awaitable[bool]]) -> None:
    """Look when the hint says so, until there is something. Hints may come too early, but never too late."""

    async def wait() -> None:
        while True:
            await hint()
            if await look():
                return
            await trio.sleep(BRIEF / 10)

    await answered(what, wait())


async def hinted(
    what: str,
    hint: Callable[[], Awaitable[None]],
    look: Callable[[], Awaitable[bool]],
    act: Callable[[], Awaitable[object]],
) -> None:
    """Wait for a hint, do what is to give it, and look; see `woken` and `soon`."""
    await woken(what, lambda: soon(what, hint, look), act)
