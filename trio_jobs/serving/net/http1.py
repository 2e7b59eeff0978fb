"""HTTP/1.1 on the connections of a server: one request after another, until one asks for a WebSocket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

from ..context import ServerContext
from ..problems import INTERNAL, Refused, logger, to_problem
from .exchange import Exchange, Message, refusal
from .listening import Handler, open_listeners, serve_until_cancelled, urls_of
from .request_head import Head, read_head
from .streams import PeerStream

Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Any, Callable[[], Awaitable[Message]], Send], Awaitable[None]]


async def serve_http1(
    context: ServerContext,
    app: App,
    websocket: Handler,
    scheme: str,
    started: Callable[[list[str]], None],
) -> None:
    """Listen, and serve connections until cancelled; then let them end in order.

    Args:
        context: The context of the server.
        app: The ASGI application that answers requests.
        websocket: Takes over a connection that asks for a WebSocket, in whichever of its requests.
        scheme: The scheme of the server's URLs; with TLS, an "s" follows.
        started: Called with the URLs once the server listens.
    """
    listeners = await open_listeners(context.options)
    connection = partial(_serve_connection, context, app, websocket)
    await serve_until_cancelled(context, connection, listeners, partial(started, urls_of(listeners, scheme)))


async def _serve_connection(context: ServerContext, app: App, websocket: Handler, stream: PeerStream) -> None:
    try:
        while (head := await _next_head(context, stream)) is not None:
            if head.websocket and not stream.crowded:
                stream.put_back(head.raw)
                await websocket(stream)
                return
            if not await _answer(Exchange(stream, head, context), app, stream):
                return
    except Refused as refused:
        await stream.send_all(refusal(to_problem("a request failed", refused)))
        await stream.linger()


async def _next_head(context: ServerContext, stream: PeerStream) -> Head | None:
    """Return the head of the next request; None if none comes, or the server stops.

    Raises:
        Refused: The bytes are no head, or did not come in time.
    """
    closing, seconds = context.closing, context.limits.header
    if closing.is_set():
        return None
    raw = b""
    with context.until_closing(seconds) as patience:
        raw = await stream.read_head()
    if not raw:
        if patience.cancelled_caught and stream.ahead and not closing.is_set():
            raise Refused("too_slow", f"the head did not come within {seconds:g}s")
        return None
    return read_head(raw)


async def _answer(exchange: Exchange, app: App, stream: PeerStream) -> bool:
    """Have one request answered, and return whether another one may follow."""
    try:
        await app(exchange.scope, exchange.receive, exchange.send)
    except Exception:  # noqa: BLE001  # one bad request is no reason to end the others
        logger.exception("a request failed")
    if not exchange.has_begun:
        await stream.send_all(refusal(INTERNAL))
    if exchange.is_reusable:
        return True
    if exchange.has_unread or stream.ahead:
        await stream.linger()
    return False
