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
    connection = Http1(context, app, websocket).connection
    await serve_until_cancelled(context, connection, listeners, partial(started, urls_of(listeners, scheme)))


class Http1:
    """Serves connections; the arguments are those of `serve_http1`."""

    def __init__(self, context: ServerContext, app: App, websocket: Handler) -> None:
        self._context = context
        self._app = app
        self._websocket = websocket

    async def connection(self, stream: PeerStream) -> None:
        """Serve one connection; the caller closes the stream."""
        try:
            while (head := await self._head(stream)) is not None:
                if head.websocket and not stream.crowded:
                    stream.put_back(head.raw)
                    await self._websocket(stream)
                    return
                if not await self._answer(stream, head):
                    return
        except Refused as refused:
            await stream.send_all(refusal(to_problem("a request failed", refused)))
            await stream.linger()

    async def _head(self, stream: PeerStream) -> Head | None:
        """Return the head of the next request; None if none comes, or the server stops.

        Raises:
            Refused: The bytes are no head, or did not come in time.
        """
        closing, seconds = self._context.closing, self._context.limits.header
        if closing.is_set():
            return None
        raw = b""
        with self._context.until_closing(seconds) as patience:
            raw = await stream.read_head()
        if not raw:
            if patience.cancelled_caught and stream.ahead and not closing.is_set():
                raise Refused("too_slow", f"the head did not come within {seconds:g}s")
            return None
        return read_head(raw)

    async def _answer(self, stream: PeerStream, head: Head) -> bool:
        """Have one request answered, and return whether another one may follow."""
        exchange = Exchange(stream, head, self._context)
        try:
            await self._app(exchange.scope, exchange.receive, exchange.send)
        except Exception:  # noqa: BLE001  # one bad request is no reason to end the others
            logger.exception("a request failed")
        if not exchange.has_begun:
            await stream.send_all(refusal(INTERNAL))
        if exchange.is_reusable:
            return True
        if exchange.has_unread or stream.ahead:
            await stream.linger()
        return False
