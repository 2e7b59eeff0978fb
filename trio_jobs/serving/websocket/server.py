"""`serve_websocket`: jobs over WebSockets alone, on trio-websocket.

That library leaves these duties of a server to its users:

    W1  an error of a connection ends that connection, not the server
    W2  a ping has a deadline, after which the stream is dropped
    W3  the reader never waits for the writer, so pings of a live peer are answered in time
    W5  the server opened the stream, and closes it whatever happened
    W6  one writer; a send that was cancelled ends the connection (connection.py)
    W7  when the server stops, each peer is told (1001) before its connection is closed
    W8  subprotocol and origin are checked here
    W9  message sizes count bytes (session.py), connections are counted, silence is noticed, and so
        is a message without end
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Final, Unpack

import trio
import trio_websocket
from trio_websocket import ConnectionClosed, WebSocketRequest

from ..._registry.registry import JobRegistry
from ..._wire.requests import PROTOCOL
from ..context import ServerContext
from ..limits import Limits
from ..net.direct import is_crowded
from ..net.http1 import Send, serve_http1
from ..net.outgoing import Outgoing, PeerGone
from ..net.streams import PeerStream
from ..options import ServerOptions, WebSocketOptions
from ..problems import Refused, to_problem, too_many
from .connection import WebSocketConnection, WebSocketHandler
from .faults import handshake, is_faulty

_CLOSE_SECONDS: Final = 1.0
logging.getLogger("trio-websocket").addHandler(logging.NullHandler())


async def serve_websocket(  # noqa: ASYNC128  # what it calls does
    jobs: JobRegistry,
    *,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[WebSocketOptions],
) -> None:
    """Serve a registry's jobs over WebSockets until cancelled; start it with `nursery.start`.

    `ServerOptions` says what the options mean. `task_status` gets the URLs, such as `ws://127.0.0.1:8001`,
    once it listens.

    Raises:
        TypeError: An option is unknown, or has a wrong type.
        ValueError: Everybody could use the server, or an option is out of range.
        OSError: It cannot listen there.
    """
    context = ServerContext.of(jobs, ServerOptions.of(WebSocketOptions, {"port": 8001, **options}))
    await serve_http1(context, _nothing_else, partial(serve_connection, context), "ws", task_status.started)


async def _nothing_else(scope: Any, _: object, send: Send) -> None:
    """Refuse a request: the server has only WebSockets, or no place for one more."""
    refused = Refused("upgrade_required", "WebSocket is spoken here", {"upgrade": "websocket"})
    if is_crowded(scope):
        refused = too_many()
    problem = to_problem("a request failed", refused)
    headers = [*problem.raw_headers, (b"content-length", b"%d" % len(problem.body))]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": problem.body})


async def serve_connection(context: ServerContext, stream: PeerStream) -> None:
    """Serve one connection that asks for a WebSocket; the caller closes the stream."""
    faulty = False
    try:
        async with trio.open_nursery() as nursery:
            with context.until_closing(context.limits.header) as patience:
                request = await handshake(nursery, stream, context.limits.message)
            if not patience.cancelled_caught:
                faulty = await _admit(context, request, stream)
            nursery.cancel_scope.cancel(reason="the connection ended")
    except* ConnectionClosed:
        pass  # the peer's affair
    if faulty:
        await stream.linger()  # or the code of its fault may not arrive


async def _admit(context: ServerContext, request: WebSocketRequest, stream: PeerStream) -> bool:
    """Serve a peer, or refuse its handshake; return whether a fault of the peer ended the connection."""
    access, headers = context.access, headers_of(request)
    with ExitStack() as seats:
        try:
            access.check("GET", headers, websocket=True)
            seats.enter_context(access.seat(stream.client[0]))
            caller = await access.caller(headers)
        except Exception as error:  # noqa: BLE001  # `authenticate` may raise anything
            problem = to_problem("a handshake failed", error)
            await request.reject(problem.status, extra_headers=problem.raw_headers, body=problem.body)
            return False
        chosen = PROTOCOL if PROTOCOL in request.proposed_subprotocols else None
        socket = await request.accept(subprotocol=chosen)
        stream.go_on()  # trio-websocket does not read frames that came with the handshake
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep_alive, context.limits, socket, nursery.cancel_scope)
            await WebSocketHandler(TrioWebSocket(socket, stream.outgoing), context, caller).run()
            nursery.cancel_scope.cancel(reason="the connection ended")
    return is_faulty(socket)


async def _keep_alive(
    limits: Limits, socket: trio_websocket.WebSocketConnection, scope: trio.CancelScope
) -> None:
    """Ping the peer; drop it when it does not answer, or is at the same message from ping to ping."""
    begun: object = None
    with suppress(ConnectionClosed):
        while True:
            await trio.sleep(limits.ping)
            if begun is (begun := begun_message(socket)) is not None:
                scope.cancel(reason="a message without end")
            with trio.move_on_after(limits.idle) as patience:
                await socket.ping()
            if patience.cancelled_caught:
                scope.cancel(reason="no answer to a ping")


def begun_message(socket: trio_websocket.WebSocketConnection) -> object:
    """Return the fragments of a message that has not ended; None if there is none.

    Fragments may be empty, so no limit of bytes ends a message; the list of them grows.
    """
    parts = socket._message_parts  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no other way
    return parts or None


class TrioWebSocket(WebSocketConnection):
    """A connection of trio-websocket as a `WebSocketConnection`.

    Args:
        socket: The connection.
        outgoing: The sending side of its stream, for frames that need not wait.
    """

    def __init__(self, socket: trio_websocket.WebSocketConnection, outgoing: Outgoing) -> None:
        self._socket = socket
        self._outgoing = outgoing
        self.outlet = self

    @property
    def waiting(self) -> bool:
        """See `Outlet.waiting`."""
        return self._outgoing.waiting

    def send_now(self, frame: bytes) -> bool:
        """See `Outlet.send_now`; nothing may be sent behind the frame that closes."""
        return self._socket.closed is None and self._outgoing.send_now(frame)

    async def flush(self) -> None:
        """See `Outlet.flush`."""
        await self._outgoing.flush()

    async def receive(self) -> str | bytes:
        """See `WebSocketConnection.receive`."""
        try:
            return await self._socket.get_message()
        except ConnectionClosed as error:
            raise PeerGone from error

    async def send(self, text: str) -> None:
        """See `WebSocketConnection.send`."""
        try:
            await self._socket.send_message(text)
        except ConnectionClosed as error:
            raise PeerGone from error

    async def close(self, code: int, reason: str) -> None:
        """See `WebSocketConnection.close`."""
        with trio.move_on_after(_CLOSE_SECONDS):
            await self._socket.aclose(code, reason)


def headers_of(request: WebSocketRequest) -> Mapping[str, str]:
    """Return the headers of a handshake, by lower-case names; trio-websocket keeps two of them apart."""
    found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in request.headers}
    found["host"] = request._event.host  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no other way
    if request.proposed_subprotocols:
        found["sec-websocket-protocol"] = ", ".join(request.proposed_subprotocols)
    return found
