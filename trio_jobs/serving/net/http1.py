"""HTTP/1.1 on the connections of a server: one request after another, until one asks for a WebSocket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import trio

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
        context: What the server was told.
        app: The ASGI application that answers requests.
        websocket: Takes over a connection that asks for a WebSocket.
        scheme: What URLs of the server begin with; with TLS, an "s" follows.
        started: Called with the URLs once it listens.
    """
    options, limits = context.options, context.limits
    server = Http1(context, app, websocket)
    listeners = await open_listeners(options.host, options.port, limits, options.ssl_context)
    urls = urls_of(listeners, scheme if options.ssl_context is None else f"{scheme}s")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.until_closing)
        await serve_until_cancelled(
            server.connection,
            listeners,
            limits,
            closing=context.closing,
            grace=options.grace,
            started=lambda: started(urls),
        )


class Http1:
    """What the connections of a server have in common.

    Args:
        context: How long a head may take, and when the server stops.
        app: The ASGI application that answers requests.
        websocket: Takes over a connection that asks for a WebSocket, in whichever of its requests.
    """

    def __init__(self, context: ServerContext, app: App, websocket: Handler) -> None:
        self._app = app
        self._websocket = websocket
        self._header = context.limits.header
        self._closing = context.closing
        self._idle: set[trio.CancelScope] = set()

    async def until_closing(self) -> None:
        """Have the connections that are between two requests end once the server stops."""
        with trio.CancelScope(shield=True):
            await self._closing.wait()
        for scope in self._idle:
            scope.cancel(reason="the server stops")

    async def connection(self, stream: PeerStream) -> None:
        """Serve one connection; who calls this closes the stream."""
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
            Refused: It is none, or did not come in time.
        """
        if self._closing.is_set():
            return None
        raw = b""
        with trio.move_on_after(self._header) as patience:
            self._idle.add(patience)
            try:
                raw = await stream.read_head()
            finally:
                self._idle.discard(patience)
        if not raw:
            if patience.cancelled_caught and stream.ahead and not self._closing.is_set():
                raise Refused("too_slow", f"the head did not come within {self._header:g}s")
            return None
        return read_head(raw)

    async def _answer(self, stream: PeerStream, head: Head) -> bool:
        """Have one request answered, and return whether another one may follow."""
        exchange = Exchange(stream, head, self._closing)
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
