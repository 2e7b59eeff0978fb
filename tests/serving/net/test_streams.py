"""A peer's stream: bytes read ahead are read again, and a peer that does not read is dropped."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from trio_jobs.serving.net.streams import PeerStream
from trio_jobs.serving.problems import Refused


@asynccontextmanager
async def connected(idle: float = 60.0) -> AsyncGenerator[tuple[PeerStream, trio.SocketStream]]:
    """Yield a server's stream, and the peer's end of it."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    with trio.fail_after(10):
        async with listener:
            peer = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
            stream = PeerStream(await listener.accept(), idle)
            async with stream, peer:
                yield stream, peer


async def test_a_head_is_taken() -> None:
    """A head in several parts is read whole; the bytes behind it are read next, in any sizes."""
    async with connected() as (stream, peer), trio.open_nursery() as nursery:

        async def send() -> None:
            for part in (b"\r", b"\nGET / HT", b"TP/1.1\r\nHost: x\r", b"\n\r", b"\nbody"):
                await peer.send_all(part)
                await trio.testing.wait_all_tasks_blocked()
            await peer.send_eof()

        nursery.start_soon(send)
        assert await stream.read_head() == b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        while await stream.read_ahead():
            pass
        assert [await stream.receive_some(3), await stream.receive_some()] == [b"bod", b"y"]
        assert await stream.receive_some() == b""


async def test_a_head_that_does_not_end() -> None:
    """A peer that leaves within a head gives none; a head that is too long is refused, and not kept."""
    async with connected() as (stream, peer):
        await peer.send_all(b"GET /")
        await peer.send_eof()
        assert await stream.read_head() == b""
        assert stream.ahead == b"GET /"
    async with connected() as (stream, peer), trio.open_nursery() as nursery:
        nursery.start_soon(peer.send_all, b"x" * 20_000)
        with pytest.raises(Refused, match="may have 16384 bytes"):
            await stream.read_head()
        assert len(stream.ahead) <= 32 * 1024


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\nA: b\n\n", b"\n", b"\x16\x03\x01", b"\0"]
)
@pytest.mark.parametrize("whole", [True, False])
async def test_what_is_no_head_is_not_waited_for(said: bytes, whole: bool) -> None:
    """Lines with a bare LF, and bytes that cannot begin a request, are refused as soon as they arrive."""
    async with connected() as (stream, peer), trio.open_nursery() as nursery:

        async def send() -> None:
            for part in [said] if whole else [said[at : at + 1] for at in range(len(said))]:
                await peer.send_all(part)
                await trio.testing.wait_all_tasks_blocked()

        nursery.start_soon(send)
        with pytest.raises(Refused, match="CR LF|speaks HTTP"):
            await stream.read_head()


async def test_reading_what_was_read_ahead_is_a_checkpoint() -> None:
    """Reading bytes that are there already is a checkpoint too."""
    async with connected() as (stream, peer):
        await peer.send_all(b"hello")
        await stream.read_ahead()
        with trio.testing.assert_checkpoints():
            assert await stream.receive_some() == b"hello"


async def test_a_head_is_put_back() -> None:
    """A head that is put back is read again, in any sizes, and no byte behind it too early."""
    async with connected() as (stream, peer), trio.open_nursery() as nursery:
        await peer.send_all(b"GET / HTTP/1.1\r\n\r\nbehind")
        stream.put_back(await stream.read_head())
        assert [await stream.receive_some(3), await stream.receive_some()] == [b"GET", b" / HTTP/1.1\r\n\r\n"]
        found: list[bytes] = []

        async def read() -> None:
            found.append(await stream.receive_some())

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        assert found == []
        stream.go_on()
    assert found == [b"behind"]


async def test_who_was_told_last_reads_it() -> None:
    """After lingering, a peer whose bytes were not read still reads the last response, and then the end."""
    async with connected() as (stream, peer):
        await peer.send_all(b"x" * 20_000)
        await stream.send_all(b"goodbye")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.linger)
            assert await peer.receive_some() == b"goodbye"
            assert await peer.receive_some() == b""
            await peer.aclose()
        await stream.aclose()


async def test_a_send_that_is_not_taken_breaks_the_stream() -> None:
    """If a peer does not read until the deadline, the stream is closed, and the sender gets an error."""
    async with connected(idle=0.05) as (stream, peer):
        with pytest.raises(trio.BrokenResourceError, match="takes nothing"):
            while True:
                await stream.send_all(b"x" * 1_000_000)
        with pytest.raises(trio.BrokenResourceError, match="closed"):
            await stream.send_all(b"x")
        with pytest.raises((trio.BrokenResourceError, trio.EndOfChannel)):
            while await peer.receive_some():
                pass
            raise trio.EndOfChannel


async def test_a_send_that_is_cancelled_is_not_a_broken_stream() -> None:
    """A cancellation from outside raises Cancelled, and not that the peer is lost."""
    async with connected() as (stream, _):
        with trio.move_on_after(0.02) as scope:
            while True:
                await stream.send_all(b"x" * 1_000_000)
        assert scope.cancelled_caught


async def test_what_servers_ask_of_a_stream() -> None:
    """The stream has the peer's address, the socket and an end, and no TLS."""
    async with connected() as (stream, peer):
        assert stream.client == peer.socket.getsockname()
        assert stream.server == peer.socket.getpeername()
        assert not hasattr(stream, "do_handshake")
        await stream.wait_send_all_might_not_block()
        await stream.send_eof()
        assert await peer.receive_some() == b""


async def test_a_peer_that_has_gone_already() -> None:
    """A peer that closed before its address was read has none, and causes no error."""
    async with connected() as (stream, _):
        await stream.aclose()
        assert PeerStream(trio.SocketStream(stream.socket), 1.0).client == ("", 0)
