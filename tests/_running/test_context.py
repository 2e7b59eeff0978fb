"""The handler's context: every verb is a checkpoint, does what it says, and does nothing if it is
cancelled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, cast

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from tests.inside import simulate
from trio_jobs import (
    Event,
    InvalidPayload,
    Job,
    JobContext,
    JobHandle,
    Kind,
    Progress,
    Reason,
    Retention,
    Retry,
    State,
    StreamGap,
    Timeouts,
    open_registry,
)
from trio_jobs.stores.memory import MemoryStore


async def run(
    handler: Callable[[JobContext[Any]], Awaitable[Any]], **options: Any
) -> tuple[Job, list[Event]]:
    """Run one job to its end, and return it and its log."""
    async with open_registry(window=4) as jobs:
        handle = await jobs.submit(handler, **options)
        job = await handle.wait()
        return job, await log_of(handle)


async def log_of(handle: JobHandle[Any, Any]) -> list[Event]:
    async with handle.events(policy="gap") as events:
        log = [event async for event in events]
    assert [event.seq for event in log] == list(range(1, len(log) + 1))
    return log


def written(log: list[Event], kind: Kind = Kind.TOKEN) -> list[Any]:
    return [event.data for event in log if event.kind is kind]


async def quick(job: JobContext[Any], *args: Any) -> Any:
    return args


async def forever(job: JobContext[Any]) -> None:
    await trio.sleep_forever()


# ---------------------------------------------------------------- what it knows


async def test_what_a_handler_knows(autojump_clock: MockClock) -> None:
    """The context has the job's id, the number of the attempt, and what was submitted."""

    async def handler(job: JobContext[Any]) -> None:
        seen.append((job.id, job.attempt, dict(job.tags), dict(job.metadata), job.saved))
        assert job.cancel_requested is job.cancel_requested
        assert not job.cancel_requested.is_set()
        if job.attempt == 1:
            raise ValueError

    seen: list[Any] = []
    async with open_registry() as jobs:
        handle = await jobs.submit(
            handler, tags={"user": "7"}, metadata={"x": [1]}, retry=Retry(2, initial=0)
        )
        await handle.wait()
    facts = ({"user": "7"}, {"x": [1]}, None)
    assert seen == [(handle.id, 1, *facts), (handle.id, 2, *facts)]


@pytest.mark.parametrize("opened", [False, True])
async def test_saved_is_for_the_next_attempt(opened: bool, autojump_clock: MockClock) -> None:
    """The value saved last, None too, is in the context, the snapshot and the next attempt at once."""
    seen: list[Any] = []

    async def handler(job: JobContext[Any]) -> None:
        seen.append(job.saved)
        if opened:
            assert job.tokens is not None
        if job.attempt == 1:
            await job.save(1)
            await job.save({"at": 2})
            assert job.saved == {"at": 2}
            raise ValueError
        if job.attempt == 2:
            await job.save(None)
            raise ValueError

    job, log = await run(handler, retry=Retry(3, initial=1))
    assert seen == [None, {"at": 2}, None]
    assert written(log, Kind.SAVED) == [1, {"at": 2}, None]
    assert job.saved is None


async def test_progress_is_an_event(autojump_clock: MockClock) -> None:
    """Progress is in the log unchanged; impossible numbers are refused, and not written."""

    async def handler(job: JobContext[Any]) -> None:
        await job.progress(1)
        await job.progress(0.5, 2, "half")
        await job.progress(0, total=0, message=None)
        for bad in [(-1,), (float("nan"),), (1, -1), (1, float("nan")), ("1",), (1, "2"), (True,)]:
            with pytest.raises((TypeError, ValueError), match=r"done|total"):
                await job.progress(*cast("Any", bad))

    job, log = await run(handler)
    assert job.state is State.COMPLETED
    assert written(log, Kind.PROGRESS) == [Progress(1), Progress(0.5, 2, "half"), Progress(0, 0)]


async def test_told_before_it_is_cancelled(autojump_clock: MockClock) -> None:
    """`cancel_requested` is set by a cancel with grace, for tasks that wait for it and that look later."""

    async def handler(job: JobContext[Any]) -> str:
        if job.metadata["waits"]:
            await job.cancel_requested.wait()
        else:
            await trio.sleep(5)
            assert job.cancel_requested.is_set()
        return "tidy"

    async with open_registry() as jobs:
        for waits in (True, False):
            handle = await jobs.submit(handler, metadata={"waits": waits})
            await trio.sleep(1)
            report = await handle.cancel(grace=10)
            assert report.outcome == "finished_first"
            assert report.took == (0 if waits else 4)
            assert await handle.result() == "tidy"


# ---------------------------------------------------------------- send


@pytest.mark.parametrize("opened", [False, True])
async def test_every_verb_is_a_checkpoint(opened: bool, autojump_clock: MockClock) -> None:
    """Each verb of the context is a checkpoint, whatever it has to do."""

    async def handler(job: JobContext[Any]) -> None:
        if opened:
            assert job.tokens is not None
        verbs: list[Callable[[], Awaitable[Any]]] = [
            lambda: job.send(1),
            lambda: job.send_many([]),
            lambda: job.send_many([1, 2]),
            lambda: job.progress(1),
            lambda: job.save(1),
            lambda: job.spawn(quick),
        ]
        for verb in verbs:
            with assert_checkpoints():
                await verb()
        before = await log_length(job)
        for verb in verbs:
            with trio.CancelScope() as scope:
                scope.cancel()
                await verb()
            assert scope.cancelled_caught
        assert await log_length(job) == before

    async def log_length(job: JobContext[Any]) -> int:
        return (await (await jobs.get(job.id)).snapshot()).last_seq

    async with open_registry() as jobs:
        handle = await jobs.submit(handler)
        assert (await handle.wait()).state is State.COMPLETED, (await handle.snapshot()).error
        assert len(await jobs.find(parent=handle.id)) == 1


@given(
    bursts=st.lists(st.integers(0, 12), max_size=5),
    window=st.integers(1, 5),
    opened=st.booleans(),
    reader=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_send_many_is_many_sends(
    bursts: list[int], window: int, opened: bool, reader: bool, seed: int
) -> None:
    """Bursts leave the same tokens in the log as single sends, and take from the iterable only what has
    room."""

    def numbers(n: int) -> Iterator[int]:
        for number in range(n):
            taken.append(number)
            yield number

    async def handler(job: JobContext[int]) -> None:
        if opened:
            assert job.tokens is not None
        for n in bursts:
            await job.send_many(numbers(n))

    async def scenario() -> None:
        async with open_registry(window=window) as jobs:
            handle = await jobs.submit(handler, delay=1)
            if reader:
                async with handle.stream(after=1) as tokens:
                    await trio.sleep(2)
                    await wait_all_tasks_blocked()
                    written_now = (await handle.snapshot()).last_seq - 2
                    assert len(taken) <= written_now + (2 * window if opened else 0) + 1
                    assert [token async for token in tokens] == expected
            assert (await handle.wait()).state is State.COMPLETED
            assert written(await log_of(handle)) == expected

    taken: list[int] = []
    expected = [number for n in bursts for number in range(n)]
    simulate(scenario, seed=seed)
    assert taken == expected


async def test_send_many_without_end_can_be_cancelled(autojump_clock: MockClock) -> None:
    """During an endless iterable other tasks run, and a cancellation takes effect."""

    async def handler(job: JobContext[int]) -> None:
        await job.send_many(iter(int, 1))

    async with open_registry(retention=Retention(events=100)) as jobs:
        handle = await jobs.submit(handler)
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        assert (await handle.cancel()).outcome == "cancelled"
        assert (await handle.snapshot()).last_seq > 100


@pytest.mark.parametrize("opened", [False, True])
async def test_send_many_of_a_source_that_breaks(opened: bool, autojump_clock: MockClock) -> None:
    """The values that the iterable gave before it raised were sent, as by single sends."""

    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise LookupError("broke")

    async def handler(job: JobContext[int]) -> None:
        if opened:
            assert job.tokens is not None
        with pytest.raises(LookupError):
            await job.send_many(source())
        await job.send(3)

    _, log = await run(handler)
    assert written(log) == [1, 2, 3]


async def test_send_many_is_done_when_all_is_sent(autojump_clock: MockClock) -> None:
    """A burst that fits exactly does not wait for more room."""
    reached: list[float] = []

    async def handler(job: JobContext[int]) -> None:
        await job.send_many(range(4))
        reached.append(trio.current_time())

    async with open_registry(window=4) as jobs:
        handle = await jobs.submit(handler, when_unread="pause")
        await trio.sleep(1)
        assert reached == [0]
        assert (await handle.snapshot()).state is State.COMPLETED


async def test_what_is_not_iterable(autojump_clock: MockClock) -> None:
    """`send_many` of a value that is not iterable raises in the handler, and sends nothing."""

    async def handler(job: JobContext[Any]) -> None:
        await job.send_many(cast("Any", 5))

    job, log = await run(handler)
    assert job.error is not None
    assert job.error.type == "TypeError"
    assert written(log) == []


@pytest.mark.parametrize("reader", [False, True])
async def test_many_tasks_send(reader: bool, autojump_clock: MockClock) -> None:
    """Fifty tasks of a job send at once: each one's tokens come in its order, none lost or doubled, and a
    reader
    is never more than a window behind."""

    async def one(job: JobContext[Any], name: int) -> None:
        for number in range(10):
            await job.send((name, number))

    async def handler(job: JobContext[Any]) -> None:
        for name in range(50):
            job.nursery.start_soon(one, job, name)

    async with open_registry(window=3) as jobs:
        handle = await jobs.submit(handler, delay=1)
        tokens: list[Any] = []
        if reader:
            async with handle.stream(after=1) as stream:
                async for token in stream:
                    tokens.append(token)
                    job = await handle.snapshot()
                    assert job.last_seq - stream.cursor <= 3 + job.state.over
        else:
            await handle.wait()
            tokens = written(await log_of(handle))
    assert len(tokens) == 500
    for name in range(50):
        assert [number for who, number in tokens if who == name] == list(range(10))


async def test_a_send_restarts_the_idle_clock(autojump_clock: MockClock) -> None:
    """Tokens restart the idle clock, one by one or in bursts; progress and save do not."""

    async def handler(job: JobContext[int]) -> None:
        for _ in range(3):
            await trio.sleep(4)
            await job.send(1)
            await trio.sleep(4)
            await job.send_many([1, 2])
        await trio.sleep(4)
        await job.progress(1)
        await job.save(1)
        await trio.sleep(4)

    async with open_registry() as jobs:
        handle = await jobs.submit(handler, timeouts=Timeouts(first_token=5, idle=5))
        job = await handle.wait()
    assert trio.current_time() == 29
    assert (job.state, job.reason) == (State.FAILED, Reason.IDLE_TIMEOUT)


async def test_a_send_that_the_handler_did_not_see_fail(autojump_clock: MockClock) -> None:
    """A refused token in a helper task that swallows the error still fails the job, with reason limit."""

    async def helper(job: JobContext[str]) -> None:
        with suppress(InvalidPayload):
            await job.send("x" * 2000)

    async def handler(job: JobContext[str]) -> str:
        job.nursery.start_soon(helper, job)
        return "fine"

    async with open_registry(retention=Retention(token_bytes=1000)) as jobs:
        handle = await jobs.submit(handler)
        job = await handle.wait()
    assert (job.state, job.reason, job.result) == (State.FAILED, Reason.LIMIT, None)


async def test_a_token_of_just_the_size(autojump_clock: MockClock) -> None:
    """A token of exactly the bound is accepted; the bound is not for saved values and progress."""

    async def handler(job: JobContext[bytes]) -> None:
        await job.send(bytes(1000 - len_of_empty))
        await job.save(bytes(5000))

    len_of_empty = b"".__sizeof__()
    async with open_registry(retention=Retention(token_bytes=1000)) as jobs:
        assert (await (await jobs.submit(handler)).wait()).state is State.COMPLETED


# ---------------------------------------------------------------- spawn


async def test_a_child_is_a_job(autojump_clock: MockClock) -> None:
    """A child has an id, a log and a result of its own; its parent ends after it, and shares its slot."""

    async def child(job: JobContext[int], n: int) -> int:
        await job.send_many(range(n))
        await trio.sleep(2)
        return n

    async def parent(job: JobContext[Any]) -> Any:
        handles.append(await job.spawn(child, 3, tags={"a": "b"}, metadata={"m": 1}))
        return "parent"

    handles: list[JobHandle[Any, Any]] = []
    async with open_registry(capacity=1) as jobs:
        handle = await jobs.submit(parent)
        await handle.wait()
        (spawned,) = handles
        job = await spawned.snapshot()
        assert trio.current_time() == 2
        assert (job.state, job.result, job.parent) == (State.COMPLETED, 3, handle.id)
        assert (dict(job.tags), dict(job.metadata)) == ({"a": "b"}, {"m": 1})
        async with spawned.stream() as tokens:
            assert [token async for token in tokens] == [0, 1, 2]
        assert [found.id for found in await jobs.find(parent=handle.id)] == [spawned.id]


@pytest.mark.parametrize(
    ("args", "options", "error"),
    [
        ((lambda job: None,), {}, TypeError),
        ((forever, "too many"), {}, TypeError),
        ((forever,), {"retry": Retry()}, TypeError),
        ((forever,), {"key": "k"}, TypeError),
        ((forever,), {"timeout": -1}, ValueError),
        ((forever,), {"tags": {"a": 1}}, TypeError),
    ],
)
async def test_a_child_that_cannot_be(
    args: Any, options: dict[str, Any], error: type[Exception], autojump_clock: MockClock
) -> None:
    """A child with wrong arguments is refused before anything is written, and the parent may go on."""

    async def parent(job: JobContext[Any]) -> str:
        with pytest.raises(error):
            await job.spawn(*args, **options)
        return "went on"

    async with open_registry() as jobs:
        handle = await jobs.submit(parent)
        assert await handle.result() == "went on"
        assert await jobs.count() == 1


async def test_a_child_and_its_parent_stream_at_once(autojump_clock: MockClock) -> None:
    """The logs of parent and child are separate, and each has its own readers, which may hold it."""

    async def child(job: JobContext[str]) -> None:
        for number in range(10):
            await job.send(f"child {number}")

    async def parent(job: JobContext[str]) -> None:
        handles.append(await job.spawn(child))
        for number in range(10):
            await job.send(f"parent {number}")

    handles: list[JobHandle[Any, Any]] = []
    async with open_registry(window=2) as jobs:
        handle = await jobs.submit(parent)
        async with handle.stream() as tokens:
            assert [token async for token in tokens] == [f"parent {n}" for n in range(10)]
        async with handles[0].stream() as tokens:
            assert [token async for token in tokens] == [f"child {n}" for n in range(10)]


async def test_grandchildren_end_with_the_top(autojump_clock: MockClock) -> None:
    """Cancelling a job ends all its descendants with reason parent, the innermost first."""

    async def middle(job: JobContext[Any]) -> None:
        ids.append((await job.spawn(forever)).id)
        await trio.sleep_forever()

    async def top(job: JobContext[Any]) -> None:
        ids.append((await job.spawn(middle)).id)
        await trio.sleep_forever()

    ids: list[str] = []
    async with open_registry() as jobs:
        handle = await jobs.submit(top)
        await wait_all_tasks_blocked()
        assert (await handle.cancel()).outcome == "cancelled"
        ends = [await (await jobs.get(job_id)).snapshot() for job_id in ids]
        assert [job.reason for job in ends] == [Reason.PARENT, Reason.PARENT]
        assert [job.parent for job in ends] == [handle.id, ids[0]]


async def test_a_store_that_is_passed_in_is_written_by_its_verbs(autojump_clock: MockClock) -> None:
    """Only a store that the registry made is written in place: another one gets every token by a verb."""
    heard: list[Any] = []

    class Mine(MemoryStore):
        async def append(self, *args: Any, **options: Any) -> int:
            heard.extend(args[3])
            return await super().append(*args, **options)

    async def handler(job: JobContext[int]) -> None:
        await job.send(1)
        await job.send(2)

    async with open_registry(Mine()) as jobs, (await jobs.submit(handler)).stream() as stream:
        assert [token async for token in stream] == [1, 2] == heard


async def test_the_first_values_are_gone(autojump_clock: MockClock) -> None:
    """A late reader gets a gap for the values that are gone, and reads on behind it."""

    async def handler(job: JobContext[int]) -> None:
        await job.send_many(range(30))

    async with open_registry(retention=Retention(events=8)) as jobs:
        handle = await jobs.submit(handler)
        await handle.wait()
        async with handle.stream() as stream:
            with pytest.raises(StreamGap) as gap:
                await stream.receive()
            assert await stream.receive_many() == [*range(gap.value.last - 2, 30)]
