"""Steps run once for their job: what they returned comes back in each later attempt, and only that."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from trio_jobs import (
    AwaitInput,
    InvalidPayload,
    JobContext,
    JobFailed,
    KeyConflict,
    Kind,
    Reason,
    Retention,
    Retry,
    State,
    Step,
    StoreUnavailable,
    handler,
    open_registry,
)
from trio_jobs.stores.memory import MemoryStore

Opening = Callable[..., Any]


@pytest.fixture(params=["memory", "sqlite"])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Open a registry: in memory, and on a file."""

    def opened(*handlers: Any, **options: Any) -> Any:
        if request.param == "memory":
            return open_registry(**options)
        return open_registry(f"sqlite:///{tmp_path}/jobs.db", handlers=handlers, **options)

    return opened


@attrs.frozen
class Receipt:
    """What a step returns."""

    amount: int
    lines: tuple[str, ...] = ()


@dataclasses.dataclass
class Order:
    """What a step takes."""

    amount: int


TWICE = Retry(2, initial=0)


async def test_a_step_runs_once(opening: Opening, autojump_clock: MockClock) -> None:
    """A later attempt gets the kept result, of the type that the function declares, and does not call it."""
    calls: list[int] = []

    async def charge(amount: int) -> Receipt:
        calls.append(amount)
        return Receipt(amount, ("a", "b"))

    @handler
    async def pays(job: JobContext[Any]) -> list[Any]:
        with assert_checkpoints():
            receipt = await job.step("charge", charge, 7)
        assert receipt == Receipt(7, ("a", "b"))
        again = await job.step("charge again", charge, 8)
        if job.attempt == 1:
            raise ValueError
        return [receipt.amount, again.amount]

    async with opening(pays) as jobs:
        handle = await jobs.submit(pays, retry=TWICE)
        assert await handle.result() == [7, 8]
        kept = [event.data for event in await handle.history() if event.kind is Kind.STEP]
    assert calls == [7, 8]
    assert [(step.name, isinstance(step, Step)) for step in kept] == [
        ("charge", True),
        ("charge again", True),
    ]


async def test_a_step_that_raised_is_not_kept(opening: Opening, autojump_clock: MockClock) -> None:
    """It runs again, in this attempt or in the next; so does one that waits for an input."""
    calls: list[int] = []

    async def flaky(how: str) -> int:
        calls.append(1)
        if len(calls) == 1:
            raise OSError
        if len(calls) == 2:
            raise AwaitInput
        return len(calls)

    @handler
    async def tries(job: JobContext[Any]) -> Any:
        if job.attempt == 1:
            with pytest.raises(OSError, match=r"^$"):
                await job.step("flaky", flaky, "x")
        return await job.step("flaky", flaky, "x")

    async with opening(tries) as jobs:
        handle = await jobs.submit(tries)
        await handle.send("wake up")
        assert await handle.result() == 3


async def test_a_name_is_unique(opening: Opening, autojump_clock: MockClock) -> None:
    """Twice in an attempt is an error, as are other arguments in a later one."""

    async def same(value: Any) -> Any:
        return value

    @handler
    async def names(job: JobContext[Any]) -> None:
        if job.attempt == 1:
            await job.step("one", same, 1)
            with pytest.raises(ValueError, match="'one' is there twice"):
                await job.step("one", same, 1)
            await job.step("two", same, {"a": [1, 2]})
            raise ValueError
        with pytest.raises(KeyConflict, match="other arguments"):
            await job.step("one", same, 2)
        assert await job.step("two", same, {"a": [1, 2]}) == {"a": [1, 2]}

    async with opening(names) as jobs:
        await (await jobs.submit(names, retry=TWICE)).result()


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (Receipt(1), Receipt(1), Receipt(2)),
        (Order(1), Order(1), Order(2)),
        (object(), object(), trio.Event),
        ({(1, 2): 1}, {(1, 2): 1}, [1]),
        ("\ud800", "\ud800", "x"),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2, "b": 1}),
        ({1: 1, "b": 2}, {1: 1, "b": 2}, LOOP),
        ({0, 8}, {8, 0}, {0, 1}),  # in another order, as both have one place
        (frozenset([0, 8]), frozenset([8, 0]), frozenset([0])),
        (b"a", b"a", b"b"),
        (timedelta(1), timedelta(1), timedelta(2)),
    ],
)
async def test_arguments_in_memory(one: Any, same: Any, other: Any, autojump_clock: MockClock) -> None:
    """What JSON cannot hold counts by its `repr`, or by its type if that shows an address."""

    async def echo(value: Any, itself: Any) -> bool:
        return True

    async def names(job: JobContext[Any]) -> None:
        loop: list[Any] = []
        loop.append(loop)
        await job.step("loop", echo, loop, loop)
        await job.step("one", echo, one if job.attempt == 1 else same, None)
        if job.attempt == 1:
            raise ValueError

    async def conflicts(job: JobContext[Any]) -> None:
        if job.attempt == 1:
            await job.step("one", echo, one, None)
            raise ValueError
        with pytest.raises(KeyConflict):
            await job.step("one", echo, other, None)

    async with open_registry() as jobs:
        await (await jobs.submit(names, retry=TWICE)).result()
        await (await jobs.submit(conflicts, retry=TWICE)).result()


async def test_an_object_comes_back_itself_in_memory(autojump_clock: MockClock) -> None:
    """A store in memory keeps objects as they are."""
    thing = object()

    async def make() -> object:
        return thing

    async def handler_(job: JobContext[Any]) -> None:
        assert await job.step("make", make) is thing
        if job.attempt == 1:
            raise ValueError

    async with open_registry() as jobs:
        await (await jobs.submit(handler_, retry=TWICE)).result()


async def test_what_cannot_be_kept(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Functions that are not async, and what JSON cannot hold, are refused, the types before the call."""
    calls: list[str] = []

    async def untyped(value: Any = None):  # type: ignore[no-untyped-def]
        calls.append("untyped")
        return object()

    async def odd() -> Receipt | Other:
        calls.append("odd")
        raise AssertionError

    def plain() -> None:
        calls.append("plain")

    @handler
    async def wrong(job: JobContext[Any]) -> None:
        with pytest.raises(TypeError, match="takes an async function"):
            await job.step("a", plain)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="step 'b' has a result that cannot be made from JSON"):
            await job.step("b", odd)
        with pytest.raises(InvalidPayload, match="the arguments of step c"):
            await job.step("c", untyped, object())
        with pytest.raises(InvalidPayload, match="holds NUL"):
            await job.step("\0", untyped)
        with pytest.raises(TypeError, match="name takes a str"):
            await job.step(7, untyped)  # type: ignore[arg-type]
        assert calls == []
        with pytest.raises(InvalidPayload, match="the result of step d"):
            await job.step("d", untyped)

    async with open_registry(f"sqlite:///{tmp_path}/jobs.db", handlers=[wrong]) as jobs:
        await (await jobs.submit(wrong)).result()


@attrs.frozen
class Other:
    """A second record, which JSON cannot tell from the first."""

    amount: int


async def nothing(number: int = 0) -> None:
    """Have no effect."""


async def test_too_many_steps(opening: Opening, autojump_clock: MockClock) -> None:
    """The job fails, with reason `limit`, even if the error is caught."""

    @handler
    async def many(job: JobContext[Any]) -> None:
        await job.step("1", nothing)
        await job.step("2", nothing)
        with pytest.raises(InvalidPayload):
            await job.step("3", nothing)

    async with opening(many, retention=Retention(steps=2)) as jobs:
        handle = await jobs.submit(many, retry=Retry(attempts=5))
        with pytest.raises(JobFailed):
            await handle.result()
        job = await handle.snapshot()
        assert (job.state, job.reason, job.attempt) == (State.FAILED, Reason.LIMIT, 1)


async def test_no_receive_in_a_step(opening: Opening, autojump_clock: MockClock) -> None:
    """Not in a task that was started in it either; but beside it, and after it."""

    @handler
    async def asks(job: JobContext[Any]) -> list[Any]:
        later = trio.Event()

        async def lives_on() -> None:
            await later.wait()
            got.append(await job.receive())

        async def inside() -> int:
            with pytest.raises(RuntimeError, match="step 'asks' is kept once"):
                await job.receive()
            job.nursery.start_soon(lives_on)
            await job.step("inner", nothing)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(within)
                nursery.start_soon(within)
            return 1

        async def within() -> None:
            with pytest.raises(RuntimeError, match="step 'asks' is kept once"):
                await job.inputs.receive()

        got: list[Any] = []
        await job.step("asks", inside)
        got.append(await job.receive())
        later.set()
        while len(got) < 2:
            await trio.sleep(0.01)
        return got

    async with opening(asks) as jobs:
        handle = await jobs.submit(asks)
        await handle.send_many([1, 2])
        assert await handle.result() == [1, 2]


async def test_a_child_of_a_step_receives(opening: Opening, autojump_clock: MockClock) -> None:
    """A step may spawn a child, which is another job: it has its own inputs, and receives them."""

    @handler(inputs=str)
    async def child(job: JobContext[Any]) -> Any:
        return await job.receive()

    async def ask(job: JobContext[Any]) -> str:
        handle = await job.spawn(child)
        await handle.send("yes")
        return cast("str", await handle.result())

    @handler
    async def parent(job: JobContext[Any]) -> str:
        async def inside() -> str:
            return await ask(job)

        return await job.step("ask", inside)

    async with opening(parent, child) as jobs:
        assert await (await jobs.submit(parent)).result() == "yes"


async def test_a_cancellation_waits_for_the_commit(opening: Opening, autojump_clock: MockClock) -> None:
    """Once the function has returned, its result is kept, and only then `Cancelled` raised."""
    calls: list[int] = []

    @handler
    async def stops(job: JobContext[Any]) -> int:
        scope = trio.CancelScope()

        async def last() -> int:
            calls.append(job.attempt)
            scope.cancel()
            return 5

        if job.attempt == 2:
            return await job.step("last", last)
        with scope:
            await job.step("last", last)
        assert scope.cancelled_caught
        with pytest.raises(ValueError, match="twice"):
            await job.step("last", last)
        raise OSError

    async with opening(stops) as jobs:
        handle = await jobs.submit(stops, retry=TWICE)
        assert await handle.result() == 5
    assert calls == [1]


async def test_a_step_while_the_store_is_away(autojump_clock: MockClock) -> None:
    """A store that outlives the process is asked again; a cancellation waits for it for some seconds only."""

    class Away(MemoryStore):
        durable = True

        async def append(self, *args: Any, **options: Any) -> int:
            if away:
                raise StoreUnavailable("gone")
            return await super().append(*args, **options)

    away = [1]

    async def comes_back() -> None:
        await trio.sleep(1)
        away.clear()

    async def steps(job: JobContext[Any]) -> float:
        await job.step("a", nothing)
        came = trio.current_time()
        away.append(1)
        with trio.move_on_after(1) as scope:
            await job.step("b", nothing)
        assert scope.cancelled_caught
        away.clear()
        return trio.current_time() - came

    async with trio.open_nursery() as nursery, open_registry(Away(), handlers=[steps]) as jobs:
        nursery.start_soon(comes_back)
        handle = await jobs.submit(steps)
        assert await handle.result() == 11
        await wait_all_tasks_blocked()
        assert [event.data.name for event in await handle.history() if event.kind is Kind.STEP] == ["a", "b"]
