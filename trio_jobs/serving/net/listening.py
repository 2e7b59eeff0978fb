"""Listen, and stop in order: accept no more connections, give the open ones time, then close them."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import trio

from ..._common.bell import Bell
from ..context import ServerContext
from ..limits import Seats
from ..options import ServerOptions
from ..problems import logger
from .streams import PeerStream, Transport

Listener: TypeAlias = trio.SocketListener | trio.SSLListener[trio.SocketStream]
Handler: TypeAlias = Callable[[PeerStream], Awaitable[None]]

_SOCKETS_PER_SEAT: Final = 2
_CROWD: Final = 10
"""So many connections too many of a client, and ten times as many of all, are refused in HTTP."""


async def open_listeners(options: ServerOptions) -> Sequence[Listener]:
    """Return listeners on the host and port of a server.

    Raises:
        OSError: It cannot listen there; the text names the address.
    """
    host, port = options.host, options.port
    try:
        opened = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise OSError(
            error.errno, f"cannot listen on {host} port {port}: {error.strerror or error}"
        ) from error
    for listener in opened:
        _drop_vanished_peers(listener.socket, options.limits.idle)
    if options.ssl_context is None:
        return opened
    return [trio.SSLListener(listener, options.ssl_context, https_compatible=True) for listener in opened]


def _drop_vanished_peers(listening: trio.socket.SocketType, idle: float) -> None:
    """Have the kernel close connections whose peer has vanished; accepted sockets inherit this."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, round(idle * 1000)))


def urls_of(listeners: Sequence[Listener], scheme: str) -> list[str]:
    """Return the URLs of listeners.

    Args:
        listeners: The listeners.
        scheme: The scheme without TLS; with it, an "s" follows.
    """
    urls: list[str] = []
    for listener in listeners:
        tls = "s" if isinstance(listener, trio.SSLListener) else ""
        plain: Any = getattr(listener, "transport_listener", listener)
        host, port = plain.socket.getsockname()[:2]
        urls.append(f"{scheme}{tls}://[{host}]:{port}" if ":" in host else f"{scheme}{tls}://{host}:{port}")
    return urls


async def serve_until_cancelled(
    context: ServerContext,
    handler: Handler,
    listeners: Sequence[Listener],
    started: Callable[[], None],
) -> None:
    """Hand each connection to `handler`, until cancelled; then close the context, and wait for them.

    A handler that raises ends its own connection only. Its stream is closed after it, whatever happens.

    Args:
        context: The context of the server: how many connections there may be, and how long they have to end.
        handler: Serves one connection; it is to end soon after `closing` was set.
        listeners: Accept connections; they are closed.
        started: Called once connections are accepted.
    """
    server = _Server(context, handler)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run, listeners)
        try:
            started()
            await trio.sleep_forever()
        finally:
            context.close()


class _Server:
    def __init__(self, context: ServerContext, handler: Handler) -> None:
        self._context = context
        self._handler = handler
        self._open: set[PeerStream] = set()
        self._sockets = Seats()
        self._one_closed = Bell()

    async def run(self, listeners: Sequence[Listener]) -> None:
        # Shielded: what ends it is `closing`, which is set when the task that started it is cancelled.
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as connections:
                accept: Any = partial(trio.serve_listeners, handler_nursery=connections)
                async with trio.open_nursery() as accepting:
                    accepting.start_soon(accept, self._connection, listeners)
                    await self._context.closing.wait()
                    accepting.cancel_scope.cancel(reason="the server stops")
                grace = self._context.options.grace
                with trio.move_on_after(grace):  # noqa: ASYNC912  # without connections there is no wait
                    while self._open:
                        await self._one_closed.wait()
                for stream in list(self._open):
                    await trio.aclose_forcefully(stream)  # what is shielded from cancellation fails by that
                connections.cancel_scope.cancel(reason="the grace is over")

    async def _connection(self, transport: Transport) -> None:
        limits = self._context.limits
        stream = PeerStream(transport, limits.idle)
        client = stream.client[0]
        # How many sockets there are too many, of the client and of all, with or without a request.
        own = self._sockets.by_client[client] - _SOCKETS_PER_SEAT * limits.per_client
        all_of_them = self._sockets.total - _SOCKETS_PER_SEAT * limits.connections
        if own >= _CROWD or all_of_them >= 10 * _CROWD:
            await trio.aclose_forcefully(stream)
            return
        stream.crowded = own >= 0 or all_of_them >= 0
        self._open.add(stream)
        try:
            with self._sockets.held(client):
                await self._serve(stream, transport)
        finally:
            self._open.discard(stream)
            self._one_closed.ring()

    async def _serve(self, stream: PeerStream, transport: Transport) -> None:
        try:
            if isinstance(transport, trio.SSLStream):
                with self._context.until_closing(self._context.limits.header) as patience:
                    await transport.do_handshake()
                if patience.cancelled_caught:
                    return
            await self._handler(stream)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, OSError, UnicodeDecodeError):
            pass  # the peer's affair: wsproto reads some headers as ASCII, and a peer may send others
        except* Exception:  # noqa: BLE001  # one bad connection is no reason to end the others
            logger.exception("a connection failed")
        finally:
            await trio.aclose_forcefully(stream)
