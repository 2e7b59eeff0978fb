"""The block of `connect`: entering it, leaving it, and errors of servers."""

from __future__ import annotations

import math
import ssl
from collections.abc import Mapping
from typing import Any

import pytest
import trio
import trustme
from trio.testing import MockClock

from tests.client.site import Kind, Peer, count, forever, listening, site
from trio_jobs import UnknownJob
from trio_jobs.client import Disconnected, RemoteRegistry, ServerError, connect
from trio_jobs.client import socket as client_socket
from trio_jobs.serving import Caller

SOON = 0.3  # seconds of patience with what will not come


async def refused_url() -> str:
    """Return a URL at which no server listens."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    return f"ws://127.0.0.1:{port}"


async def test_leaving_closes_the_connection() -> None:
    """Leaving the block closes the connection at the server; the jobs go on."""
    said: list[bytes] = []

    async def listen(stream: trio.SocketStream) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", port) as server, trio.open_nursery() as nursery:

            async def back() -> None:
                async for data in server:
                    await stream.send_all(data)

            nursery.start_soon(back)
            async for data in stream:
                said.append(bytes(data))
                await server.send_all(data)
            nursery.cancel_scope.cancel()

    async with site() as (jobs, url):
        port = int(url.rpartition(":")[2])
        async with listening(listen) as proxied:
            async with connect(proxied) as remote:
                handle = await remote.submit(forever)
        assert said[-1][0] == 0x88  # the frame that closes a WebSocket
        assert not (await (await jobs.get(handle.id)).snapshot()).state.over


class Fault(Exception):
    """An exception that the block raises."""


async def test_what_the_block_raises_comes_out_as_it_is() -> None:
    """An exception of the block is not wrapped in a group, be it the block's own or one of a job's."""
    async with site() as (_, url):
        with pytest.raises(Fault):
            async with connect(url):
                raise Fault
        with pytest.raises(UnknownJob):
            async with connect(url) as remote:
                await remote.get("nobody")


async def test_a_cancellation_leaves_the_block() -> None:
    """Cancelling a scope around the block ends the block, and that scope catches Cancelled."""
    async with site() as (_, url):
        with trio.CancelScope() as scope:
            async with connect(url) as remote:
                handle = await remote.submit(forever)
                scope.cancel()
                await handle.wait()
        assert scope.cancelled_caught


async def test_nobody_listens(socket_clock: MockClock) -> None:
    """If no server listens, an error is raised after `patience`, with the reason."""
    url = await refused_url()
    with trio.fail_after(20), pytest.raises(Disconnected, match="refused") as caught:
        async with connect(url, patience=SOON):
            raise AssertionError("it was entered")
    assert caught.value.url == f"{url}/v1/ws"
    with pytest.raises(Disconnected):
        async with connect("ws://no.such.host.invalid", patience=SOON):
            raise AssertionError("it was entered")


async def silent(stream: trio.SocketStream) -> None:
    """Read all messages, and send none."""
    async for _ in stream:
        pass


async def hangs_up(stream: trio.SocketStream) -> None:
    """Close the connection at the first message."""
    await stream.receive_some()


async def gibberish(stream: trio.SocketStream) -> None:
    """Answer with bytes that are not HTTP."""
    await stream.receive_some()
    await stream.send_all(b"220 mail.example.org ESMTP\r\n" * 3)
    await silent(stream)


@pytest.mark.parametrize("peer", [silent, hangs_up, gibberish])
async def test_what_listens_is_no_server(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, socket_clock: MockClock
) -> None:
    """If another program listens there, the client waits for `patience` at most."""
    monkeypatch.setattr(client_socket, "CONNECT", 0.1)
    async with listening(peer) as url:
        with trio.fail_after(20), pytest.raises(Disconnected):
            async with connect(url, patience=SOON):
                raise AssertionError("it was entered")


async def test_who_hangs_up_is_not_waited_for(socket_clock: MockClock) -> None:
    """A connection that is closed during the handshake fails long before the handshake's deadline."""
    async with listening(hangs_up) as url:
        with trio.fail_after(20), pytest.raises(Disconnected, match="broke"):
            async with connect(url, patience=SOON):
                raise AssertionError("it was entered")


async def test_a_server_of_another_kind() -> None:
    """A web server without such an address is an error at once, without a retry."""

    async def web(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone")

    async def other_websocket(stream: trio.SocketStream) -> None:
        from trio_websocket import wrap_server_stream

        async with trio.open_nursery() as nursery:
            await (await wrap_server_stream(nursery, stream)).accept()

    for peer, text in ((web, "not_found: gone"), (other_websocket, "no trio-jobs.v1")):
        async with listening(peer) as url:
            with trio.fail_after(20), pytest.raises(ServerError, match=text):
                async with connect(url, patience=math.inf):
                    raise AssertionError("it was entered")


async def test_a_server_that_is_busy_is_asked_again(socket_clock: MockClock) -> None:
    """After a 503 the client reconnects, and is accepted."""
    answers = iter([b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"] * 2)

    async with site() as (_, url):
        port = int(url.rpartition(":")[2])

        async def busy(stream: trio.SocketStream) -> None:
            answer = next(answers, None)
            if answer is not None:
                await stream.receive_some()
                await stream.send_all(answer)
                return
            async with (
                await trio.open_tcp_stream("127.0.0.1", port) as server,
                trio.open_nursery() as nursery,
            ):

                async def carry(source: trio.SocketStream, sink: trio.SocketStream) -> None:
                    async for data in source:
                        await sink.send_all(data)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(carry, stream, server)
                nursery.start_soon(carry, server, stream)

        async with listening(busy) as proxied, connect(proxied) as remote:
            assert await (await remote.submit(count, 2)).result() == 2
        assert next(answers, None) is None


async def by_token(headers: Mapping[str, str]) -> Caller | None:
    """Accept callers with a token: Ann, and for a moment only Bob."""
    callers = {"Bearer ann": Caller("ann"), "Bearer bob": Caller("bob", expires=0.2)}
    return callers.get(headers.get("authorization", "")) or callers.get(f"Bearer {headers.get('x-name')}")


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_a_token_is_needed(kind: Kind) -> None:
    """A token or a header identifies the client; without one, it is refused at once."""
    async with site(kind, authenticate=by_token) as (_, url):
        with pytest.raises(ServerError) as caught:
            async with connect(url, patience=math.inf):
                raise AssertionError("it was entered")
        assert caught.value.code == "unauthenticated"
        async with connect(url, token="ann") as remote:
            job = await (await remote.submit(count, 1)).wait()
            assert job.owner == "ann"
            with pytest.raises(ServerError) as caught:
                await remote.statistics()
            assert caught.value.code == "forbidden"
            with pytest.raises(ServerError) as caught:
                await remote.submit(count, 1, owner="bob")
            assert caught.value.code == "forbidden"
        async with connect(url, headers={"X-Name": "bob"}) as remote:
            with pytest.raises(UnknownJob):
                await remote.get(job.id)


async def test_an_authentication_that_expires_is_renewed(socket_clock: MockClock) -> None:
    """A connection that the server closes because its authentication has expired is made again, with the same
    token, and requests continue."""
    async with site(authenticate=by_token) as (_, url), connect(url, token="bob") as remote:
        handle = await remote.submit(forever)
        async with handle.events() as events:
            assert (await events.receive()).seq == 1
            with trio.move_on_after(0.7):  # time for it to expire some times
                async for event in events:
                    assert event.kind != "cancelled"
            await handle.request_cancel()
            assert [event.kind async for event in events][-1] == "cancelled"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Return the authority that signs the certificates."""
    return trustme.CA()


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    """Return the server's TLS context."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_tls(kind: Kind, authority: trustme.CA, socket_clock: MockClock) -> None:
    """Over TLS everything works as without, if the server is trusted; if not, an error is raised at once."""
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with site(kind, ssl_context=server_context(authority)) as (_, url):
        assert url.startswith(("https", "wss"))
        async with connect(url, ssl_context=trusting) as remote:
            handle = await remote.submit(count, 500)
            async with handle.stream() as numbers:
                assert [number async for number in numbers] == list(range(500))
        with trio.fail_after(20), pytest.raises(Disconnected, match="certificate is not trusted"):
            async with connect(url, patience=math.inf):
                raise AssertionError("it was entered")
        plain = url.replace("https", "http").replace("wss", "ws")
        with trio.fail_after(20), pytest.raises(Disconnected):
            async with connect(plain, patience=SOON):
                raise AssertionError("it was entered")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({"patience": -1}, ValueError), ({"patience": "long"}, TypeError), ({"token": "a\nb"}, ValueError)],
)
def test_arguments_are_checked_at_once(arguments: dict[str, Any], error: type[Exception]) -> None:
    """A wrong argument is refused where it is given, before anything is opened."""
    with pytest.raises(error):
        connect("http://127.0.0.1:8000", **arguments)


async def test_a_client_is_made_by_connect_alone() -> None:
    """The block yields the registry that the reference describes."""
    async with site() as (_, url), connect(url) as remote:
        assert type(remote) is RemoteRegistry
