"""A peer's stream: what was read ahead is read again, and a peer that takes nothing is let go."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from trio_jobs.serving.streams import PeerStream, wants_websocket


@asynccontextmanager
async def connected(idle: float = 60.0) -> AsyncGenerator[tuple[PeerStream, trio.SocketStream]]:
    """A server's stream, and the peer's end of it."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    with trio.fail_after(10):
        async with listener:
            peer = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
            stream = PeerStream(await listener.accept(), idle)
            async with stream, peer:
                yield stream, peer


async def test_a_head_is_looked_at_and_read_again() -> None:
    """A head that comes in parts is waited for, and is still there to be read then, in any sizes."""
    async with connected() as (stream, peer), trio.open_nursery() as nursery:

        async def send() -> None:
            for part in (b"GET / HT", b"TP/1.1\r\nHost: x\r", b"\n\r\nbody"):
                await peer.send_all(part)
                await trio.testing.wait_all_tasks_blocked()
            await peer.send_eof()

        nursery.start_soon(send)
        head = await stream.read_head()
        assert head.startswith(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        found = [await stream.receive_some(3), await stream.receive_some(5)]
        assert [len(one) for one in found] == [3, 5]
        while data := await stream.receive_some():
            found.append(data)
        assert b"".join(found) == b"GET / HTTP/1.1\r\nHost: x\r\n\r\nbody"


async def test_a_head_that_does_not_end() -> None:
    """A peer that leaves, or says too much, gives less than a head; that is neither waited for nor kept."""
    async with connected() as (stream, peer):
        await peer.send_all(b"GET /")
        await peer.send_eof()
        assert await stream.read_head() == b"GET /"
        assert await stream.receive_some() == b"GET /"
        assert await stream.receive_some() == b""
    async with connected() as (stream, peer), trio.open_nursery() as nursery:
        nursery.start_soon(peer.send_all, b"x" * 20_000)
        assert 16 * 1024 <= len(await stream.read_head()) <= 128 * 1024


async def test_reading_what_was_read_ahead_is_a_checkpoint() -> None:
    """Also bytes that are there already are given at a checkpoint, and stay when that is cancelled."""
    async with connected() as (stream, peer):
        await peer.send_all(b"GET / HTTP/1.1\r\n\r\n")
        head = await stream.read_head()
        with trio.testing.assert_checkpoints():
            assert await stream.receive_some() == head


async def test_a_send_that_is_not_taken_breaks_the_stream() -> None:
    """A peer that reads nothing is given its time, then the stream is closed and the sender told."""
    async with connected(idle=0.05) as (stream, peer):
        with pytest.raises(trio.BrokenResourceError, match="takes nothing"):
            while True:
                await stream.send_all(b"x" * 1_000_000)
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"x")
        with pytest.raises((trio.BrokenResourceError, trio.EndOfChannel)):
            while await peer.receive_some():
                pass
            raise trio.EndOfChannel


async def test_a_send_that_is_cancelled_is_not_a_broken_stream() -> None:
    """A cancellation from outside is what it is: it comes through, and is not taken for a lost peer."""
    async with connected() as (stream, _):
        with trio.move_on_after(0.02) as scope:
            while True:
                await stream.send_all(b"x" * 1_000_000)
        assert scope.cancelled_caught


async def test_what_servers_ask_of_a_stream() -> None:
    """The peer's address is known; it has the socket, an end, and of TLS nothing."""
    async with connected() as (stream, peer):
        assert stream.client == "127.0.0.1"
        assert stream.socket.getsockname()[1] == peer.socket.getpeername()[1]
        assert not hasattr(stream, "do_handshake")
        await stream.wait_send_all_might_not_block()
        await stream.send_eof()
        assert await peer.receive_some() == b""


async def test_a_peer_that_has_gone_already() -> None:
    """Of a peer that was gone before it was looked at there is no address, and no error."""
    async with connected() as (stream, _):
        await stream.aclose()
        assert PeerStream(trio.SocketStream(stream.socket), 1.0).client == ""


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        (b"GET /v1/ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", True),
        (b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nUPGRADE:WebSocket \r\nA: b\r\n\r\n", True),
        (b"GET /v1/ws HTTP/1.1\r\nUpgrade: h2c\r\n\r\n", False),
        (b"GET /v1/ws HTTP/1.1\r\nX-Upgrade: websocket\r\n\r\n", False),
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n\r\nUpgrade: websocket\r\n", False),
        (b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", False),
        (b"", False),
    ],
)
def test_who_wants_a_websocket(head: bytes, wanted: bool) -> None:
    """Only a field of the head says so; neither the body nor the request behind it."""
    assert wants_websocket(head) is wanted
