"""What a program puts around each attempt is around it, and what it is told of attempts is true."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.attempts import doubles, fails, fails_once, sleeps, spawns, taken_over
from tests.inside import worker_of
from trio_jobs import Ended, JobContext, JobFailed, Kind, Retry, State, Timeouts, open_registry
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.testing import Connection

Told = list[tuple[str, str]]


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An address of each kind."""
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"


class Around:
    """A `wrap` that notes when it is entered and left, and by what."""

    def __init__(self) -> None:
        self.told: Told = []

    @asynccontextmanager
    async def __call__(self, job: JobContext[Any]) -> AsyncGenerator[None]:
        """Be around an attempt."""
        self.told.append(("enter", f"{job.handler} {job.attempt}"))
        try:
            yield
        except BaseException as error:
            self.told.append((type(error).__name__, str(error)))
            raise
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
            self.told.append(("leave", f"{job.handler} {job.attempt}"))


HANDLERS: list[Any] = [doubles, fails, fails_once, sleeps, spawns]


async def test_it_is_around_the_handler(store: str) -> None:
    """The handler runs inside the context manager, which is told its job and name; the result comes out."""
    around = Around()
    async with open_registry(store, handlers=HANDLERS, wrap=around) as jobs:
        assert await (await jobs.submit(doubles, 21)).result() == 42
    assert around.told == [("enter", "doubles 1"), ("leave", "doubles 1")]


async def test_it_is_around_each_attempt(store: str) -> None:
    """A job that is retried has it once for each attempt, and it sees the handler's exception itself."""
    around = Around()
    async with open_registry(store, handlers=HANDLERS, wrap=around) as jobs:
        handle = await jobs.submit(fails_once, retry=Retry(attempts=2, initial=0))
        assert await handle.result() == 2
    first, second = ("enter", "fails_once 1"), ("enter", "fails_once 2")
    left = [("leave", "fails_once 1"), ("leave", "fails_once 2")]
    assert around.told == [first, ("ValueError", "ouch"), left[0], second, left[1]]


async def test_it_sees_a_cancellation(store: str) -> None:
    """A cancelled job leaves it by Trio's `Cancelled`, and the job is cancelled for the same reason."""
    around = Around()
    async with open_registry(store, handlers=HANDLERS, wrap=around) as jobs:
        handle = await jobs.submit(sleeps)
        while not around.told:
            await trio.lowlevel.checkpoint()
        assert (await handle.cancel()).outcome == "cancelled"
        assert (await handle.snapshot()).reason == "user"
    assert [word for word, _ in around.told] == ["enter", "Cancelled", "leave"]


async def test_a_child_job_has_its_own(store: str) -> None:
    """A child job has it around its attempt, inside that of its parent."""
    around = Around()
    async with open_registry(store, handlers=HANDLERS, wrap=around) as jobs:
        assert await (await jobs.submit(spawns)).result() == 8
    names = ["spawns 1", "doubles 1"]
    entered, left = [("enter", name) for name in names], [("leave", name) for name in reversed(names)]
    assert around.told == [*entered, *left]


async def test_the_time_limit_is_around_it(autojump_clock: MockClock) -> None:
    """A context manager that is slow to enter uses up the job's own time."""

    @asynccontextmanager
    async def slow(job: JobContext[Any]) -> AsyncGenerator[None]:
        await trio.sleep(10)
        yield

    async with open_registry(wrap=slow) as jobs:
        handle = await jobs.submit(doubles, 1, timeout=5)
        assert (await handle.wait()).reason == "timeout"


async def test_what_it_raises_fails_the_attempt(store: str) -> None:
    """An exception of the context manager counts as one of the handler, by the rule for retries."""

    @asynccontextmanager
    async def broken(job: JobContext[Any]) -> AsyncGenerator[None]:
        if job.attempt == 1:
            raise OSError("no database")
        yield

    async with open_registry(store, handlers=HANDLERS, wrap=broken) as jobs:
        assert await (await jobs.submit(doubles, 2, retry=Retry(attempts=2, initial=0))).result() == 4
        with pytest.raises(JobFailed, match="no database"):
            await (await jobs.submit(doubles, 2, retry=Retry(attempts=1))).result()


async def test_it_cannot_suppress(store: str) -> None:
    """An exception that it suppresses fails the job all the same: it did not complete."""

    @asynccontextmanager
    async def swallows(job: JobContext[Any]) -> AsyncGenerator[None]:
        try:
            yield
        except ValueError:
            pass

    async with open_registry(store, handlers=HANDLERS, wrap=swallows) as jobs:
        with pytest.raises(JobFailed, match="ouch"):
            await (await jobs.submit(fails)).result()


async def test_a_time_limit_of_its_own_fails_the_job(autojump_clock: MockClock) -> None:
    """A cancel scope in it that cuts the handler off does not make the job completed, nor cancelled."""

    @asynccontextmanager
    async def limits(job: JobContext[Any]) -> AsyncGenerator[None]:
        with trio.move_on_after(5):  # noqa: ASYNC100  # the handler runs at the yield
            yield

    async with open_registry(wrap=limits) as jobs:
        job = await (await jobs.submit(sleeps)).wait()
    assert (job.state, job.reason) == (State.FAILED, "error")


async def not_decorated(job: JobContext[Any]) -> AsyncGenerator[None]:
    yield


@pytest.mark.parametrize("wrap", [fails, not_decorated, "text"])
def test_what_cannot_be_around_is_refused(wrap: Any) -> None:
    """A coroutine function, a bare generator and what cannot be called are refused at once, with the fix."""
    with pytest.raises(TypeError, match="asynccontextmanager; got"):
        open_registry(wrap=wrap)


async def test_what_it_returns_is_checked() -> None:
    """A `wrap` that returns something else fails its jobs with a text that says so."""
    none: Any = lambda job: None  # noqa: E731
    async with open_registry(wrap=none) as jobs:
        with pytest.raises(JobFailed, match="wrap has to return an async context manager; it returned None"):
            await (await jobs.submit(doubles, 1)).result()


async def test_the_observer_is_told(store: str) -> None:
    """It is told each start and end of an attempt, in order, once the store has it."""
    told: list[Any] = []

    def observe(job: JobContext[Any], kind: Kind, ended: Ended | None) -> None:
        told.append((job.handler, job.attempt, kind, None if ended is None else ended.reason))

    async with open_registry(store, handlers=HANDLERS, on_event=observe) as jobs:
        handle = await jobs.submit(fails_once, retry=Retry(attempts=2, initial=0))
        await handle.result()
        await (await jobs.submit(fails)).wait()
        last = await jobs.submit(sleeps)
        while told[-1][0] != "sleeps":
            await trio.lowlevel.checkpoint()
        await last.cancel()
    assert told == [
        ("fails_once", 1, Kind.STARTED, None),
        ("fails_once", 1, Kind.RETRIED, "error"),
        ("fails_once", 2, Kind.STARTED, None),
        ("fails_once", 2, Kind.COMPLETED, None),
        ("fails", 1, Kind.STARTED, None),
        ("fails", 1, Kind.FAILED, "error"),
        ("sleeps", 1, Kind.STARTED, None),
        ("sleeps", 1, Kind.CANCELLED, "user"),
    ]


async def sends(job: JobContext[int], number: int) -> None:
    await job.send_many(range(number))
    await job.send(number)


@pytest.mark.parametrize("timeouts", [Timeouts(), Timeouts(first_token=60, idle=60)])
async def test_the_observer_is_told_of_the_first_token(store: str, timeouts: Timeouts) -> None:
    """It is told of an attempt's first token, once, with and without clocks that tokens restart."""
    told: list[Kind] = []

    def observe(job: JobContext[Any], kind: Kind, ended: Ended | None) -> None:
        told.append(kind)

    async with open_registry(store, handlers=[*HANDLERS, sends], on_event=observe) as jobs:
        await (await jobs.submit(sends, 3, timeouts=timeouts)).result()
        await (await jobs.submit(doubles, 3)).result()
    assert told == [Kind.STARTED, Kind.TOKEN, Kind.COMPLETED, Kind.STARTED, Kind.COMPLETED]


@pytest.mark.parametrize("timeouts", [Timeouts(), Timeouts(idle=60)])
async def test_further_tokens_cost_nothing_more(timeouts: Timeouts) -> None:
    """After the first token, tokens restart clocks only where a job has some, as without an observer."""
    minded: list[bool] = []

    async def looks(job: JobContext[int]) -> None:
        for number in range(2):
            minded.append(worker_of(jobs).attempts[job.id].deadlines.mind_tokens)
            await job.send(number)

    async with open_registry(on_event=lambda job, kind, ended: None) as jobs:
        await (await jobs.submit(looks, timeouts=timeouts)).result()
    assert minded == [True, timeouts.idle is not None]


async def test_the_observer_is_told_of_lost_attempts(autojump_clock: MockClock) -> None:
    """Of an attempt that has lost its lease it is told an end too, once, when that attempt has ended here."""
    told: list[Any] = []

    def observe(job: JobContext[Any], kind: Kind, ended: Ended | None) -> None:
        told.append((job.attempt, kind, None if ended is None else ended.reason))

    store = MemoryStore()
    connection = Connection(store)
    async with open_registry(connection, lease=9, on_event=observe) as first:
        async with taken_over(first, connection, store):
            assert told == [(1, Kind.STARTED, None)]
            connection.severed = False
            await trio.sleep(9)
            assert told == [(1, Kind.STARTED, None), (1, Kind.RETRIED, "worker_lost")]
    assert len(told) == 2


async def test_an_observer_that_raises_harms_nothing(store: str, caplog: pytest.LogCaptureFixture) -> None:
    """What it raises is logged, escaped, and the job goes on."""

    def observe(job: JobContext[Any], kind: Kind, ended: Ended | None) -> None:
        raise LookupError("broken\nERROR: forged")

    async with open_registry(store, handlers=HANDLERS, on_event=observe) as jobs:
        assert (await (await jobs.submit(doubles, 1)).wait()).state is State.COMPLETED
    texts = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [text.splitlines()[0] for text in texts] == ["on_event raised"] * 2
    assert "  | ERROR: forged" in texts[0]


@pytest.mark.parametrize("observe", [fails, "text"])
def test_what_cannot_observe_is_refused(observe: Any) -> None:
    """An async function, which nobody would await, is refused at once, and so is what cannot be called."""
    with pytest.raises(TypeError, match="on_event takes a plain function"):
        open_registry(on_event=observe)
