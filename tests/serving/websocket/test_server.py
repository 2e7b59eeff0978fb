"""`serve_websocket`, by what trio-websocket leaves to its users: W1 to W9 of serving/websocket/server.py."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from trio_websocket import WebSocketConnection
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    Ping,
    Pong,
    RejectConnection,
    Request,
    TextMessage,
)

from tests.serving.served import Site, ask, closed, hang, hear, rejected, served
from tests.serving.test_server import certified
from trio_jobs import open_registry
from trio_jobs.serving import Caller, Limits, serve_http, serve_websocket
from trio_jobs.serving.websocket.session import Session

websockets = partial(served, serve=serve_websocket)
BOTH = pytest.mark.parametrize("serve", [serve_websocket, serve_http])


class Rude:
    """A peer that answers neither ping nor close by itself."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._ws = WSConnection(ConnectionType.CLIENT)
        self._heard: list[Event] = []

    async def begin(self, path: str = "/v1/ws", **headers: str) -> Event:
        """Send a handshake, and return the server's answer."""
        extra = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.say(Request(host="127.0.0.1", target=path, extra_headers=extra))
        answer = await self.hear()
        assert answer is not None
        return answer

    async def say(self, event: Event) -> None:
        """Send one event."""
        await self.stream.send_all(self._ws.send(event))

    async def ask(self, **request: Any) -> None:
        """Send one request."""
        await self.say(TextMessage(data=json.dumps(request)))

    async def hear(self) -> Event | None:
        """Return the next event; None once the socket is closed."""
        while not self._heard:
            try:
                data = bytes(await self.stream.receive_some())
            except trio.BrokenResourceError:
                return None
            if not data:
                return None
            self._ws.receive_data(data)
            self._heard += list(self._ws.events())
        return self._heard.pop(0)

    async def until(self, kind: type[Event]) -> Any:
        """Read on to an event of a kind, or to None at the end."""
        while (event := await self.hear()) is not None and not isinstance(event, kind):
            pass
        return event


async def rude(site: Site) -> Rude:
    return Rude((await site.connect()).stream)


@asynccontextmanager
async def talking(**options: Any) -> AsyncGenerator[tuple[Site, WebSocketConnection]]:
    async with websockets(**options) as site, site.websocket() as socket:
        yield site, socket


# ------------------------------------------------------------ W1, W5: one connection's end


async def test_a_connection_that_fails_is_the_only_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of the server in a connection closes it (1011) without details, and is logged."""
    received = Session.received

    def broken(self: Session, message: str | bytes) -> Any:
        if message == "bug":
            raise RuntimeError("the secret")
        return received(self, message)

    monkeypatch.setattr(Session, "received", broken)
    async with websockets() as site, site.websocket() as other, site.websocket() as socket:
        await socket.send_message("bug")
        assert await closed(socket) == 1011
        assert socket.closed is not None
        assert "secret" not in (socket.closed.reason or "")
        assert (await ask(other, op="ping", id=1))["pong"]
    (record,) = caplog.records
    assert record.name == "trio_jobs.serving"


@BOTH
@pytest.mark.parametrize("said", [b"\x81\x05hello", b"\xff" * 20, b"\x89\xfe", b"\x00" * 50])
async def test_what_is_no_websocket_frame(serve: Any, said: bytes) -> None:
    """Bytes that violate the protocol end their connection, and no other."""
    async with served(serve=serve) as site, site.websocket() as other:
        peer = await rude(site)
        assert isinstance(await peer.begin(), AcceptConnection)
        await peer.stream.send_all(said)
        await peer.stream.aclose()
        assert (await ask(other, op="ping", id=1))["pong"]


@BOTH
async def test_a_peer_that_vanishes_leaves_nothing(serve: Any) -> None:
    """A peer that vanishes is no reader any more, and makes room."""
    async with served(serve=serve, limits=Limits(per_client=1)) as site:
        handle = await site.jobs.submit(hang)
        for _ in range(3):
            answer: Event | None = None
            while not isinstance(answer, AcceptConnection):  # until the one before was noticed
                peer = await rude(site)
                answer = await peer.begin()
            await peer.ask(op="follow", id=1, job=handle.id)
            assert "submitted" in (await peer.until(TextMessage)).data
            await peer.stream.aclose()
        while (await site.jobs.statistics()).readers:
            await trio.lowlevel.checkpoint()


@BOTH
async def test_the_socket_is_closed_whatever_the_peer_does(serve: Any, socket_clock: MockClock) -> None:
    """The socket of a peer that does not answer a close is closed all the same, without delay for others."""
    async with served(serve=serve) as site:
        peer = await rude(site)
        await peer.begin()
        await peer.say(TextMessage(data="x" * 5))
        assert "bad_request" in (await peer.until(TextMessage)).data
        site.stop()
        close = await peer.until(CloseConnection)
        assert close.code == 1001
        assert await peer.until(CloseConnection) is None
        await site.stopped.wait()


# ------------------------------------------------------------ W2, W9: silence


@BOTH
async def test_a_peer_that_answers_no_ping_is_dropped(serve: Any, socket_clock: MockClock) -> None:
    """A peer that leaves a ping unanswered for too long is dropped; one that answers stays."""
    async with served(serve=serve, limits=Limits(ping=0.1, idle=0.4)) as site:
        async with site.websocket() as polite:
            peer = await rude(site)
            await peer.begin()
            assert isinstance(await peer.hear(), Ping)
            assert await peer.until(CloseConnection) is None
            assert (await ask(polite, op="ping", id=1))["pong"]


@BOTH
async def test_a_handshake_has_its_time(serve: Any) -> None:
    """A peer that does not finish the handshake in time is dropped."""
    async with served(serve=serve, limits=Limits(header=0.05)) as site:
        wire = await site.connect()
        await wire.stream.send_all(b"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n")
        assert (await wire.rest()).startswith(b"HTTP/1.1 408 ")


async def test_there_is_nothing_else() -> None:
    """A request without a handshake is refused, and the next may be one; other bytes are refused too."""
    async with served(serve=serve_websocket, limits=Limits(per_client=1)) as site:
        wire = await site.connect()
        for _ in range(2):
            await wire.say("GET / HTTP/1.1")
            answer = await wire.answer()
            assert (answer.status, answer.headers["upgrade"]) == (426, "websocket")
            assert json.loads(answer.body)["code"] == "upgrade_required"
        other = await site.connect()
        await other.stream.send_all(b"\x16\x03\x01")
        assert (await other.rest()).startswith(b"HTTP/1.1 400 ")
        full = [await site.connect() for _ in range(2)]
        await full[1].say("GET / HTTP/1.1")
        assert json.loads((await full[1].answer()).body)["code"] == "too_many"


# ------------------------------------------------------------ W3: the reader waits for nobody


@BOTH
async def test_a_ping_is_answered_whatever_goes_on(serve: Any) -> None:
    """While a request waits and a job is followed, pings of both kinds are answered at once."""
    async with served(serve=serve) as site:
        job_id = (await site.jobs.submit(hang)).id
        peer = await rude(site)
        await peer.begin()
        await peer.ask(op="wait", id=1, job=job_id)
        await peer.ask(op="follow", id=2, job=job_id)
        await peer.say(Ping(payload=b"there?"))
        assert bytes((await peer.until(Pong)).payload) == b"there?"
        await peer.ask(op="ping", id=3)
        while json.loads((await peer.until(TextMessage)).data)["re"] != 3:
            pass


# ------------------------------------------------------------ W7: the end


@BOTH
async def test_each_peer_is_told_of_the_end(serve: Any) -> None:
    """When the server stops, each connection is closed with 1001, and the server ends soon after."""
    async with served(serve=serve) as site, site.websocket() as one, site.websocket() as two:
        job_id = (await site.jobs.submit(hang)).id
        await one.send_message(json.dumps({"op": "follow", "id": 1, "job": job_id}))
        await hear(one)
        site.stop()
        assert [await closed(one), await closed(two)] == [1001, 1001]
        await site.stopped.wait()
        assert not (await (await site.jobs.get(job_id)).snapshot()).state.over


# ------------------------------------------------------------ W8: who may come in


async def test_the_subprotocol_is_chosen_if_it_is_offered() -> None:
    """The server picks its own subprotocol among the offered ones, and none if it is not there."""
    async with websockets() as site:
        for offered, chosen in (
            (["trio-jobs.v1"], "trio-jobs.v1"),
            (["other", "trio-jobs.v1", "bearer.x"], "trio-jobs.v1"),
            ([], None),
            (["other"], None),
        ):
            async with site.websocket(subprotocols=offered) as socket:
                assert socket.subprotocol == chosen
                assert (await ask(socket, op="ping", id=1))["pong"]


@BOTH
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"origin": "https://app.example"}, None),
    ],
)
async def test_other_sites_are_kept_out(serve: Any, headers: dict[str, str], status: int | None) -> None:
    """A handshake from another site's page is refused, unless its origin is allowed."""
    async with served(serve=serve, origins=["https://app.example"]) as site:
        if status is None:
            async with site.websocket(**headers) as socket:
                assert (await ask(socket, op="ping", id=1))["pong"]
        else:
            with rejected() as found:
                async with site.websocket(**headers):
                    pass
            assert found[0].status_code == status


@BOTH
async def test_a_name_that_is_not_the_servers(serve: Any) -> None:
    """A handshake for another host is refused, as an attacker's name may point here."""
    async with served(serve=serve) as site:
        wire = await site.connect()
        key = base64.b64encode(b"x" * 16).decode()
        head = "GET /v1/ws HTTP/1.1\r\nHost: evil.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        head += f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        await wire.stream.send_all(head.encode())
        assert (await wire.head()).status == 421


@BOTH
async def test_who_one_is(serve: Any) -> None:
    """A token is in a header, or in a subprotocol, as a browser cannot set headers; without one it is 401."""

    async def authenticate(headers: Mapping[str, str]) -> Caller | None:
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if token == "bug":
            raise RuntimeError("the secret")
        return Caller(token) if token in {"ann", "bob"} else None

    async with served(serve=serve, authenticate=authenticate) as site:
        protocols = ["trio-jobs.v1", "bearer.ann"]
        async with site.websocket(subprotocols=protocols) as socket:
            job = (await ask(socket, op="submit", id=1, handler="count", args=[1]))["job"]
            assert job["owner"] == "ann"
        async with site.websocket(authorization="Bearer bob") as socket:
            assert (await ask(socket, op="get", id=1, job=job["id"]))["error"]["code"] == "unknown_job"
        for headers, status in (({}, 401), ({"authorization": "Bearer bug"}, 500)):
            with rejected() as found:
                async with site.websocket(**headers):
                    pass
            assert found[0].status_code == status
            assert b"secret" not in (found[0].body or b"")
            if status == 401:
                assert dict(found[0].headers or ())[b"www-authenticate"] == b"Bearer"


async def test_authentication_expires() -> None:
    """A connection is closed with 1008 when its caller's authentication expires."""

    async def briefly(headers: Mapping[str, str]) -> Caller | None:
        return Caller(None, expires=0.05)

    async with talking(authenticate=briefly) as (_, socket):
        assert await closed(socket) == 1008


# ------------------------------------------------------------ W9: how much


@BOTH
@pytest.mark.parametrize(
    ("message", "code"),
    [(b"binary", 1003), ("x" * 1025, 1009), ("é" * 600, 1009), ("x" * 100_000, 1009)],
)
async def test_a_message_that_is_not_taken(serve: Any, message: str | bytes, code: int) -> None:
    """A binary message, or one of too many bytes, closes the connection with its code."""
    async with served(serve=serve, limits=Limits(message=1024)) as site, site.websocket() as socket:
        await socket.send_message(message)
        assert await closed(socket) == code


async def test_a_peer_that_does_not_mean_us() -> None:
    """Bad messages are answered, and after a number of them in a row the connection is closed."""
    async with talking() as (_, socket):
        for _ in range(9):
            await socket.send_message("nonsense")
            assert (await hear(socket))["error"]["code"] == "bad_request"
        await socket.send_message("nonsense")
        assert await closed(socket) == 1008


@BOTH
async def test_too_many_connections(serve: Any) -> None:
    """Over its limit a client is refused at the handshake, with `Retry-After`."""
    async with served(serve=serve, limits=Limits(per_client=2)) as site:
        async with site.websocket(), site.websocket() as socket:
            with rejected() as found:
                async with site.websocket():
                    pass
            assert found[0].status_code == 429
            assert dict(found[0].headers or ())[b"retry-after"] == b"1"
            assert (await ask(socket, op="ping", id=1))["pong"]


# ------------------------------------------------------------ the rest


async def test_any_path_and_tls() -> None:
    """It answers at any path, over TLS if it has a context, which the URL shows."""
    ours, theirs = certified()
    async with websockets(ssl_context=ours, tls=theirs) as site:
        assert site.url.startswith("wss://127.0.0.1:")
        for path in ("/", "/v1/ws", "/x?y=z"):
            async with site.websocket(path) as socket:
                assert (await ask(socket, op="ping", id=1))["pong"]
    async with websockets() as site:
        assert site.url.startswith("ws://127.0.0.1:")


async def test_a_request_that_is_no_handshake(caplog: pytest.LogCaptureFixture) -> None:
    """Plain HTTP closes the connection without a message in the log; others go on."""
    async with websockets() as site, site.websocket() as other:
        wire = await site.connect()
        await wire.say("GET / HTTP/1.1", "Connection: close")
        assert not (await wire.rest()).startswith(b"HTTP/1.1 2")
        assert (await ask(other, op="ping", id=1))["pong"]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_what_everybody_could_use_is_not_served() -> None:
    """Without `authenticate` it binds to this machine only."""
    async with open_registry() as jobs:
        with pytest.raises(ValueError, match="can be reached from other machines"):
            await serve_websocket(jobs, host="0.0.0.0", port=0)  # noqa: S104
        with pytest.raises(ValueError, match="grace"):
            await serve_websocket(jobs, port=0, grace=-1)


async def test_a_handshake_that_is_refused_leaves_nothing() -> None:
    """After refusals a client can open all its connections, and the server stops at once."""
    async with websockets(limits=Limits(per_client=1), grace=12) as site:
        for _ in range(5):
            peer = await rude(site)
            assert isinstance(await peer.begin(origin="https://evil.example"), RejectConnection)
            assert await peer.until(CloseConnection) is None
        async with site.websocket() as socket:
            assert (await ask(socket, op="ping", id=1))["pong"]
        await wait_all_tasks_blocked(0.01)
        site.stop()
        await site.stopped.wait()
