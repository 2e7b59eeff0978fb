"""A log read over the wire is the same as one read in the process: same events, order, ends and errors."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.client.site import count, flaky, forever, permits, site
from trio_jobs import (
    EventStream,
    JobFailed,
    Kind,
    Retention,
    StreamGap,
    StreamRestarted,
    TokenStream,
    UnknownJob,
)
from trio_jobs.client import connect
from trio_jobs.client.subscription import WINDOW


async def test_a_stream_is_complete() -> None:
    """Every value of a job that sends more than a window holds arrives, in order, live or afterwards."""
    n = 5 * WINDOW + 7
    async with site() as (_, url), connect(url) as remote:
        handle = await remote.submit(count, n)
        for _ in range(2):
            async with handle.stream(policy="gap") as numbers:
                assert isinstance(numbers, TokenStream)
                assert [number async for number in numbers] == list(range(n))
                assert numbers.cursor == n + 3
            async with handle.stream() as numbers:
                found: list[int] = []
                with pytest.raises(trio.EndOfChannel):
                    while True:
                        some = await numbers.receive_many()
                        assert 0 < len(some) <= WINDOW
                        found += some
                assert found == list(range(n))


@pytest.mark.parametrize("window", [1, 3, 64])
async def test_a_handler_waits_for_a_blocking_reader_only(window: int) -> None:
    """With `block`, the handler waits while its reader does not read, and goes on when it does; at any
    window."""
    async with site(registry={"window": window}) as (jobs, url), connect(url) as remote:
        gate = permits("held")
        handle = await remote.submit("permitted", "held")
        async with handle.stream() as values:
            gate.send_nowait(-1)
            assert await values.receive() == -1
            for value in range(window + 60):
                gate.send_nowait(value)
            gate.close()
            here = await jobs.get(handle.id)
            while (await here.snapshot()).last_seq < 3 + window:
                await trio.lowlevel.checkpoint()
            for value in range(window + 60):
                assert (await here.snapshot()).last_seq <= values.cursor + window + 1
                assert await values.receive() == value
            assert [value async for value in values] == []


async def test_nobody_waits_for_a_reader_that_says_gap() -> None:
    """With `gap` the job ends while its reader has read nothing, and the reader gets the gap."""
    n = 4 * WINDOW
    registry = {"retention": Retention(events=10)}
    async with site(registry=registry) as (_, url), connect(url) as remote:
        gate = permits("lost")
        handle = await remote.submit("permitted", "lost")
        async with handle.events(policy="gap") as events:
            assert isinstance(events, EventStream)
            assert [(await events.receive()).kind for _ in range(2)] == ["submitted", "started"]
            for value in range(n):
                await gate.send(value)
            gate.close()
            assert (await handle.wait()).last_seq == n + 3
            found: list[int] = []
            gaps: list[tuple[int, int]] = []
            while True:
                try:
                    found.append((await events.receive()).seq)
                except StreamGap as gap:
                    gaps.append((gap.first, gap.last))
                    assert events.cursor == gap.oldest == gap.last
                except trio.EndOfChannel:
                    break
            missing = [seq for first, last in gaps for seq in range(first, last + 1)]
            assert sorted(found + missing) == list(range(3, n + 4))
            assert found == sorted(found)
            assert found[-10:] == list(range(n - 6, n + 4))


async def test_a_gap_wider_than_the_window() -> None:
    """A late reader of a log whose beginning is gone gets a gap, and then the rest."""
    n = 3 * WINDOW
    retained = {"retention": Retention(events=10)}
    async with site(registry=retained) as (jobs, url), connect(url) as remote:
        handle = await remote.submit(count, n)
        await handle.wait()
        async with handle.stream() as numbers:
            with pytest.raises(StreamGap) as caught:
                await numbers.receive()
            here = await jobs.get(handle.id)
            async with here.stream(caught.value.last) as kept:
                rest = [number async for number in kept]
            assert (caught.value.first, caught.value.last) == (3, n + 2 - len(rest))
            assert 0 < len(rest) <= 10
            assert [number async for number in numbers] == rest == list(range(n - len(rest), n))


async def test_resume() -> None:
    """A stream that was left goes on behind its cursor, at any place, the end included."""
    async with site() as (_, url), connect(url) as remote:
        handle = await remote.submit(count, 5)
        await handle.wait()
        async with handle.events() as events:
            every = [event async for event in events]
        for after in range(9):
            async with handle.events(after) as events:
                assert events.cursor == after
                assert [event async for event in events] == every[after:]
            async with handle.stream(after) as numbers:
                assert [number async for number in numbers] == list(range(max(0, after - 2), 5))
                assert numbers.cursor == 8
        failed = await remote.submit("fail", "no")
        await failed.wait()
        async with failed.stream(4) as tokens:
            with pytest.raises(JobFailed, match="no"):
                await tokens.receive()


async def test_a_cursor_ahead_of_the_log() -> None:
    """A cursor beyond the log is refused on entering, as in the process."""
    async with site() as (jobs, url), connect(url) as remote:
        handle = await remote.submit(count, 1)
        await handle.wait()
        here = await jobs.get(handle.id)
        errors: list[StreamGap] = []
        for one in (here, handle):
            with pytest.raises(StreamGap) as caught:
                async with one.events(99):
                    raise AssertionError("it was opened")
            errors.append(caught.value)
        assert vars(errors[0]) == vars(errors[1])
        for after, error in ((-1, ValueError), ("x", TypeError)):
            with pytest.raises(error):
                handle.events(after)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="policy"):
            handle.events(policy="wait")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="restarts"):
            handle.stream(restarts="no")  # type: ignore[arg-type]


async def test_a_new_attempt_is_told() -> None:
    """A retry raises `StreamRestarted` between the attempts, unless `restarts` joins them."""
    async with site() as (_, url), connect(url) as remote:
        handle = await remote.submit(flaky)
        async with handle.stream() as tokens:
            assert await tokens.receive() == "try 1"
            with pytest.raises(StreamRestarted) as caught:
                await tokens.receive()
            assert caught.value.attempt == 2
            assert await tokens.receive() == "try 2"
        async with handle.stream(restarts="continue") as tokens:
            assert [token async for token in tokens] == ["try 1", "try 2", "try 3"]


async def test_a_slow_reader_holds_up_no_other() -> None:
    """While one stream is not read, others of the same client are read to their ends, and calls are
    answered."""
    n = 6 * WINDOW
    async with site() as (_, url), connect(url) as remote:
        slow, fast = await remote.submit(count, n), await remote.submit(count, n)
        async with slow.events(policy="gap") as unread:
            assert (await unread.receive()).seq == 1
            async with fast.events(policy="gap") as events:
                assert [event.seq async for event in events] == list(range(1, n + 4))
            assert (await slow.wait()).result == n
            assert [event.seq async for event in unread] == list(range(2, n + 4))


async def test_a_cancelled_receive_loses_nothing() -> None:
    """The values that a cancelled receive had at hand are returned by the next one."""
    async with site() as (_, url), connect(url) as remote:
        gate = permits("cut")
        handle = await remote.submit("permitted", "cut")
        found: list[Any] = []
        async with handle.stream() as values:
            for value in range(40):
                with trio.move_on_after(0):
                    found.append(await values.receive())
                gate.send_nowait(value)
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(_cancel_soon, scope, value)
                        found.append(await values.receive())
                        nursery.cancel_scope.cancel()
            gate.close()
            found += [value async for value in values]
        assert found == list(range(40))


async def _cancel_soon(scope: trio.CancelScope, steps: int) -> None:
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def test_a_stream_is_read_by_one_task_inside_its_block() -> None:
    """Two tasks cannot read one stream; a stream that was left, or never entered, cannot be read; a task that
    waits in one that is closed gets an error at once."""
    async with site() as (_, url), connect(url) as remote:
        handle = await remote.submit(forever)
        stream = handle.stream()
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive()
        async with stream, trio.open_nursery() as nursery:
            assert await stream.receive() == "begun"

            async def told() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await stream.receive()

            nursery.start_soon(told)
            await wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await stream.receive()
            await stream.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive()


async def test_a_stream_that_is_left_is_left_at_the_server() -> None:
    """The server has as many readers as are open at its clients."""
    async with site() as (jobs, url), connect(url) as remote:
        handle = await remote.submit(forever)
        for _ in range(150):  # more than may be open at once
            async with handle.events():
                pass
        async with handle.stream() as tokens:
            await tokens.receive()
            assert (await jobs.statistics()).readers > 0
        while (await jobs.statistics()).readers:
            await remote.statistics()


async def test_a_job_that_is_removed_while_it_is_read() -> None:
    """The reader gets UnknownJob at each receive."""
    async with site() as (jobs, url), connect(url) as remote:
        n = 3 * WINDOW
        handle = await remote.submit(count, n)
        await handle.wait()
        async with handle.events(policy="gap") as events:
            assert (await events.receive()).seq == 1
            await remote.statistics()
            await jobs.remove(handle.id)
            for _ in range(2):
                with pytest.raises(UnknownJob):
                    while True:
                        assert (await events.receive()).kind is not Kind.COMPLETED


async def test_after_the_block_a_stream_is_closed() -> None:
    """A stream that outlives the block of its client raises ClosedResourceError, in waits too."""
    async with site() as (_, url), trio.open_nursery() as nursery:
        async with connect(url) as remote:
            handle = await remote.submit(forever)
            stream = handle.stream()
            await stream.__aenter__()
            assert await stream.receive() == "begun"

            async def told() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await stream.receive()

            nursery.start_soon(told)
            await wait_all_tasks_blocked()
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive()
        await stream.aclose()
