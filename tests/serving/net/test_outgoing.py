"""Sending on a connection: whole and in order; a task waits only for what the kernel does not take."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from trio_jobs.serving.net.outgoing import Outgoing, PeerGone

BIG = 8 * 1024 * 1024  # more than a socket's buffers hold


@asynccontextmanager
async def connected() -> AsyncGenerator[tuple[trio.SocketStream, trio.SocketStream]]:
    """Yield a connection, and the peer's end of it."""
    ours, theirs = socket.socketpair()
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    with trio.fail_after(10):
        async with stream, trio.SocketStream(trio.socket.from_stdlib_socket(theirs)) as peer:
            yield stream, peer


async def read(peer: trio.abc.ReceiveStream, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += await peer.receive_some()
    return found


async def test_what_the_kernel_takes_is_sent_at_once() -> None:
    """While the peer reads, sending has no checkpoint."""
    async with connected() as (stream, peer):
        outgoing = Outgoing(stream, 60)
        with trio.testing.assert_no_checkpoints():
            assert outgoing.send_now(b"one, ")
            assert outgoing.send_now(b"two")
        assert not outgoing.waiting
        assert await read(peer, 8) == b"one, two"


async def test_the_rest_is_kept_and_goes_first() -> None:
    """A message that was sent in part is finished before the next one; until then none is sent at once."""
    async with connected() as (stream, peer), trio.open_nursery() as nursery:
        outgoing = Outgoing(stream, 60)
        assert outgoing.send_now(b"x" * BIG)
        assert outgoing.waiting
        assert not outgoing.send_now(b"y")
        nursery.start_soon(outgoing.send, b"y")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(outgoing.send, b"z")
        assert await read(peer, BIG + 2) == b"x" * BIG + b"yz"
        await trio.testing.wait_all_tasks_blocked()
        assert not outgoing.waiting


async def test_flushed() -> None:
    """`flush` waits until the begun message is sent, and then there is room again."""
    async with connected() as (stream, peer), trio.open_nursery() as nursery:
        outgoing = Outgoing(stream, 60)
        assert outgoing.send_now(b"x" * BIG)
        nursery.start_soon(outgoing.flush)
        assert len(await read(peer, BIG)) == BIG
        await trio.testing.wait_all_tasks_blocked()
        assert outgoing.send_now(b"y")


async def test_a_full_kernel_takes_nothing() -> None:
    """If the kernel takes no byte, the message is not begun: the caller keeps it."""
    async with connected() as (stream, peer):
        outgoing = Outgoing(stream, 60)
        assert outgoing.send_now(b"x" * BIG)
        other = Outgoing(stream, 60)
        assert not other.send_now(b"y")
        assert not other.waiting
        await peer.receive_some()


@pytest.mark.parametrize("first", [0, 1])
async def test_a_cancelled_send_leaves_no_half(first: int) -> None:
    """A cancelled send is finished by the next one if it was begun, and else dropped."""
    async with connected() as (stream, peer), trio.open_nursery() as nursery:
        outgoing = Outgoing(stream, 60)
        if first:
            assert outgoing.send_now(b"w" * BIG)
        with trio.move_on_after(0.01):
            await outgoing.send(b"x" * BIG)
        nursery.start_soon(outgoing.send, b"yz")
        assert await read(peer, BIG + 2) == (b"w" if first else b"x") * BIG + b"yz"


async def test_a_peer_that_takes_nothing_is_dropped() -> None:
    """After the deadline the connection is closed, and all waiting tasks get an error."""
    async with connected() as (stream, _):
        outgoing = Outgoing(stream, 0.05)
        assert outgoing.send_now(b"x" * BIG)
        async with trio.open_nursery() as nursery:

            async def fails() -> None:
                with pytest.raises(PeerGone):
                    await outgoing.send(b"y")

            nursery.start_soon(fails)
            nursery.start_soon(fails)
        with pytest.raises(PeerGone):
            await outgoing.send(b"y")


async def test_a_peer_that_has_gone() -> None:
    """Sending to a closed peer fails, at once or not, as on a stream."""
    async with connected() as (stream, peer):
        outgoing = Outgoing(stream, 60)
        await peer.aclose()
        assert not outgoing.send_now(b"x")
        with pytest.raises(PeerGone):
            await outgoing.send(b"x")


async def test_a_stream_that_is_closed_while_a_task_waits() -> None:
    """Waiting tasks get PeerGone, whichever side closed the stream."""
    async with connected() as (stream, _):
        outgoing = Outgoing(stream, 60)
        assert outgoing.send_now(b"x" * BIG)
        async with trio.open_nursery() as nursery:

            async def fails() -> None:
                with pytest.raises(PeerGone):
                    await outgoing.flush()

            nursery.start_soon(fails)
            await trio.testing.wait_all_tasks_blocked()
            await stream.aclose()


async def test_a_closed_descriptor_is_not_written_to() -> None:
    """After a stream is closed, its descriptor may be another connection's, and nothing is sent there."""
    async with connected() as (stream, _):
        outgoing, descriptor = Outgoing(stream, 60), stream.socket.fileno()
        await stream.aclose()
        async with connected() as (other, peer):
            assert other.socket.fileno() == descriptor
            assert not outgoing.send_now(b"secret")
            assert Outgoing(other, 60).send_now(b"mine")
            assert await read(peer, 4) == b"mine"


async def test_a_send_is_a_checkpoint() -> None:
    """A send that need not wait is a checkpoint too, so that other tasks run between sends."""
    async with connected() as (stream, _):
        outgoing = Outgoing(stream, 60)
        with trio.testing.assert_checkpoints():
            await outgoing.send(b"x")


class TestOtherStreams:
    async def test_they_always_wait(self) -> None:
        """A stream that is no socket takes nothing at once; messages of several tasks are sent in order."""
        near, far = trio.testing.memory_stream_pair()
        outgoing = Outgoing(near, 60)
        assert not outgoing.send_now(b"x")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outgoing.send, b"one, ")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(outgoing.send, b"two")
            assert await read(far, 8) == b"one, two"

    async def test_a_cancelled_send_is_the_last(self) -> None:
        """How much of a cancelled send was sent is unknown, so nothing is sent after it."""
        near, _ = trio.testing.lockstep_stream_pair()
        outgoing = Outgoing(near, 60)
        with trio.move_on_after(0.01):
            await outgoing.send(b"x")
        with pytest.raises(PeerGone, match="cancelled"):
            await outgoing.send(b"y")
