"""What a handler receives: each input once, in order, and again what no save covered; and how it waits."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from tests.inside import store_of
from trio_jobs import (
    AwaitInput,
    Event,
    InboxFull,
    InvalidPayload,
    JobContext,
    JobFailed,
    JobHandle,
    Kind,
    LeaseLost,
    Permanent,
    Reason,
    Retention,
    Retry,
    RetryAfter,
    State,
    StoreCorrupt,
    StoreUnavailable,
    handler,
    open_registry,
)
from trio_jobs.stores import Claim, Claimant
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.testing import cancel_at_every_checkpoint

Opening = Callable[..., Any]


@pytest.fixture(params=["memory", "verbs", "sqlite"])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Open a registry: in memory, in memory by the verbs of the store alone, and on a file."""

    def opened(*handlers: Any, **options: Any) -> Any:
        if request.param == "memory":
            return open_registry(**options)
        if request.param == "sqlite":
            return open_registry(f"sqlite:///{tmp_path}/jobs.db", handlers=handlers, **options)
        store = MemoryStore(retention=options.pop("retention", None))
        return open_registry(store, handlers=handlers, **options)

    return opened


async def log_of(handle: JobHandle[Any, Any]) -> list[Event]:
    async with handle.events(policy="gap") as events:
        return [event async for event in events]


async def reason_of(handle: JobHandle[Any, Any], reason: Reason) -> None:
    """Wait until the job is in its state for that reason."""
    while (await handle.snapshot()).reason is not reason:
        await trio.sleep(0.01)


@attrs.frozen
class Steer:
    """An input of a declared type."""

    text: str


@handler
async def collect(job: JobContext[Any]) -> list[Any]:
    """Return all the inputs."""
    return [value async for value in job.inputs]


@handler(inputs=Steer)
async def steered(job: JobContext[Any]) -> str:
    """Return the text of one input."""
    value = await job.receive()
    assert isinstance(value, Steer)
    return value.text


# ---------------------------------------------------------------- receiving


async def test_both_ends(opening: Opening, autojump_clock: MockClock) -> None:
    """What is sent is received in order, up to the end of the inputs; both are numbered in the log."""
    async with opening(collect) as jobs:
        handle = await jobs.submit(collect)
        first = await handle.send({"a": 1})
        assert await handle.send_many([2, 3]) == first + 2
        end = await handle.end_inputs()
        assert await handle.end_inputs() == end == first + 3
        assert await handle.result() == [{"a": 1}, 2, 3]
        log = await log_of(handle)
        assert [event.data for event in log if event.kind is Kind.INPUT] == [{"a": 1}, 2, 3]
        (done,) = [event for event in log if event.kind is Kind.COMPLETED]
        assert done.received == first + 2
        assert (await handle.snapshot()).unconsumed == 0
        async with handle.stream() as tokens:
            assert [token async for token in tokens] == []


async def test_what_comes_while_it_waits(opening: Opening, autojump_clock: MockClock) -> None:
    """A handler that waits is woken by each input, and `received` is its place at once."""

    @handler
    async def echo(job: JobContext[Any]) -> None:
        assert job.received == 0
        while True:
            value = await job.receive()
            await job.send([value, job.received])

    async with opening(echo) as jobs:
        handle = await jobs.submit(echo)
        async with handle.stream() as tokens:
            for number in range(3):
                seq = await handle.send(number)
                assert await tokens.receive() == [number, seq]
        await handle.cancel()


async def test_a_declared_type(opening: Opening, autojump_clock: MockClock) -> None:
    """A store that outlives the process converts inputs to the type, and refuses what does not fit."""
    async with opening(steered) as jobs:
        handle = await jobs.submit(steered)
        if store_of(jobs).durable:
            with pytest.raises(InvalidPayload, match="an input of steered"):
                await handle.send("left")
        await handle.send(Steer("left"))
        assert await handle.result() == "left"


async def test_a_value_that_no_longer_fits(tmp_path: Path, autojump_clock: MockClock) -> None:
    """It raises `InvalidPayload`, and counts as received: the next one is there."""

    @handler(name="changed", inputs=str)
    async def before(job: JobContext[Any]) -> list[Any]:
        return []

    @handler(name="changed", inputs=int)
    async def after(job: JobContext[Any]) -> list[Any]:
        with pytest.raises(InvalidPayload, match="an input of changed does not fit"):
            await job.receive()
        return [job.received, await job.receive()]

    address = f"sqlite:///{tmp_path}/jobs.db"
    async with open_registry(address, handlers=[before], capacity=0) as jobs:
        handle = await jobs.submit(before)
        seq = await handle.send("seven")
    async with open_registry(address, handlers=[after]) as jobs:
        handle = await jobs.get(handle.id)
        await handle.send(7)
        assert await handle.result() == [seq, 7]


async def test_each_input_goes_to_one_task_in_order(opening: Opening, autojump_clock: MockClock) -> None:
    """Tasks get inputs in the order in which they began to wait, those that were cancelled get none."""
    got: list[tuple[int, Any]] = []

    @handler
    async def many(job: JobContext[Any]) -> None:
        async def take(number: int) -> None:
            value = await job.receive()
            assert job.received >= value
            got.append((number, value))

        scopes = []
        for number in range(6):

            async def scoped(number: int = number) -> None:
                with trio.CancelScope() as scope:
                    scopes.append(scope)
                    await take(number)

            job.nursery.start_soon(scoped)
            await wait_all_tasks_blocked(0.001)
        scopes[0].cancel()
        scopes[3].cancel()
        await trio.testing.wait_all_tasks_blocked(0.001)
        await job.send("ready")
        while len(got) < 4:
            await trio.sleep(0.01)

    async with opening(many) as jobs:
        handle = await jobs.submit(many)
        async with handle.stream() as tokens:
            await tokens.receive()
        first = await handle.send_many([0, 0])
        await handle.send_many([0, 0])
        await handle.result()
    assert [number for number, _ in got] == [1, 2, 4, 5]
    assert first > 0


async def test_a_newcomer_does_not_overtake(autojump_clock: MockClock) -> None:
    """A task that comes while the turn is handed over waits behind those that waited before."""
    got: list[Any] = []

    async def many(job: JobContext[Any]) -> None:
        async def take(name: str) -> None:
            got.append((name, await job.receive()))

        job.nursery.start_soon(take, "a")
        await wait_all_tasks_blocked()
        job.nursery.start_soon(take, "b")
        await wait_all_tasks_blocked()
        await handle.send_many([1, 2, 3])
        await take("c")

    async with open_registry() as jobs:
        handle = await jobs.submit(many)
        await handle.result()
    assert got == [("a", 1), ("b", 2), ("c", 3)]


async def test_receive_is_a_checkpoint(opening: Opening, autojump_clock: MockClock) -> None:
    """Also if an input is there, and if there will be none; a cancelled one received nothing."""

    @handler
    async def checks(job: JobContext[Any]) -> list[Any]:
        assert job.inputs is job.inputs
        with assert_checkpoints():
            first = await job.receive()
        with trio.CancelScope() as scope:
            scope.cancel()
            await job.receive()
        assert scope.cancelled_caught
        second = await job.receive()
        for _ in range(2):
            with assert_checkpoints(), pytest.raises(trio.EndOfChannel):
                await job.receive()
        return [first, second]

    async with opening(checks) as jobs:
        handle = await jobs.submit(checks, delay=0.1)
        await handle.send_many([1, 2])
        await handle.end_inputs()
        assert await handle.result() == [1, 2]


async def test_closing_ends_receiving_for_the_attempt(opening: Opening, autojump_clock: MockClock) -> None:
    """A task that waits is told, as is who comes later; the next attempt receives what was not consumed."""
    told: list[str] = []

    @handler
    async def closes(job: JobContext[Any]) -> Any:
        if job.attempt == 2:
            return await job.receive()

        async def waits() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await job.receive()
            told.append("waits")

        job.nursery.start_soon(waits)
        job.nursery.start_soon(waits)
        await wait_all_tasks_blocked(0.001)
        with assert_checkpoints():
            await job.inputs.aclose()
        await job.inputs.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await job.receive()
        await handle.send("for the next one")
        await trio.sleep(1)
        raise ValueError

    async with opening(closes) as jobs:
        handle = await jobs.submit(closes, retry=Retry(2, initial=0))
        assert await handle.result() == "for the next one"
    assert told == ["waits", "waits"]


async def test_an_attempt_that_is_over_receives_nothing(opening: Opening, autojump_clock: MockClock) -> None:
    """A task that outlives the attempt is told that it is over, if it waits as if it asks later."""
    kept: list[JobContext[Any]] = []
    told: list[str] = []

    @handler
    async def leaks(job: JobContext[Any]) -> None:
        kept.append(job)
        outside.start_soon(waits, job)
        await wait_all_tasks_blocked(0.001)

    @handler
    async def asks_for_none(job: JobContext[Any]) -> None:
        kept.append(job)

    async def waits(job: JobContext[Any]) -> None:
        with pytest.raises(LeaseLost):
            await job.receive()
        told.append("waits")

    async with opening(leaks, asks_for_none) as jobs, trio.open_nursery() as outside:
        await (await jobs.submit(leaks)).result()
        await (await jobs.submit(asks_for_none)).result()
        for job in kept:
            with pytest.raises(LeaseLost):
                await job.receive()
        with pytest.raises(LeaseLost):
            kept[1].inputs  # noqa: B018
    assert told == ["waits"]


async def test_many_inputs_are_read_in_batches(opening: Opening, autojump_clock: MockClock) -> None:
    """More than one batch comes in order."""
    async with opening(collect) as jobs:
        handle = await jobs.submit(collect)
        await handle.send_many(range(200))
        await handle.end_inputs()
        assert await handle.result() == [*range(200)]


async def test_many_jobs_listen_at_once(opening: Opening, autojump_clock: MockClock) -> None:
    """One task of the worker hears for all of them, also for those that begin to wait later."""

    @handler
    async def one(job: JobContext[Any]) -> Any:
        return await job.receive()

    async with opening(one) as jobs:
        handles = []
        for _ in range(5):
            handles.append(await jobs.submit(one))
            await trio.sleep(0.1)
        for number, handle in reversed([*enumerate(handles)]):
            await handle.send(number)
        assert [await handle.result() for handle in handles] == [*range(5)]


async def test_a_slow_store_answers_though_others_come_and_go(autojump_clock: MockClock) -> None:
    """The call for one that waits is not cut short for others over and over."""

    class Slow(MemoryStore):
        async def listening(self, places: Any) -> Any:
            await trio.sleep(0.5)
            return await super().listening(places)

    async def restless(job: JobContext[Any]) -> None:
        while True:
            with trio.move_on_after(0.01):
                await job.receive()

    async def one(job: JobContext[Any]) -> Any:
        return await job.receive()

    async with open_registry(Slow()) as jobs:
        await jobs.submit(restless)
        await trio.sleep(1)
        handle = await jobs.submit(one)
        await handle.send("heard")
        with trio.fail_after(10):
            assert await handle.result() == "heard"


async def test_a_cleanup_receives_in_a_shield(opening: Opening, autojump_clock: MockClock) -> None:
    """While the registry is being left, a handler's cleanup may still be told something."""
    got: list[Any] = []

    @handler
    async def asks(job: JobContext[Any]) -> None:
        try:
            await job.send("ready")
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                got.append(await job.receive())

    async def tell(handle: JobHandle[Any, Any]) -> None:
        await trio.sleep(1)
        await handle.send("goodbye")

    async with trio.open_nursery() as nursery, opening(asks) as jobs:
        handle = await jobs.submit(asks)
        async with handle.stream() as tokens:
            await tokens.receive()
        nursery.start_soon(tell, handle)
    assert got == ["goodbye"]


@pytest.mark.parametrize("verb", ["inputs", "listening"])
async def test_a_store_that_hangs_holds_up_no_exit(verb: str, autojump_clock: MockClock) -> None:
    """The wait for inputs ends with the handlers, however the store behaves; a cleanup has its own limit."""

    class Hanging(MemoryStore):
        async def inputs(self, job_id: str, after: int, limit: int) -> list[Event]:
            await (trio.sleep_forever if verb == "inputs" else trio.lowlevel.checkpoint)()
            return await super().inputs(job_id, after, limit)

        async def listening(self, places: Any) -> Any:
            await (trio.sleep_forever if verb == "listening" else trio.lowlevel.checkpoint)()
            return await super().listening(places)

    async def asks(job: JobContext[Any]) -> None:
        try:
            await job.receive()
        finally:
            with trio.move_on_after(1, shield=True):
                await job.receive()

    with trio.fail_after(2):
        async with open_registry(Hanging()) as jobs:
            handle = await jobs.submit(asks)
            await handle.send("never heard")
            await wait_all_tasks_blocked()


async def test_a_store_that_breaks_is_told_to_each_that_waits(autojump_clock: MockClock) -> None:
    """Also to a cleanup that shields itself: it would wait for ever."""
    told: list[StoreCorrupt] = []

    class Broken(MemoryStore):
        async def listening(self, places: Any) -> Any:
            await trio.sleep(1)
            raise StoreCorrupt("the disk is gone")

    async def asks(job: JobContext[Any], seconds: float) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)
            with pytest.raises(StoreCorrupt) as caught:
                await job.receive()
        told.append(caught.value)

    with pytest.raises(StoreCorrupt, match="the disk is gone"), trio.fail_after(10):
        async with open_registry(Broken()) as jobs:
            for seconds in (0, 2):
                await jobs.submit(asks, seconds)
            await trio.sleep_forever()
    assert len(told) == 2


async def test_the_store_is_away_while_a_handler_listens(autojump_clock: MockClock) -> None:
    """The worker asks again; an error that is one job's goes to its handler, and to no other."""

    class Away(MemoryStore):
        async def inputs(self, job_id: str, after: int, limit: int) -> list[Event]:
            if faults:
                raise faults.pop()
            return await super().inputs(job_id, after, limit)

    faults: list[Exception] = [StoreUnavailable("gone")]
    store = Away()
    async with open_registry(store) as jobs:
        handle = await jobs.submit(collect)
        await handle.send(1)
        await handle.end_inputs()
        assert await handle.result() == [1]
        faults.append(ZeroDivisionError("broken"))
        handle = await jobs.submit(collect)
        await handle.send(1)
        with pytest.raises(JobFailed, match="broken"):
            await handle.result()
        await (await jobs.submit(collect)).end_inputs()


async def test_a_job_that_was_removed_while_it_listened(autojump_clock: MockClock) -> None:
    """Its handler is told that another attempt had the job."""

    class Removed(MemoryStore):
        async def listening(self, places: Any) -> Any:
            for job_id in list(places):
                await self.request_cancel(job_id, None)
                self.close(Reason.SHUTDOWN)
                await self.remove(job_id)
            return await super().listening(places)

    told: list[str] = []

    async def waits(job: JobContext[Any]) -> None:
        with pytest.raises(LeaseLost):
            await job.receive()
        told.append("lost")

    with pytest.raises(BaseExceptionGroup):
        async with open_registry(Removed()) as jobs:
            await jobs.submit(waits)
            await wait_all_tasks_blocked()
    assert told == ["lost"]


async def test_another_begins_to_listen_when_the_last_gave_up(autojump_clock: MockClock) -> None:
    """A wait that follows on one that was cancelled hears as well, in one step too."""

    async def turns(job: JobContext[Any]) -> Any:
        with trio.move_on_after(1):
            await job.receive()
        return await job.receive()

    async with open_registry(MemoryStore()) as jobs:
        handle = await jobs.submit(turns)
        await trio.sleep(2)
        await handle.send("late")
        assert await handle.result() == "late"


# ---------------------------------------------------------------- consuming


async def test_what_was_not_consumed_comes_again(opening: Opening, autojump_clock: MockClock) -> None:
    """The next attempt receives what no save covered, in order, and then what is new."""
    seen: list[list[Any]] = []
    places: list[int] = []

    @handler
    async def crashes(job: JobContext[Any]) -> Any:
        mine: list[Any] = []
        seen.append(mine)
        if job.attempt == 1:
            mine += [await job.receive() for _ in range(3)]
            await job.save("one", received=places[0])
            raise ValueError
        if job.attempt == 2:
            assert job.received == places[0]
            mine += [await job.receive() for _ in range(2)]
            await job.save("two")
            assert job.received == places[2]
            raise ValueError
        async for value in job.inputs:
            mine.append(value)
        return job.saved

    async with opening(crashes) as jobs:
        handle = await jobs.submit(crashes, retry=Retry(3, initial=0))
        for number in range(4):
            places.append(await handle.send(number))  # the handler looks at it meanwhile
        await handle.end_inputs()
        assert await handle.result() == "two"
        log = await log_of(handle)
    assert seen == [[0, 1, 2], [1, 2], [3]]
    noted = [(event.kind, event.received) for event in log if event.received is not None]
    assert noted == [
        (Kind.SAVED, places[0]),
        (Kind.RETRIED, places[2]),
        (Kind.SAVED, places[2]),
        (Kind.RETRIED, places[2]),
        (Kind.COMPLETED, places[3]),
    ]


async def test_save_takes_the_place_before_its_checkpoint(
    opening: Opening, autojump_clock: MockClock
) -> None:
    """What another task receives while a save is on its way is not consumed by it."""

    @handler
    async def saves(job: JobContext[Any]) -> list[Any]:
        if job.attempt == 1:
            await job.receive()
            before = job.received
            async with trio.open_nursery() as nursery:
                nursery.start_soon(job.save, "first")
                nursery.start_soon(job.receive)
            assert job.received > before
            raise ValueError
        return [job.received, await job.receive()]

    async with opening(saves) as jobs:
        handle = await jobs.submit(saves, delay=0.1, retry=Retry(2, initial=0))
        seq = await handle.send(1)
        await handle.send(2)
        assert await handle.result() in ([seq, 2], [seq + 1, 2])  # as the tasks come
        saved = [event.received for event in await log_of(handle) if event.kind is Kind.SAVED]
        assert saved == [(await handle.result())[0]]


async def test_a_result_that_cannot_be_kept(tmp_path: Path, autojump_clock: MockClock) -> None:
    """The end of the attempt says what it received, as each end does; nothing of that is consumed."""

    @handler
    async def odd(job: JobContext[Any]) -> object:
        await job.receive()
        return object()

    async with open_registry(f"sqlite:///{tmp_path}/jobs.db", handlers=[odd]) as jobs:
        handle = await jobs.submit(odd)
        seq = await handle.send(1)
        assert (await handle.wait()).reason is Reason.BAD_RESULT
        assert [event.received for event in await log_of(handle)] == [None] * 3 + [seq]
        assert (await handle.snapshot()).unconsumed == 1


async def test_a_claim_that_is_given_back(autojump_clock: MockClock) -> None:
    """An attempt that was not begun, as the registry is being left, received what was consumed before."""

    class Late(MemoryStore):
        durable = True

        async def claim(self, limit: int, worker: Claimant) -> list[Claim]:
            claims = await super().claim(limit, worker)
            with trio.CancelScope(shield=True):  # the answer is on its way
                await trio.sleep(1)
            return claims

    @handler
    async def snoozes(job: JobContext[Any]) -> None:
        await job.receive()
        await job.save(None)
        raise RetryAfter(5)

    store = Late()
    async with open_registry(store, handlers=[snoozes]) as jobs:
        handle = await jobs.submit(snoozes)
        seq = await handle.send(1)
        while (await handle.snapshot()).attempt == 1:
            await trio.sleep(0.5)
    end = [event for event in await store.history(handle.id) if event.kind is Kind.RETRIED][-1]
    assert (end.attempt, end.data.reason, end.received) == (2, Reason.SHUTDOWN, seq)


async def test_a_place_beyond_what_was_received(autojump_clock: MockClock) -> None:
    """A save cannot consume what its attempt has not received."""

    async def wrong(job: JobContext[Any]) -> None:
        await job.receive()
        for bad in [job.received + 1, -1]:
            with pytest.raises(ValueError, match="received"):
                await job.save(1, received=bad)
        with pytest.raises(TypeError, match="received"):
            await job.save(1, received=1.5)  # type: ignore[arg-type]
        await job.save(1, received=0)

    async with open_registry() as jobs:
        handle = await jobs.submit(wrong)
        await handle.send_many([1, 2])
        await handle.result()
        assert (await handle.snapshot()).unconsumed == 1


async def test_a_full_inbox_says_what_the_handler_has_only_to_save(
    opening: Opening, autojump_clock: MockClock
) -> None:
    """`InboxFull` counts what the attempt that runs received and did not save, also before it ends."""

    @handler
    async def hoards(job: JobContext[Any]) -> list[Any]:
        got = [await job.receive(), await job.receive()]
        await job.save(got, received=job.received - 1)
        got.append(await job.receive())
        await job.send("full")
        got.append(await job.receive())
        return got

    async with opening(hoards, retention=Retention(inputs=2)) as jobs:
        handle = await jobs.submit(hoards)
        with pytest.raises(InboxFull, match="has 0 unconsumed inputs, and may have 2; send less at once"):
            await (await jobs.submit(hoards, delay=1e6)).send_many([1, 2, 3])
        await handle.send_many([1, 2])
        async with handle.stream() as tokens:
            while (await handle.snapshot()).saved is None:
                await trio.sleep(0.01)
            await handle.send(3)
            await tokens.receive()
        with pytest.raises(InboxFull, match="its handler has received 2 of them, and has to save") as full:
            await handle.send(4)
        assert (full.value.unconsumed, full.value.received, full.value.limit) == (2, 2, "2")
        await handle.cancel()


# ---------------------------------------------------------------- waiting without a slot


@handler
async def approval(job: JobContext[Any]) -> Any:
    """Wait for a yes, without a slot."""
    if job.attempt == 1:
        raise AwaitInput("deploy to production?")
    return await job.receive()


async def test_a_wait_holds_no_slot(opening: Opening, autojump_clock: MockClock) -> None:
    """The job is RETRYING, says what it waits for, spends nothing, and runs again when an input comes."""
    async with opening(approval, collect, capacity=1) as jobs:
        handle = await jobs.submit(approval)
        await reason_of(handle, Reason.AWAITING_INPUT)
        job = await handle.snapshot()
        assert (job.state, job.message, job.next_attempt_at) == (
            State.RETRYING,
            "deploy to production?",
            None,
        )
        assert (job.spent, job.error) == (0, None)
        other = await jobs.submit(collect)  # in the one slot that there is
        await other.end_inputs()
        assert await other.result() == []
        await handle.send("yes")
        assert await handle.result() == "yes"
        assert (await handle.snapshot()).attempt == 2


async def test_an_early_answer(opening: Opening, autojump_clock: MockClock) -> None:
    """An input that came before the wait, and was not received, makes the job due at once."""
    async with opening(approval) as jobs:
        handle = await jobs.submit(approval)
        await handle.send("yes")
        assert await handle.result() == "yes"


async def test_a_wait_with_a_time_limit(opening: Opening, autojump_clock: MockClock) -> None:
    """When the time is over, the job runs again, and is told that no input came; once, and not later."""
    seen: list[bool] = []

    @handler
    async def asks(job: JobContext[Any]) -> None:
        seen.append(job.timed_out)
        if job.attempt == 1:
            raise AwaitInput(timeout=0.05)
        if job.attempt == 2:
            raise RetryAfter(0)
        if job.attempt == 3:
            raise AwaitInput(timeout=10)
        await job.receive()

    async with opening(asks) as jobs:
        handle = await jobs.submit(asks)
        while (await handle.snapshot()).attempt < 3:
            await trio.sleep(0.1)
        await reason_of(handle, Reason.AWAITING_INPUT)
        await handle.send("in time")
        await handle.result()
    assert seen == [False, True, False, False]


async def test_a_cancel_ends_a_wait_at_once(opening: Opening, autojump_clock: MockClock) -> None:
    """It needs no slot for that."""
    async with opening(approval) as jobs:
        handle = await jobs.submit(approval)
        await reason_of(handle, Reason.AWAITING_INPUT)
        assert (await handle.cancel("no longer", patience=inf)).outcome == "cancelled"


@pytest.mark.parametrize("how", ["receives nothing", "after the end", "before the end"])
async def test_a_wait_in_vain_fails(how: str, opening: Opening, autojump_clock: MockClock) -> None:
    """A job that was woken and waits again without receiving, or for what will never come, is not retried."""

    @handler
    async def loops(job: JobContext[Any]) -> None:
        if how == "after the end":
            with pytest.raises(trio.EndOfChannel):
                await job.receive()
        elif how == "before the end" and job.attempt == 1:
            await job.receive()
        raise AwaitInput

    async with opening(loops) as jobs:
        handle = await jobs.submit(loops, retry=Retry(attempts=9))
        if how != "after the end":
            await handle.send("woken")
        if how != "receives nothing":
            await handle.end_inputs()
        with pytest.raises(JobFailed, match="no more will come" if how == "after the end" else "woken"):
            await handle.result()
        job = await handle.snapshot()
        assert (job.reason, job.attempt) == (Reason.ERROR, 1 if how == "after the end" else 2)
        assert job.error is not None
        assert job.error.type == "AwaitInput"


async def test_waits_that_receive_go_on(opening: Opening, autojump_clock: MockClock) -> None:
    """A job may wait as often as it likes, if it receives what wakes it."""

    @handler
    async def chat(job: JobContext[Any]) -> list[Any]:
        said: list[Any] = job.saved or []
        if job.attempt > 1:
            said.append(await job.receive())
            await job.save(said)
        if len(said) < 3:
            raise AwaitInput
        return said

    async with opening(chat) as jobs:
        handle = await jobs.submit(chat)
        for number in range(3):
            await reason_of(handle, Reason.AWAITING_INPUT)
            await handle.send(number)
            while (await handle.snapshot()).unconsumed:
                await trio.sleep(0.01)
        assert await handle.result() == [0, 1, 2]


async def test_a_child_has_no_queue_to_wait_in(opening: Opening, autojump_clock: MockClock) -> None:
    """A child that waits or snoozes has failed, and its parent sees that, and does not wait itself."""

    @handler
    async def child(job: JobContext[Any], error: str) -> None:
        raise AwaitInput if error == "wait" else RetryAfter(1)

    @handler
    async def parent(job: JobContext[Any], error: str) -> None:
        await job.spawn(child, error)

    async with opening(parent, child) as jobs:
        for error in ["wait", "snooze"]:
            handle = await jobs.submit(parent, error)
            with pytest.raises(JobFailed, match="a child has no queue to wait in"):
                await handle.result()
            assert (await handle.snapshot()).reason is Reason.ERROR


async def test_a_child_receives(opening: Opening, autojump_clock: MockClock) -> None:
    """A child has inputs of its own."""

    @handler
    async def child(job: JobContext[Any]) -> Any:
        value = await job.receive()
        await job.save(value)
        return value

    @handler
    async def parent(job: JobContext[Any]) -> Any:
        handle = await job.spawn(child)
        await handle.send("for the child")
        return await handle.result()

    async with opening(parent, child) as jobs:
        assert await (await jobs.submit(parent)).result() == "for the child"


async def test_a_wait_is_not_kept_as_an_exception(autojump_clock: MockClock) -> None:
    """What comes after a wait counts alone, as an exception group with others does."""

    async def mixed(job: JobContext[Any]) -> None:
        raise BaseExceptionGroup("both", [AwaitInput(), Permanent("no")])

    async with open_registry() as jobs:
        handle = await jobs.submit(mixed)
        with pytest.raises(JobFailed):
            await handle.result()


# ---------------------------------------------------------------- leaving


async def test_drain_ends_when_all_that_is_left_waits(autojump_clock: MockClock) -> None:
    """Jobs that wait for an input end CANCELLED; those that wait for their time run before."""
    done: list[float] = []

    async def later(job: JobContext[Any]) -> None:
        done.append(trio.current_time())

    async with open_registry(on_exit="drain") as jobs:
        waits = [await jobs.submit(approval) for _ in range(2)]
        limited = await jobs.submit(waits_long)
        await jobs.submit(later, delay=5)
    assert done == [5]
    for handle in [*waits, limited]:
        job = await store_of(jobs).get(handle.id)
        assert (job.state, job.reason) == (State.CANCELLED, Reason.SHUTDOWN)
    assert trio.current_time() == 5


async def waits_long(job: JobContext[Any]) -> None:
    """Wait for an input for an hour."""
    raise AwaitInput(timeout=3600)


async def test_drain_looks_at_all_pages(monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock) -> None:
    """Jobs that wait are passed over, page by page, up to one that does not."""

    async def snoozes(job: JobContext[Any]) -> None:
        if job.attempt == 1:
            raise RetryAfter(5)

    monkeypatch.setattr("trio_jobs._registry.opening._PAGE", 2)
    async with open_registry(on_exit="drain") as jobs:
        for _ in range(5):
            await jobs.submit(approval)
        handle = await jobs.submit(snoozes)
    assert (await store_of(jobs).get(handle.id)).state is State.COMPLETED
    assert trio.current_time() == 5


@pytest.mark.parametrize("answered", [False, True])
async def test_drain_of_a_paused_registry(answered: bool, autojump_clock: MockClock) -> None:
    """A job that waits for an input is no reason to complain; one that got it is, as it will never run."""
    with pytest.raises(RuntimeError, match="1 jobs wait") if answered else trio.CancelScope():
        async with open_registry(on_exit="drain") as jobs:
            handle = await jobs.submit(approval)
            await wait_all_tasks_blocked()
            jobs.pause()
            if answered:
                await handle.send("yes")


async def test_drain_waits_for_what_an_input_woke(autojump_clock: MockClock) -> None:
    """A job that is sent an input while the registry drains runs to its end."""

    async def busy(job: JobContext[Any]) -> None:
        await trio.sleep(1)
        await handle.send("yes")

    async with open_registry(on_exit="drain", capacity=1) as jobs:
        handle = await jobs.submit(approval)
        await wait_all_tasks_blocked()
        await jobs.submit(busy)
    assert (await store_of(jobs).get(handle.id)).result == "yes"


async def test_drain_ends_after_the_last_that_did_not_wait(autojump_clock: MockClock) -> None:
    """Also if that never ran, as it was cancelled."""

    async def _keep_jobs(task_status: trio.TaskStatus[JobHandle[Any, Any]]) -> None:
        async with open_registry(on_exit="drain") as jobs:
            await jobs.submit(approval)
            task_status.started(await jobs.submit(collect, delay=100))

    async with trio.open_nursery() as nursery:
        handle: JobHandle[Any, Any] = await nursery.start(_keep_jobs)
        await trio.sleep(3)
        await handle.request_cancel()
    assert trio.current_time() == 3


# ---------------------------------------------------------------- cancelled anywhere


async def conversation(job: JobContext[Any]) -> list[Any]:
    """Receive in two tasks, save, and take steps, with inputs that come from within."""
    got: list[Any] = []
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(take, job, got)
        child = await job.spawn(speaker)
        await child.send("go")
    await job.save(got)
    got.append(await job.step("once", add, 1, 2))
    return got


async def take(job: JobContext[Any], got: list[Any]) -> None:
    with trio.move_on_after(1):
        got.append(await job.receive())


async def speaker(job: JobContext[Any]) -> None:
    await job.send(await job.receive())


async def add(one: int, other: int) -> int:
    await trio.lowlevel.checkpoint()
    return one + other


def test_cancelled_at_every_checkpoint() -> None:
    """Wherever a job is cancelled that receives, saves and takes steps, it ends, and nothing is left."""
    assert cancel_at_every_checkpoint(conversation) > 10
