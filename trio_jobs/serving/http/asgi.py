"""For ASGI: a guard before every request, problem details, and a WebSocket as a `WebSocketConnection`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from typing import Final, TypeVar

import trio
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from ..._wire.requests import PROTOCOL
from ..context import ServerContext
from ..net.direct import direct_body, is_crowded
from ..net.outgoing import PeerGone
from ..problems import Problem, Refused, to_problem
from ..websocket.connection import WebSocketConnection, WebSocketHandler

T = TypeVar("T")

PROBES: Final = ("/healthz", "/readyz")
"""The paths of the health checks, which are answered without the checks of the guard."""
_ALWAYS: Final = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


def problem_response(problem: Problem) -> Response:
    """Return a problem as RFC 9457 has it."""
    return Response(problem.body, problem.status, problem.headers)


async def answered(
    work: Callable[[], Awaitable[ASGIApp]], refusal: Callable[[Problem], ASGIApp] = problem_response
) -> ASGIApp:
    """Return what answers a request: what `work` returns or, if it raises, a refusal.

    Args:
        work: Carries the request out.
        refusal: Makes the answer that tells a problem.
    """
    try:
        return await work()
    except ClientDisconnect:
        return Response(status_code=400)  # the client has left
    except Exception as error:  # noqa: BLE001  # an error of one request is its answer
        return refusal(to_problem("a request failed", error))


class Guard:
    """Checks where each request comes from, and counts it in, before anything is done for it.

    Args:
        app: The application behind it.
        context: The context of the server.
    """

    def __init__(self, app: ASGIApp, context: ServerContext) -> None:
        self._app = app
        self._access = context.access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        websocket = scope["type"] == "websocket"
        if not websocket and _is_probe(scope):
            await self._app(scope, receive, _hardened(scope, receive, send))
            return
        client = scope.get("client") or ("",)
        with ExitStack() as seats:
            try:
                self._access.check(
                    scope.get("method", "GET"), dict(Headers(scope=scope)), websocket=websocket
                )
                seats.enter_context(self._access.seat(str(client[0]), crowded=is_crowded(scope)))
            except Refused as refused:
                response = problem_response(to_problem("a request failed", refused))
                if websocket:
                    await WebSocket(scope, receive, send).send_denial_response(response)
                else:
                    await response(scope, receive, _hardened(scope, receive, send))
                return
            await self._app(scope, receive, send if websocket else _hardened(scope, receive, send))


def _is_probe(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")) in PROBES and scope["method"] in {"GET", "HEAD"}


def _hardened(scope: Scope, receive: Receive, send: Send) -> Send:
    may_queue = direct_body(scope) is None

    async def hardened(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _ALWAYS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-store")
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if is_last and may_queue:
            await _send_last(message, receive, send)
        else:
            await send(message)

    return hardened


async def _send_last(message: Message, receive: Receive, send: Send) -> None:
    """Send the end of a response, and discard the rest of the request's body meanwhile.

    Hypercorn puts a body into a queue, and then the end of the request. While the queue is full it would wait
    for ever, and keep the connection. Our own server has no such queue.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_drain, receive)
        await send(message)
        nursery.cancel_scope.cancel(reason="the response was sent")


async def _drain(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_gone(receive: Receive, work: Callable[[], Awaitable[T]]) -> T:
    """Return the value of `work`, unless the client leaves before; ASGI says that in `receive` only.

    Raises:
        ClientDisconnect: It left, and the work was cancelled.
        Exception: What `work` raises.
    """
    found: list[T] = []
    failure: Exception = ClientDisconnect()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_when_gone, receive, nursery.cancel_scope)
        try:
            found.append(await work())
        except Exception as error:  # noqa: BLE001  # raised outside of the nursery, not in a group
            failure = error
        nursery.cancel_scope.cancel(reason="it is over")
    if not found:
        raise failure
    return found[0]


async def cancel_when_gone(receive: Receive, scope: trio.CancelScope) -> None:
    """Wait until the client has left, then cancel a scope."""
    await _drain(receive)
    scope.cancel(reason="the client left")


async def serve_socket(context: ServerContext, socket: WebSocket) -> None:
    """Serve one connection at `/v1/ws`, where the application runs on another server."""
    try:
        caller = await context.access.caller(dict(socket.headers))
    except Exception as error:  # noqa: BLE001  # `authenticate` may raise anything
        await socket.send_denial_response(problem_response(to_problem("a handshake failed", error)))
        return
    await socket.accept(PROTOCOL if PROTOCOL in socket.scope["subprotocols"] else None)
    connection = AsgiWebSocket(socket, context.limits.idle)
    await WebSocketHandler(connection, context, caller).run()


class AsgiWebSocket(WebSocketConnection):
    """An ASGI WebSocket as a `WebSocketConnection`.

    Args:
        socket: The WebSocket.
        idle: Seconds for the peer to take what is sent.
    """

    def __init__(self, socket: WebSocket, idle: float) -> None:
        self._socket = socket
        self._idle = idle
        self._lock = trio.Lock()

    async def receive(self) -> str | bytes:
        """See `WebSocketConnection.receive`."""
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise PeerGone
        text: str | None = message.get("text")
        return message["bytes"] if text is None else text

    async def send(self, text: str) -> None:
        """See `WebSocketConnection.send`."""
        try:
            with trio.fail_after(self._idle):
                async with self._lock:
                    await self._socket.send_text(text)
        except (WebSocketDisconnect, RuntimeError, trio.TooSlowError) as error:
            raise PeerGone from error

    async def close(self, code: int, reason: str) -> None:
        """See `WebSocketConnection.close`."""
        with suppress(WebSocketDisconnect, RuntimeError):  # it has gone already
            await self._socket.close(code, reason)
