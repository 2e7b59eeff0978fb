"""The channel of an attempt: one order with the other verbs, no value lost at the end, no task hung by a
leaked clone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.inside import seed_scheduler, simulate, store_of, worker_of
from tests.tasks import Nudge
from trio_jobs import (
    Ended,
    Event,
    Job,
    JobContext,
    JobHandle,
    Kind,
    LeaseLost,
    Progress,
    Reason,
    Retention,
    Retry,
    State,
    Timeouts,
    open_registry,
)
from trio_jobs._running.channel import TokenChannel
from trio_jobs.stores import StoreUnavailable, Transition
from trio_jobs.stores.contract import Outcome
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.testing import Connection


async def log_of(handle: JobHandle[Any, Any]) -> list[Event]:
    async with handle.events(policy="gap") as events:
        log = [event async for event in events]
    assert [event.seq for event in log] == list(range(1, len(log) + 1))
    return log


async def run(handler: Callable[[JobContext[Any]], Awaitable[Any]], **options: Any) -> tuple[Job, list[Any]]:
    """Run one job to its end, and return it and its tokens."""
    async with open_registry(window=4) as jobs:
        handle = await jobs.submit(handler, **options)
        job = await handle.wait()
        return job, [event.data for event in await log_of(handle) if event.kind is Kind.TOKEN]


async def test_clones_for_helpers(autojump_clock: MockClock) -> None:
    """Values sent through clones in helper tasks are in the log, those of each helper in order."""

    async def helper(tokens: trio.MemorySendChannel[tuple[str, int]], name: str) -> None:
        async with tokens:
            for number in range(20):
                await tokens.send((name, number))

    async def handler(job: JobContext[tuple[str, int]]) -> None:
        for name in "abc":
            job.nursery.start_soon(helper, job.tokens.clone(), name)
        for number in range(20):
            await job.send(("main", number))

    job, tokens = await run(handler)
    assert job.state is State.COMPLETED
    assert len(tokens) == 80
    for name in ("a", "b", "c", "main"):
        assert [number for who, number in tokens if who == name] == list(range(20))


OPERATIONS = st.lists(
    st.sampled_from(["send", "send_many", "channel", "nowait", "progress", "save", "step"]), max_size=25
)


@settings(deadline=None)
@given(operations=OPERATIONS, opened=st.booleans(), seed=st.integers(0, 2**32))
def test_one_order(operations: list[str], opened: bool, seed: int) -> None:
    """Everything that one task writes is in the log in the order of its calls, whichever ways it uses."""

    async def handler(job: JobContext[int]) -> None:
        if opened:
            assert job.tokens is job.tokens
        for number, operation in enumerate(operations):
            if operation == "send":
                await job.send(number)
            elif operation == "send_many":
                await job.send_many([number, number])
            elif operation == "channel":
                await job.tokens.send(number)
            elif operation == "nowait":
                try:
                    job.tokens.send_nowait(number)
                except trio.WouldBlock:
                    await job.tokens.send(number)
            elif operation == "progress":
                await job.progress(number)
            elif operation == "save":
                await job.save(number)
                assert job.saved == number
            else:
                await trio.lowlevel.checkpoint()

    async def scenario() -> None:
        async with open_registry(window=3) as jobs:
            handle = await jobs.submit(handler)
            async with handle.events() as events:
                log = [event async for event in events]
        assert [event.seq for event in log] == list(range(1, len(log) + 1))
        written: list[tuple[str, Any]] = []
        for number, operation in enumerate(operations):
            if operation == "progress":
                written.append(("progress", Progress(number)))
            elif operation == "save":
                written.append(("saved", number))
            elif operation != "step":
                written += [("token", number)] * (1 + (operation == "send_many"))
        assert [(str(event.kind), event.data) for event in log[2:-1]] == written
        assert log[-1].kind is Kind.COMPLETED

    simulate(scenario, seed=seed)


@pytest.mark.parametrize("reader", [False, True])
@pytest.mark.parametrize("end", ["return", "error", "cancel"])
def test_the_last_value_is_in_the_log(reader: bool, end: str) -> None:
    """A value sent before the nursery closed precedes the end in the log, however late, under any
    schedule."""

    async def late(tokens: trio.MemorySendChannel[str]) -> None:
        try:
            await trio.sleep(1)
        finally:
            tokens.send_nowait("in the last step")

    async def handler(job: JobContext[str]) -> None:
        await job.tokens.send("first")
        job.nursery.start_soon(late, job.tokens.clone())
        await trio.sleep(1)
        if end == "cancel":
            await trio.sleep_forever()
        job.tokens.send_nowait("at the end")
        if end == "error":
            raise ValueError

    async def scenario() -> None:
        async with open_registry(window=4) as jobs:
            handle = await jobs.submit(handler)
            if reader:
                async with handle.stream():
                    await settle_and_end(handle)
            else:
                await settle_and_end(handle)

    async def settle_and_end(handle: JobHandle[str, None]) -> None:
        if end == "cancel":
            await trio.sleep(0.5)
            await handle.cancel()
        await handle.wait()
        log = await log_of(handle)
        tokens = [event.data for event in log if event.kind is Kind.TOKEN]
        expected = {"first", "in the last step"} | ({"at the end"} if end != "cancel" else set())
        assert set(tokens) == expected
        assert len(tokens) == len(expected)
        assert str(log[-1].kind) == {"return": "completed", "error": "failed"}.get(end, "cancelled")

    for seed in range(25):
        simulate(scenario, seed=seed)


@pytest.mark.parametrize("opened", [False, True])
async def test_what_is_noted_is_written(opened: bool, autojump_clock: MockClock) -> None:
    """When `progress` or `save` returns, its event is in the log, behind all values sent before it."""

    async def handler(job: JobContext[int]) -> None:
        handle = await jobs.get(job.id)
        if opened:
            job.tokens.send_nowait(0)
        else:
            await job.send(0)
        await job.progress(1)
        assert (await handle.snapshot()).last_seq == 4
        await job.send(1)
        await job.save("kept")
        snapshot = await handle.snapshot()
        assert (snapshot.last_seq, snapshot.saved) == (6, "kept")

    async with open_registry() as jobs:
        handle = await jobs.submit(handler)
        assert (await handle.wait()).error is None


async def test_a_leaked_clone_hangs_nothing(autojump_clock: MockClock) -> None:
    """A clone that outlives the attempt, unclosed, delays neither job nor registry, and is broken
    afterwards."""
    leaked: list[trio.MemorySendChannel[int]] = []

    async def handler(job: JobContext[int]) -> str:
        leaked.extend([job.tokens, job.tokens.clone()])
        await leaked[1].send(1)
        return "over"

    async with open_registry() as jobs:
        handle = await jobs.submit(handler)
        assert await handle.result() == "over"
        with pytest.raises(trio.BrokenResourceError):
            await leaked[1].send(2)
        with pytest.raises(trio.BrokenResourceError):
            leaked[1].send_nowait(2)
        with pytest.raises(trio.ClosedResourceError):
            await leaked[0].send(2)
        assert [event.data for event in await log_of(handle) if event.kind is Kind.TOKEN] == [1]
    leaked[1].close()


async def test_a_sender_blocked_at_the_end(autojump_clock: MockClock) -> None:
    """A task outside the attempt that waits in the send of a clone gets BrokenResourceError."""
    leaked: list[trio.MemorySendChannel[int]] = []

    async def outsider() -> None:
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await leaked[0].send(0)
        assert trio.current_time() == 1
        leaked[0].close()

    async def handler(job: JobContext[int]) -> None:
        leaked.append(job.tokens.clone())
        await trio.sleep(1)

    async with open_registry(window=2) as jobs, trio.open_nursery() as nursery:
        handle = await jobs.submit(handler, when_unread="pause")
        nursery.start_soon(outsider)
        assert (await handle.wait()).state is State.COMPLETED


async def test_a_context_that_leaked(autojump_clock: MockClock) -> None:
    """After the attempt's end every verb of its context raises LeaseLost, with or without a channel."""
    leaked: list[JobContext[int]] = []

    async def plain(job: JobContext[int]) -> None:
        leaked.append(job)

    async def with_channel(job: JobContext[int]) -> None:
        leaked.append(job)
        await job.tokens.send(1)

    async with open_registry() as jobs:
        for handler in (plain, with_channel):
            handle = await jobs.submit(handler)
            before = (await handle.wait()).last_seq
            job = leaked.pop()
            with pytest.raises(LeaseLost):
                await job.send(2)
            with pytest.raises(LeaseLost):
                await job.send_many([2])
            with pytest.raises(LeaseLost):
                await job.progress(1)
            with pytest.raises(LeaseLost):
                await job.save(1)
            assert (await handle.snapshot()).last_seq == before
            assert job.saved is None
    assert trio.current_time() == 0


async def test_a_context_that_leaked_waits_for_nobody(autojump_clock: MockClock) -> None:
    """A send after the end is refused at once, also while a reader is a full window behind."""
    leaked: list[JobContext[int]] = []

    async def handler(job: JobContext[int]) -> None:
        leaked.append(job)
        await job.send(0)

    async with open_registry(window=2) as jobs:
        handle = await jobs.submit(handler, delay=1)
        async with handle.stream(after=1):
            await handle.wait()
            for write in (leaked[0].send(1), leaked[0].send_many([1])):
                with pytest.raises(LeaseLost):
                    await write
        assert not worker_of(jobs).readers
    assert trio.current_time() == 1


async def test_a_channel_asked_for_after_the_end(autojump_clock: MockClock) -> None:
    """A context that outlived its attempt opens no channel, whose pump would block the registry's exit."""
    leaked: list[JobContext[int]] = []

    async def handler(job: JobContext[int]) -> None:
        leaked.append(job)

    async with open_registry() as jobs:
        await (await jobs.submit(handler)).wait()
        with pytest.raises(LeaseLost):
            _ = leaked[0].tokens
    assert trio.current_time() == 0


async def test_closing_the_channel_closes_only_it(autojump_clock: MockClock) -> None:
    """A handler that closes `job.tokens`, as libraries do, can still `send`, `progress` and `save`."""

    async def handler(job: JobContext[int]) -> None:
        async with job.tokens as tokens:
            await tokens.send(1)
        with pytest.raises(trio.ClosedResourceError):
            await job.tokens.send(2)
        await job.send(3)
        await job.send_many([4, 5])
        await job.progress(1)
        await job.save("kept")

    job, tokens = await run(handler)
    assert tokens == [1, 3, 4, 5]
    assert (job.state, job.saved) == (State.COMPLETED, "kept")


async def test_the_channel_is_never_used(autojump_clock: MockClock) -> None:
    """A channel that is opened and never used delays nothing, even if the pump never ran."""

    async def handler(job: JobContext[int]) -> None:
        assert isinstance(job.tokens, trio.MemorySendChannel)

    for seed in range(8):
        seed_scheduler(seed)
        job, tokens = await run(handler)
        assert (job.state, tokens) == (State.COMPLETED, [])


@pytest.mark.parametrize("window", [1, 4])
async def test_backpressure_through_the_channel(window: int, autojump_clock: MockClock) -> None:
    """A reader that does not read stops sends through the channel: the log is a window ahead of it, the
    buffer is full, and the pump holds one value."""
    sent: list[int] = []

    async def handler(job: JobContext[int]) -> None:
        for number in range(100):
            await job.tokens.send(number)
            sent.append(number)

    async with open_registry(window=window) as jobs:
        handle = await jobs.submit(handler, delay=1)
        async with handle.stream(after=1) as tokens:
            await trio.sleep(2)
            await wait_all_tasks_blocked()
            assert (await handle.snapshot()).last_seq == tokens.cursor + window
            assert len(sent) <= 2 * window + 1
            assert [token async for token in tokens] == list(range(100))
    assert sent == list(range(100))


async def test_a_held_channel_is_written_at_the_end(autojump_clock: MockClock) -> None:
    """Values that wait in the channel for a reader are written at the end of the attempt, without a wait."""

    async def handler(job: JobContext[int]) -> None:
        for number in range(6):
            job.tokens.send_nowait(number)
            await trio.sleep(1)

    async with open_registry(window=4) as jobs:
        handle = await jobs.submit(handler, when_unread="pause")
        assert (await handle.wait()).state is State.COMPLETED
        assert trio.current_time() == 6
        tokens = [event.data for event in await log_of(handle) if event.kind is Kind.TOKEN]
    assert tokens == list(range(6))


@pytest.mark.parametrize("opened", [False, True])
async def test_sends_in_shielded_cleanup(opened: bool, autojump_clock: MockClock) -> None:
    """A shielded cleanup can send while everything around is cancelled, and its tokens are in the log."""

    async def handler(job: JobContext[str]) -> None:
        if opened:
            await job.tokens.send("before")
        else:
            await job.send("before")
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await job.send("sent")
                await job.save("saved")
                await job.progress(1)
                await job.send_many(f"burst {number}" for number in range(20))
                if opened:
                    await job.tokens.send("channel")

    with trio.move_on_after(1):
        async with open_registry(window=4) as jobs:
            handle = await jobs.submit(handler)
            await trio.sleep_forever()
    job = await store_of(jobs).get(handle.id)
    log = await store_of(jobs).read(handle.id, 0, 100)
    tokens = [event.data for event in log if event.kind is Kind.TOKEN]
    assert tokens[:3] == ["before", "sent", "burst 0"]
    assert tokens[-1] == ("channel" if opened else "burst 19")
    assert len(tokens) == 22 + opened
    assert (job.state, job.reason, job.saved) == (State.CANCELLED, Reason.SHUTDOWN, "saved")


@pytest.mark.parametrize("goes_on", [False, True])
async def test_a_token_too_large_for_the_channel(goes_on: bool, autojump_clock: MockClock) -> None:
    """A token over the bound fails its job through the channel as well, at once, and only that job."""

    async def handler(job: JobContext[str]) -> str:
        await job.tokens.send("fine")
        await job.tokens.send("x" * 2000)
        if goes_on:
            await trio.sleep(100)
        return "returned"

    async with open_registry(retention=Retention(token_bytes=1000)) as jobs:
        neighbour = await jobs.submit(sleeps)
        handle = await jobs.submit(handler, retry=Retry(attempts=3))
        job = await handle.wait()
        assert (job.state, job.reason, job.attempt) == (State.FAILED, Reason.LIMIT, 1)
        assert trio.current_time() == 0
        tokens = [event.data for event in await log_of(handle) if event.kind is Kind.TOKEN]
        assert tokens == ["fine"]
        assert (await neighbour.snapshot()).state is State.RUNNING


async def sleeps(job: JobContext[Any]) -> None:
    await trio.sleep_forever()


async def test_the_clocks_of_the_channel(autojump_clock: MockClock) -> None:
    """A token through the channel stops the first-token clock and restarts the idle clock, as `send` does."""

    async def handler(job: JobContext[int]) -> None:
        for number in range(4):
            await trio.sleep(3)
            await job.tokens.send(number)
        await trio.sleep(100)

    job, tokens = await run(handler, timeouts=Timeouts(first_token=4, idle=4))
    assert tokens == [0, 1, 2, 3]
    assert (job.state, job.reason) == (State.FAILED, Reason.IDLE_TIMEOUT)


async def test_a_channel_that_was_given_up(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """When another end of the attempt was written, values left in its channel are dropped, the handler is
    cancelled at its first write, and the worker goes on."""

    async def handler(job: JobContext[int]) -> None:
        await job.tokens.send(1)
        await trio.sleep(1)
        await job.tokens.send(2)
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                for note in (job.progress(1), job.save(1)):
                    with pytest.raises(LeaseLost):
                        await note
            assert job.saved is None
            stopped.append(trio.current_time())

    stopped: list[float] = []
    async with open_registry() as jobs:
        began = trio.current_time()
        handle = await jobs.submit(handler)
        await wait_all_tasks_blocked()
        lost = Outcome(Transition.FAILED, ended=Ended(Reason.WORKER_LOST))
        await store_of(jobs).finish(handle.id, 1, lost)
        await trio.sleep(5)
        tokens = [event.data for event in await log_of(handle) if event.kind is Kind.TOKEN]
        assert tokens == [1]
        assert (await jobs.statistics()).running == 0
    assert stopped == [began + 1]
    assert "belongs to another attempt" in caplog.text
    assert not [record for record in caplog.records if record.levelno > logging.WARNING]


@pytest.mark.parametrize("how", ["send", "send through the channel", "channel"])
@pytest.mark.parametrize("reader", [False, True])
def test_a_cancelled_send_sent_nothing(how: str, reader: bool) -> None:
    """Wherever a send is cancelled, its token is not in the log; the token of every send that returned is."""
    cancelled: list[int] = []

    async def scenario(k: int) -> None:
        sent: list[int] = []

        async def handler(job: JobContext[int]) -> None:
            if how != "send":
                assert job.tokens is not None
            for number in range(8):
                with trio.CancelScope() as scope:
                    nudge.scope = scope
                    await trio.lowlevel.cancel_shielded_checkpoint()  # cancelled before it begins, too
                    await (job.tokens.send(number) if how == "channel" else job.send(number))
                if scope.cancelled_caught:
                    cancelled.append(number)
                else:
                    sent.append(number)

        async def read() -> None:
            async with handle.stream() as tokens:
                async for _ in tokens:
                    await trio.sleep(0.1)

        nudge = Nudge(k, trio.CancelScope())
        trio.lowlevel.add_instrument(nudge)
        async with open_registry(window=2) as jobs, trio.open_nursery() as nursery:
            handle = await jobs.submit(handler, delay=0.5)
            if reader:
                nursery.start_soon(read)
            await handle.wait()
            tokens = [event.data for event in await log_of(handle) if event.kind is Kind.TOKEN]
        assert tokens == sent
        assert len(sent) >= 7

    for seed in range(2):
        for k in range(1, 70):
            simulate(scenario, k, seed=seed)
    assert len(set(cancelled)) >= 7


async def test_a_token_too_large_that_the_channel_still_holds(autojump_clock: MockClock) -> None:
    """A token that is found to be too large after the nursery has closed still fails the job."""

    async def handler(job: JobContext[str]) -> None:
        await wait_all_tasks_blocked()  # the reader is there
        while not job.tokens.statistics().current_buffer_used:
            await job.tokens.send("small")
        job.tokens.send_nowait("too large" * 1000)

    async with open_registry(window=4, retention=Retention(token_bytes=1000)) as jobs:
        handle = await jobs.submit(handler)
        async with handle.stream():
            job = await handle.wait()
    assert (job.state, job.reason) == (State.FAILED, Reason.LIMIT)


async def test_a_token_that_is_found_too_large_at_the_end(autojump_clock: MockClock) -> None:
    """A token that is in the channel when the handler has returned fails the job if it is too large."""

    async def handler(job: JobContext[str]) -> None:
        for token in ("a", "b", "x" * 1000):  # the pump waits for a reader with the first two in hand
            await job.tokens.send(token)

    async with open_registry(window=1, retention=Retention(token_bytes=200)) as jobs:
        handle = await jobs.submit(handler, when_unread="pause")
        with trio.move_on_after(1):
            await handle.wait()
        job = await handle.snapshot()
        assert (job.state, job.reason) == (State.FAILED, Reason.LIMIT)


# ------------------------------------------------------------ threads


@pytest.mark.parametrize("durable", [False, True])
async def test_a_thread_asks_for_the_channel_first(durable: bool) -> None:
    """A library in a thread may be the first to use `tokens`: its values are in the log."""

    async def handler(job: JobContext[int]) -> str:
        def work() -> None:
            for number in range(3):
                trio.from_thread.run(job.tokens.send, number)
            trio.from_thread.run(job.progress, 3)
            trio.from_thread.run(job.send, 3)

        await trio.to_thread.run_sync(work)
        return "done"

    store = MemoryStore()
    async with open_registry(Connection(store) if durable else store) as jobs:
        handle = await jobs.submit(handler)
        assert await handle.result() == "done"
        assert [event.data for event in await log_of(handle) if event.kind is Kind.TOKEN] == [0, 1, 2, 3]


async def test_a_thread_that_comes_second_shares_the_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that uses `tokens` just before the handler opens them gets the same channel."""
    begin, asked = threading.Event(), threading.Event()
    found: list[trio.MemorySendChannel[Any]] = []
    run_sync = trio.from_thread.run_sync

    def announced(*args: Any, **named: Any) -> Any:
        asked.set()
        return run_sync(*args, **named)

    async def handler(job: JobContext[int]) -> None:
        def ask() -> None:
            begin.wait(10)
            found.append(job.tokens)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, ask)
            await wait_all_tasks_blocked()
            begin.set()
            assert asked.wait(10)  # the thread asks, and this run is not there to answer
            found.append(job.tokens)

    monkeypatch.setattr(trio.from_thread, "run_sync", announced)
    job, _ = await run(handler)
    assert (job.state, found[0]) == (State.COMPLETED, found[1])


async def test_a_thread_that_trio_does_not_know() -> None:
    """A thread that Trio did not start may use `tokens` too; after the end it is refused."""
    contexts: list[JobContext[int]] = []

    def ask(job: JobContext[int], answers: list[Any]) -> None:
        try:
            answers.append(job.tokens)
        except LeaseLost as error:
            answers.append(error)

    async def in_a_thread(job: JobContext[int]) -> Any:
        answers: list[Any] = []
        thread = threading.Thread(target=ask, args=(job, answers))
        thread.start()
        await trio.to_thread.run_sync(thread.join)
        return answers.pop()

    async def handler(job: JobContext[int]) -> None:
        contexts.append(job)
        await (await in_a_thread(job)).send(1)

    async with open_registry() as jobs:
        handle = await jobs.submit(handler)
        assert (await handle.wait()).state is State.COMPLETED
        assert [event.data for event in await log_of(handle) if event.kind is Kind.TOKEN] == [1]
        assert isinstance(await in_a_thread(contexts[0]), LeaseLost)


# ------------------------------------------------------------ cut off in the middle


class Slow(Connection):
    """A store whose appends take a second; while it is `deaf`, it is unavailable for appends and ends."""

    deaf = False

    async def call(self, name: str, verb: Any) -> Any:
        if name == "append":
            await trio.sleep(1)
        if self.deaf and name in {"append", "finish"}:
            raise StoreUnavailable("nobody hears")
        return await super().call(name, verb)


@pytest.mark.parametrize("how", ["send", "send_many", "channel"])
@pytest.mark.parametrize("refused", range(5))
@pytest.mark.parametrize("cleanup", [0, 1.5, 2.5])
async def test_a_refused_token_doubles_none(
    how: str, refused: int, cleanup: float, autojump_clock: MockClock
) -> None:
    """One token of a burst is too large, so the job is stopped while the others are written one by one: each
    one before it is in the log exactly once."""
    values = [f"{number}" for number in range(5)]
    values[refused] *= 1000

    async def handler(job: JobContext[str]) -> None:
        if how == "send_many":
            await job.send_many(values)
        for value in values if how != "send_many" else ():
            await (job.tokens.send(value) if how == "channel" else job.send(value))
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):  # meanwhile one or more of them are written
                await trio.sleep(cleanup)

    async with open_registry(Slow(MemoryStore(retention=Retention(token_bytes=500)))) as jobs:
        handle = await jobs.submit(handler)
        job = await handle.wait()
        tokens = [event.data for event in await log_of(handle) if event.kind is Kind.TOKEN]
    assert (job.state, job.reason) == (State.FAILED, Reason.LIMIT)
    assert tokens[:refused] == values[:refused]
    assert tokens == [value for value in values if value in tokens]


@pytest.mark.parametrize("write", ["send", "send_many", "save"])
async def test_who_waits_for_what_is_never_written(write: str, autojump_clock: MockClock) -> None:
    """A task outside the attempt whose value is never written gets an error."""
    contexts: list[JobContext[Any]] = []
    heard: list[str] = []

    async def handler(job: JobContext[Any]) -> None:
        contexts.append(job)
        await trio.sleep_forever()

    async def outsider() -> None:
        while True:
            try:
                if write == "save":
                    await contexts[0].save(1)
                elif write == "send_many":
                    await contexts[0].send_many([1, 2])
                else:
                    await contexts[0].send(1)
            except LeaseLost:
                heard.append(write)
                return

    connection = Slow(MemoryStore())
    async with trio.open_nursery() as outside:
        async with open_registry(connection, window=2, lease=6) as jobs:
            await jobs.submit(handler)
            await trio.sleep(1)
            connection.deaf = True
            for _ in range(3):
                outside.start_soon(outsider)  # noqa: ASYNC111  # it outlives the attempt
            await trio.sleep(2)
        with trio.fail_after(30):
            while len(heard) < 3:
                await trio.sleep(1)


async def test_sending_after_the_end_through_a_channel_that_was_closed(autojump_clock: MockClock) -> None:
    """A send in the moment in which the attempt ends raises what any later one raises."""
    channel = TokenChannel(1, partial(trio.sleep, 0), partial(trio.sleep, 0), partial(LeaseLost, "j", 1))  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.run)
        await wait_all_tasks_blocked()
        await channel.close()
    with pytest.raises(LeaseLost):
        await channel.send(1)
    with pytest.raises(LeaseLost):
        await channel.send_many([1])


async def test_two_threads_ask_at_once() -> None:
    """Two threads that open the channel at the same time get the same one."""

    async def handler(job: JobContext[int]) -> bool:
        asks = [lambda: job.tokens] * 2
        channels = [await trio.to_thread.run_sync(ask) for ask in asks]
        return channels[0] is channels[1]

    async with open_registry() as jobs:
        assert await (await jobs.submit(handler)).result()
