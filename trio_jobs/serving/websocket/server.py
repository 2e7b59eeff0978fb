"""`serve_websocket`: jobs over WebSockets alone, on trio-websocket.

That library leaves to its users what a server must not be without; each line of it is here once:

    W1  what a connection raises ends that connection, not the server
    W2  a ping has a deadline, after which the stream is dropped
    W3  the reader never waits for the writer, so pings of a live peer are answered in time
    W5  the stream is ours, and is closed whatever happened
    W6  one writer; a send that was cancelled ends the connection (connection.py)
    W7  when the server stops, each peer is told (1001) before its connection is closed
    W8  subprotocol and origin are checked by hand
    W9  message sizes count bytes (session.py), connections are counted, silence is noticed, and so
        is a message without end
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from typing import Any, Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest

from ..._common.validate import number
from ..._registry.registry import JobRegistry
from ..._wire.requests import PROTOCOL
from ..access import Authenticate, Gate, check_bind
from ..http.direct import is_crowded
from ..http.http1 import Http1, Send
from ..limits import DEFAULT, Limits
from ..net.listening import cancel_when, open_listeners, serve_until_cancelled, urls_of
from ..net.outgoing import Outgoing
from ..net.streams import PeerStream
from ..operations import Caller, Desk
from ..problems import PROBLEM_TYPE, Refused, problem_body, told, too_many
from .connection import Gone, Pipe, converse
from .faults import handshake, is_faulty

_CLOSE_SECONDS: Final = 1.0
logging.getLogger("trio-websocket").addHandler(logging.NullHandler())


async def serve_websocket(
    jobs: JobRegistry,
    *,
    host: str = "127.0.0.1",
    port: int = 8001,
    ssl_context: ssl.SSLContext | None = None,
    authenticate: Authenticate | None = None,
    hosts: Iterable[str] = (),
    origins: Iterable[str] = (),
    limits: Limits = DEFAULT,
    tracebacks: bool = False,
    grace: float = 5.0,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a registry's jobs over WebSockets until cancelled; start it with `nursery.start`.

    Args:
        jobs: The registry.
        host: Where to listen; one that other machines can reach needs `authenticate`.
        port: The port; 0 picks a free one.
        ssl_context: For TLS; it holds the server's certificate.
        authenticate: Says who connects, from the headers of the handshake, by lower-case names; it returns a
            `Caller`, or None for nobody that it knows. Without it, everybody may do everything.
        hosts: Names of the server besides those of this machine; `*` is any.
        origins: Sites whose pages may connect besides its own.
        limits: What peers may ask for.
        tracebacks: Whether peers see tracebacks of handlers.
        grace: Seconds that connections get to close when it is cancelled.
        task_status: Told the URLs, such as `ws://127.0.0.1:8001`, once it listens.

    Raises:
        ValueError: Everybody could use the server, or an argument is out of range.
        OSError: It cannot listen there.
    """
    check_bind(host, authenticate)
    number("grace", grace)
    closing = trio.Event()
    gate = Gate(authenticate, hosts, origins, limits)
    websockets = WebSockets(gate, Desk(jobs, limits, tracebacks=tracebacks), limits, closing)
    server = Http1(_nothing_else, websockets.connection, limits, closing)
    listeners = await open_listeners(host, port, limits, ssl_context)
    urls = urls_of(listeners, "ws" if ssl_context is None else "wss")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.until_closing)
        await serve_until_cancelled(
            server.connection,
            listeners,
            limits,
            closing=closing,
            grace=grace,
            started=lambda: task_status.started(urls),
        )


async def _nothing_else(scope: Any, _: object, send: Send) -> None:
    """Say that there are only WebSockets, or no place for one more."""
    refused = Refused("upgrade_required", "WebSocket is spoken here", {"upgrade": "websocket"})
    if is_crowded(scope):
        refused = too_many()
    problem = told("a request failed", refused)
    body = problem_body(problem)
    headers = [
        (b"content-type", PROBLEM_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        *_encoded(problem.headers),
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


class WebSockets:
    """What the connections of a server have in common.

    Args:
        gate: Who may come in.
        desk: Does what is asked.
        limits: What peers may ask for.
        closing: Set when the server stops.
    """

    def __init__(self, gate: Gate, desk: Desk, limits: Limits, closing: trio.Event) -> None:
        self._closing = closing
        self._gate = gate
        self._desk = desk
        self._limits = limits

    async def connection(self, stream: PeerStream) -> None:
        """Serve one connection; who calls this closes the stream."""
        patience = trio.CancelScope(relative_deadline=self._limits.header)
        faulty = False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_when, self._closing, patience)
                request: WebSocketRequest | None = None
                with patience:
                    request = await handshake(nursery, stream, self._limits.message)
                if request is not None:
                    faulty = await self._handshake(request, stream)
                nursery.cancel_scope.cancel(reason="the connection ended")
        except* ConnectionClosed:
            pass  # the peer's affair
        if faulty:
            await stream.linger()  # or the code of its fault may not arrive

    async def _handshake(self, request: WebSocketRequest, stream: PeerStream) -> bool:
        """Let a peer in, and talk with it; or say why not. Return whether a fault of its ended that."""
        headers = headers_of(request)
        with ExitStack() as seats:
            try:
                self._gate.check("GET", headers, websocket=True)
                seats.enter_context(self._gate.seat(stream.client[0]))
                caller = await self._gate.caller(headers)
            except Exception as error:  # noqa: BLE001  # `authenticate` may raise anything
                await self._reject(request, error)
                return False
            chosen = PROTOCOL if PROTOCOL in request.proposed_subprotocols else None
            socket = await request.accept(subprotocol=chosen)
            stream.go_on()  # trio-websocket would leave frames that came with the handshake lying
            await self._talk(socket, TrioPipe(socket, stream.outgoing), caller)
        return is_faulty(socket)

    @staticmethod
    async def _reject(request: WebSocketRequest, error: Exception) -> None:
        problem = told("a handshake failed", error)
        headers = [(b"content-type", PROBLEM_TYPE.encode()), *_encoded(problem.headers)]
        await request.reject(problem.status, extra_headers=headers, body=problem_body(problem))

    async def _talk(self, socket: WebSocketConnection, pipe: Pipe, caller: Caller) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_alive, socket, nursery.cancel_scope)
            await converse(pipe, self._desk, caller, self._limits, self._closing)
            nursery.cancel_scope.cancel(reason="the conversation ended")

    async def _keep_alive(self, socket: WebSocketConnection, scope: trio.CancelScope) -> None:
        """Ping the peer; drop it when it does not answer, or is at the same message from ping to ping."""
        begun: object = None
        with suppress(ConnectionClosed):
            while True:
                await trio.sleep(self._limits.ping)
                if begun is (begun := begun_message(socket)) is not None:
                    scope.cancel(reason="a message without end")
                with trio.move_on_after(self._limits.idle) as patience:
                    await socket.ping()
                if patience.cancelled_caught:
                    scope.cancel(reason="no answer to a ping")


def begun_message(socket: WebSocketConnection) -> object:
    """Return what is there of a message that has not ended, or None.

    Fragments may be empty, so no limit of bytes ends it; the list of them grows.
    """
    parts = socket._message_parts  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no other way
    return parts or None


class TrioPipe:
    """A connection of trio-websocket as a `Pipe`.

    Args:
        socket: The connection.
        outgoing: Where all that it sends leaves; what need not wait goes there straight.
    """

    def __init__(self, socket: WebSocketConnection, outgoing: Outgoing) -> None:
        self._socket = socket
        self._outgoing = outgoing

    @property
    def waiting(self) -> bool:
        """See `Pipe.waiting`."""
        return self._outgoing.waiting

    def send_now(self, frame: bytes) -> bool:
        """See `Pipe.send_now`; nothing may be sent behind the frame that closes."""
        if self._socket.closed is not None:
            return False
        try:
            return self._outgoing.send_now(frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False  # the reader is told

    async def flush(self) -> None:
        """See `Pipe.flush`."""
        try:
            await self._outgoing.flush()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Gone from error

    async def receive(self) -> str | bytes:
        """See `Pipe.receive`."""
        try:
            return await self._socket.get_message()
        except ConnectionClosed as error:
            raise Gone from error

    async def send(self, text: str) -> None:
        """See `Pipe.send`."""
        try:
            await self._socket.send_message(text)
        except ConnectionClosed as error:
            raise Gone from error

    async def close(self, code: int, reason: str) -> None:
        """See `Pipe.close`."""
        with trio.move_on_after(_CLOSE_SECONDS):
            await self._socket.aclose(code, reason)

    async def abort(self) -> None:
        """See `Pipe.abort`; the stream is closed by who opened it."""


def headers_of(request: WebSocketRequest) -> Mapping[str, str]:
    """Return the headers of a handshake, by lower-case names; trio-websocket keeps two of them apart."""
    found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in request.headers}
    found["host"] = request._event.host  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no other way
    if request.proposed_subprotocols:
        found["sec-websocket-protocol"] = ", ".join(request.proposed_subprotocols)
    return found
