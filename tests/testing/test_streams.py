"""Streams in memory: correct without faults, and with every drawn fault."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random

import pytest
import trio
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, check_half_closeable_stream, wait_all_tasks_blocked

from trio_jobs.testing.streams import (
    CAPACITY,
    FAULTS,
    STALL,
    MemoryListener,
    MemoryStream,
    memory_stream_pair,
)


def run(main: Callable[..., Awaitable[None]], *args: object) -> None:
    """Run in virtual time."""
    trio.run(main, *args, clock=MockClock(autojump_threshold=0))


async def test_without_dice_it_is_a_stream() -> None:
    """The pair obeys all rules of a Trio stream that can be closed on one side."""

    async def pair() -> tuple[MemoryStream, MemoryStream]:
        return memory_stream_pair()

    async def clogged() -> tuple[MemoryStream, MemoryStream]:
        near, far = memory_stream_pair()
        await near.send_all(bytes(CAPACITY))
        await far.send_all(bytes(CAPACITY))
        return near, far

    await check_half_closeable_stream(pair, clogged)


async def send(stream: MemoryStream, data: bytes) -> None:
    """Send, and close the sending side, if the connection holds."""
    try:
        await stream.send_all(data)
        await stream.send_eof()
    except trio.BrokenResourceError:
        stream.cut()


async def receive(stream: MemoryStream) -> tuple[bytes, bool, list[int], float]:
    """Return the received bytes, whether the end came, the parts, and the time."""
    began, pieces, whole = trio.current_time(), list[bytes](), True
    try:
        async for piece in stream:
            pieces.append(bytes(piece))
    except trio.BrokenResourceError:
        whole = False
    return b"".join(pieces), whole, [len(one) for one in pieces], trio.current_time() - began


@pytest.mark.parametrize("faults", [FAULTS, {"delay"}, {"tear"}, {"stall"}, {"cut"}], ids="-".join)
@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(dice=st.randoms(use_true_random=False), messages=st.lists(st.binary(min_size=1), min_size=1))
def test_what_arrives_is_a_beginning_of_what_was_sent(
    faults: set[str], dice: Random, messages: list[bytes]
) -> None:
    """With any faults, bytes arrive in order, each once; without a cut all arrive."""

    async def main() -> None:
        near, far = memory_stream_pair(dice, faults)
        async with trio.open_nursery() as nursery:

            async def talk() -> None:
                try:
                    for message in messages[:-1]:
                        await near.send_all(message)
                except trio.BrokenResourceError:
                    return
                await send(near, messages[-1])

            nursery.start_soon(talk)
            data, whole, _, _ = await receive(far)
        assert b"".join(messages).startswith(data)
        assert whole == (data == b"".join(messages)) or "cut" in faults
        assert whole or "cut" in faults

    run(main)


def test_every_fault_happens() -> None:
    """In sixty seeds each kind of fault happens, and none that is off."""
    seen = set[str]()

    async def main(seed: int, fault: str) -> None:
        near, far = memory_stream_pair(Random(seed), {fault})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, near, bytes(100))
            data, whole, pieces, seconds = await receive(far)
        found = {
            "tear": len(pieces) > 1,
            "delay": 0 < seconds < STALL,
            "stall": seconds >= STALL,
            "cut": not whole,
        }
        assert {name for name, happened in found.items() if happened} <= {fault}
        seen.update({fault} if found[fault] else ())
        if fault == "cut" and found["cut"]:
            assert len(data) <= 100

    for fault in ("tear", "delay", "stall", "cut"):
        for seed in range(60):
            run(main, seed, fault)
    assert seen == set(FAULTS) - {"refuse"}


def test_the_same_seed_is_the_same_course() -> None:
    """A seed determines when the parts arrive, their lengths, and where the connection breaks."""
    courses = list[object]()

    async def main(seed: int) -> None:
        near, far = memory_stream_pair(Random(seed))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, near, bytes(300))
            courses.append((seed, await receive(far)))

    for _ in range(2):
        for seed in range(20):
            run(main, seed)
    assert courses[:20] == courses[20:]
    assert len({repr(course) for course in courses}) == 20


async def test_cut_and_stall_by_hand(autojump_clock: MockClock) -> None:
    """A stall delays bytes under way; a cut loses them, keeps arrived ones, and both ends raise."""
    near, far = memory_stream_pair()
    await near.send_all(b"arrived")
    assert await far.receive_some(3) == b"arr"
    near.stall(60)
    began = trio.current_time()
    assert await far.receive_some() == b"ived"
    assert trio.current_time() - began == 60
    for seconds, arrived in [(0, b"data"), (60, b"")]:
        near, far = memory_stream_pair()
        near.stall(seconds)
        await near.send_all(b"data")
        far.cut()
        for end in (near, far):
            with pytest.raises(trio.BrokenResourceError):
                await end.send_all(b"more")
        rest, whole, _, _ = await receive(far)
        assert (rest, whole) == (arrived, False)


async def test_a_writer_waits_for_its_reader(autojump_clock: MockClock) -> None:
    """The bytes under way are bounded, and a reader that makes room lets the writer go on."""
    near, far = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.send_all, bytes(2 * CAPACITY))
        await wait_all_tasks_blocked()
        assert nursery.child_tasks
        assert len(await far.receive_some()) == CAPACITY
        await wait_all_tasks_blocked()
        assert not nursery.child_tasks


async def test_a_listener_serves(autojump_clock: MockClock) -> None:
    """`trio.serve_listeners` serves connections of `connect`; a closed listener refuses them."""
    listener = MemoryListener(backlog=1)

    async def echo(stream: MemoryStream) -> None:
        async for data in stream:
            await stream.send_all(data)

    async with trio.open_nursery() as nursery:
        serving = await nursery.start(trio.serve_listeners, echo, [listener])
        assert serving == [listener]
        async with await listener.connect() as stream:
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"hello"
        nursery.cancel_scope.cancel()
    with pytest.raises(ConnectionRefusedError):
        await listener.connect()


async def test_who_is_not_accepted_is_refused_or_cut(autojump_clock: MockClock) -> None:
    """Connections over the backlog are refused, and waiting ones are cut when the listener is closed."""
    listener = MemoryListener(backlog=1)
    waiting = await listener.connect()
    with pytest.raises(ConnectionRefusedError):
        await listener.connect()
    await listener.aclose()
    with pytest.raises(trio.BrokenResourceError):
        await waiting.receive_some()
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()


async def test_dice_refuse_connections(autojump_clock: MockClock) -> None:
    """Some connections are refused, and most are not."""
    listener, refused = MemoryListener(Random(1), {"refuse"}, backlog=100), 0
    for _ in range(100):
        try:
            await listener.connect()
        except ConnectionRefusedError:
            refused += 1
    assert 0 < refused < 50


def test_a_fault_that_is_none() -> None:
    """An unknown kind of fault is named, with the known ones."""
    with pytest.raises(ValueError, match=r"no such faults: rain; there are delay, tear"):
        memory_stream_pair(Random(0), {"rain", "cut"})


def test_dice_shrink_to_the_faults_that_matter() -> None:
    """The simplest example of a failure by a cut has that cut and no delay."""

    @settings(
        max_examples=300,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
    )
    @given(dice=st.randoms(use_true_random=False))
    def everything_arrives(dice: Random) -> None:
        heard: list[tuple[bytes, bool, list[int], float]] = []

        async def main() -> None:
            near, far = memory_stream_pair(dice, {"cut", "delay"})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, near, bytes(100))
                heard.append(await receive(far))

        run(main)
        data, whole, pieces, seconds = heard[0]
        assert whole, (len(data), pieces, seconds)

    with pytest.raises(AssertionError, match=r"\(100, \[100\], 0\.0\)"):
        everything_arrives()
