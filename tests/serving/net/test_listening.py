"""Listening, and stopping in order: a failing connection does not affect others."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio
import trustme
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_jobs import open_registry
from trio_jobs.serving import Limits
from trio_jobs.serving.context import ServerContext
from trio_jobs.serving.limits import DEFAULT
from trio_jobs.serving.net.listening import Handler, open_listeners, serve_until_cancelled, urls_of
from trio_jobs.serving.net.streams import PeerStream
from trio_jobs.serving.options import ServerOptions

LOCAL = "127.0.0.1"


@attrs.define
class Server:
    """A server in a test."""

    port: int
    scope: trio.CancelScope
    closing: trio.Event
    stopped: trio.Event
    peers: list[trio.SocketStream]

    async def connect(self) -> trio.SocketStream:
        """Connect; the peer's end is closed with the test."""
        peer = await trio.open_tcp_stream(LOCAL, self.port)
        self.peers.append(peer)
        return peer

    async def stop(self) -> None:
        """Cancel the server, and wait until it has stopped."""
        self.scope.cancel()
        await self.stopped.wait()


@asynccontextmanager
async def running(
    handler: Callable[[PeerStream, trio.Event], object],
    *,
    limits: Limits = DEFAULT,
    grace: float = 5.0,
    tls: ssl.SSLContext | None = None,
) -> AsyncGenerator[Server]:
    """Serve connections with a handler that gets the stream and the event `closing`."""
    stopped, scope = trio.Event(), trio.CancelScope()
    options = ServerOptions(port=0, limits=limits, ssl_context=tls, grace=grace)
    listeners = await open_listeners(options)
    port = int(urls_of(listeners, "x")[0].rpartition(":")[2])

    async def live(context: ServerContext, one: Handler, *, task_status: trio.TaskStatus[None]) -> None:  # noqa: ASYNC128  # passed on
        with scope:
            await serve_until_cancelled(context, one, listeners, task_status.started)
        stopped.set()

    with trio.fail_after(10):
        async with open_registry() as jobs, trio.open_nursery() as nursery:
            context = ServerContext.of(jobs, options)
            one: Handler = partial(handler, closing=context.closing)  # type: ignore[call-arg,assignment]
            await nursery.start(live, context, one)
            server = Server(port, scope, context.closing, stopped, [])
            try:
                yield server
            finally:
                for peer in server.peers:
                    await trio.aclose_forcefully(peer)
                scope.cancel()


async def echo(stream: PeerStream, closing: trio.Event) -> None:
    async for data in stream:
        await stream.send_all(data)


async def until_closing(stream: PeerStream, closing: trio.Event) -> None:
    await stream.send_all(b"hello")
    await closing.wait()
    await stream.send_all(b"goodbye")


async def all_of(peer: trio.SocketStream) -> bytes:
    found = b""
    try:
        async for data in peer:
            found += data
    except trio.BrokenResourceError:
        pass
    return found


async def test_connections_are_told_and_waited_for() -> None:
    """When the server stops, its connections see `closing`, and can send a last message before it ends."""
    async with running(until_closing) as server:
        peers = [await server.connect() for _ in range(3)]
        for peer in peers:
            assert await peer.receive_some() == b"hello"
        await server.stop()
        for peer in peers:
            assert await all_of(peer) == b"goodbye"


async def test_no_new_connections_while_it_stops() -> None:
    """In the grace the port is closed to new connections, and the old ones go on."""
    go_on = trio.Event()

    async def handler(stream: PeerStream, closing: trio.Event) -> None:
        await go_on.wait()
        await stream.send_all(b"done")

    async with running(handler) as server:
        peer = await server.connect()
        await wait_all_tasks_blocked()
        server.scope.cancel()
        await server.closing.wait()
        await wait_all_tasks_blocked()
        with pytest.raises(OSError, match="127.0.0.1"):
            await server.connect()
        assert not server.stopped.is_set()
        go_on.set()
        assert await all_of(peer) == b"done"
        await server.stopped.wait()


async def test_the_grace_has_an_end() -> None:
    """A connection that does not end is closed after the grace, even if it is shielded."""
    shielded_end = trio.Event()

    async def handler(stream: PeerStream, closing: trio.Event) -> None:
        with trio.CancelScope(shield=True):
            try:
                await stream.receive_some()
            finally:
                shielded_end.set()

    async with running(handler, grace=0.02) as server:
        peer = await server.connect()
        await wait_all_tasks_blocked()
        await server.stop()
        assert shielded_end.is_set()
        assert await all_of(peer) == b""


async def test_with_no_grace_nothing_is_waited_for() -> None:
    """A grace of 0 closes open connections at once."""
    async with running(until_closing, grace=0) as server:
        peer = await server.connect()
        assert await peer.receive_some() == b"hello"
        await server.stop()
        assert b"hello" not in await all_of(peer)


async def test_a_server_that_nobody_uses_stops_at_once() -> None:
    """A server without connections stops at once."""
    async with running(echo, grace=1000) as server:
        await server.stop()


async def test_a_handler_that_raises_ends_its_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    """Its error is logged, its stream closed, and the next connection is served."""

    async def handler(stream: PeerStream, closing: trio.Event) -> None:
        data = await stream.receive_some()
        if data == b"bug":
            raise RuntimeError("a bug")
        if data == b"lost":
            raise trio.BrokenResourceError
        await stream.send_all(data)

    async with running(handler) as server:
        other = await server.connect()
        for data in (b"bug", b"lost"):
            peer = await server.connect()
            await peer.send_all(data)
            assert await all_of(peer) == b""
        await other.send_all(b"fine")
        assert await all_of(other) == b"fine"
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("trio_jobs.serving", logging.ERROR)


async def test_a_stream_is_closed_after_its_handler() -> None:
    """A handler's stream is closed after it."""

    async def handler(stream: PeerStream, closing: trio.Event) -> None:
        await stream.send_all(b"x")

    async with running(handler) as server:
        assert await all_of(await server.connect()) == b"x"


@pytest.mark.parametrize(
    ("limits", "told"), [(Limits(per_client=1), 10), (Limits(connections=1, per_client=1000), 100)]
)
async def test_so_many_sockets_and_no_more(limits: Limits, told: int) -> None:
    """Over twice the limit of requests some connections are refused; one that ends makes room."""

    async def handler(stream: PeerStream, closing: trio.Event) -> None:
        await stream.send_all(b"no" if stream.crowded else b"yes")
        await stream.receive_some()

    async with running(handler, limits=limits) as server:
        peers: list[trio.SocketStream] = []
        for count, said in ((2, b"yes"), (told, b"no")):
            for _ in range(count):
                peers.append(await server.connect())
                assert await peers[-1].receive_some() == said
        assert await all_of(await server.connect()) == b""
        for peer in peers[1:]:
            await peer.aclose()
        while await (peer := await server.connect()).receive_some() != b"yes":  # until their end was noticed
            await peer.aclose()


async def test_a_handshake_has_its_time(socket_clock: MockClock) -> None:
    """A peer without a TLS handshake in time is dropped; others are accepted meanwhile."""
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(LOCAL).configure_cert(tls)
    theirs = ssl.create_default_context()
    authority.configure_trust(theirs)
    async with running(echo, limits=Limits(header=0.3), tls=tls) as server:
        silent, rude = await server.connect(), await server.connect()
        await rude.send_all(b"GET / HTTP/1.1\r\n\r\n")
        peer = trio.SSLStream(await server.connect(), theirs, server_hostname=LOCAL)
        await peer.send_all(b"x")
        assert await peer.receive_some() == b"x"
        await all_of(rude)
        assert await all_of(silent) == b""


async def test_a_handshake_is_not_waited_for_when_it_stops() -> None:
    """A peer in its TLS handshake is dropped when the server stops, not after the deadline or the grace."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    async with running(echo, limits=Limits(header=12), grace=12, tls=tls) as server:
        silent = await server.connect()
        await wait_all_tasks_blocked(0.01)
        await server.stop()
        assert await all_of(silent) == b""


async def test_a_port_that_is_taken() -> None:
    """The error names the address that is in use."""
    async with running(echo) as server:
        with pytest.raises(OSError, match=f"cannot listen on {LOCAL} port {server.port}: "):
            await open_listeners(ServerOptions(port=server.port))


async def test_urls() -> None:
    """Each listener has a URL, an IPv6 address in brackets."""
    listeners = await open_listeners(ServerOptions(port=0))
    try:
        listeners = [*listeners, *await open_listeners(ServerOptions(host="::1", port=0))]
    except OSError:
        pytest.skip("no IPv6 here")
    finally:
        ports = [listener.socket.getsockname()[1] for listener in listeners]  # type: ignore[union-attr]
        urls = urls_of(listeners, "http")
        for listener in listeners:
            await listener.aclose()
    assert urls == [f"http://127.0.0.1:{ports[0]}", f"http://[::1]:{ports[1]}"]
