"""Listen, and stop in order: accept no more connections, give the open ones time, then close them."""

from __future__ import annotations

import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import trio

from ..._common.bell import Bell
from ..limits import Limits
from ..problems import logger
from .streams import PeerStream, Transport

Listener: TypeAlias = trio.SocketListener | trio.SSLListener[trio.SocketStream]
Handler: TypeAlias = Callable[[PeerStream], Awaitable[None]]

_SOCKETS_PER_SEAT: Final = 2
_CROWD: Final = 10
"""Connections beyond those of a client, and ten times as many beyond those of all, that are told so."""


async def open_listeners(
    host: str, port: int, limits: Limits, ssl_context: ssl.SSLContext | None
) -> Sequence[Listener]:
    """Return listeners on a host and port.

    Raises:
        OSError: It cannot listen there; the text names the address.
    """
    try:
        opened = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise OSError(
            error.errno, f"cannot listen on {host} port {port}: {error.strerror or error}"
        ) from error
    for listener in opened:
        _notice_the_lost(listener.socket, limits.idle)
    if ssl_context is None:
        return opened
    return [trio.SSLListener(listener, ssl_context, https_compatible=True) for listener in opened]


def _notice_the_lost(listening: trio.socket.SocketType, idle: float) -> None:
    """Have the kernel give up peers that vanished without a word; accepted sockets inherit this."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, round(idle * 1000)))


def urls_of(listeners: Sequence[Listener], scheme: str) -> list[str]:
    """Return the URLs that listeners can be reached by."""
    urls: list[str] = []
    for listener in listeners:
        plain: Any = getattr(listener, "transport_listener", listener)
        host, port = plain.socket.getsockname()[:2]
        urls.append(f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}")
    return urls


async def serve_until_cancelled(
    handler: Handler,
    listeners: Sequence[Listener],
    limits: Limits,
    *,
    closing: trio.Event,
    grace: float,
    started: Callable[[], None],
) -> None:
    """Hand each connection to `handler`, until cancelled; then set `closing`, and wait for them.

    A handler that raises ends its own connection only. Its stream is closed after it, whatever happens.

    Args:
        handler: Serves one connection; it is to end soon after `closing` was set.
        listeners: Where connections come from; they are closed.
        limits: How many there may be.
        closing: Set when this is cancelled.
        grace: Seconds that connections have then.
        started: Called once connections are accepted.
    """
    server = _Server(handler, limits, closing)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run, listeners, grace)
        try:
            started()
            await trio.sleep_forever()
        finally:
            closing.set()


async def cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    """Wait for an event, then cancel a scope: for what is not worth waiting for when the server stops."""
    await event.wait()
    scope.cancel(reason="the server stops")


class _Server:
    def __init__(self, handler: Handler, limits: Limits, closing: trio.Event) -> None:
        self._handler = handler
        self._limits = limits
        self._closing = closing
        self._open: set[PeerStream] = set()
        self._by_client: Counter[str] = Counter()
        self._one_closed = Bell()

    async def run(self, listeners: Sequence[Listener], grace: float) -> None:
        # Shielded: what ends it is `closing`, which is set when the task that started it is cancelled.
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as connections:
                accept: Any = partial(trio.serve_listeners, handler_nursery=connections)
                async with trio.open_nursery() as accepting:
                    accepting.start_soon(accept, self._connection, listeners)
                    await self._closing.wait()
                    accepting.cancel_scope.cancel(reason="the server stops")
                with trio.move_on_after(grace):  # noqa: ASYNC912  # if none is open, there is nothing to wait for
                    while self._open:
                        await self._one_closed.wait()
                for stream in list(self._open):
                    await trio.aclose_forcefully(stream)  # what is shielded from cancellation fails by that
                connections.cancel_scope.cancel(reason="the grace is over")

    def _over(self, client: str) -> tuple[int, int]:
        """Return by how many there are too many, of a client and of all. Also who has not asked counts."""
        return (
            self._by_client[client] - _SOCKETS_PER_SEAT * self._limits.per_client,
            len(self._open) - _SOCKETS_PER_SEAT * self._limits.connections,
        )

    async def _connection(self, transport: Transport) -> None:
        stream = PeerStream(transport, self._limits.idle)
        client = stream.client[0]
        own, all_of_them = self._over(client)
        if own >= _CROWD or all_of_them >= 10 * _CROWD:
            await trio.aclose_forcefully(stream)
            return
        stream.crowded = own >= 0 or all_of_them >= 0
        self._open.add(stream)
        self._by_client[client] += 1
        try:
            if isinstance(transport, trio.SSLStream):
                await self._shake_hands(transport)
            await self._handler(stream)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, OSError):
            pass  # the peer's affair
        except* UnicodeDecodeError:
            pass  # likewise: wsproto reads some headers as ASCII, and whatever the peer sends may be none
        except* Exception:  # noqa: BLE001  # one bad connection is no reason to end the others
            logger.exception("a connection failed")
        finally:
            await trio.aclose_forcefully(stream)
            self._open.discard(stream)
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]
            self._one_closed.ring()

    async def _shake_hands(self, transport: trio.SSLStream[trio.SocketStream]) -> None:
        with trio.fail_after(self._limits.header) as patience:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_when, self._closing, patience)
                await transport.do_handshake()
                nursery.cancel_scope.cancel(reason="they were shaken")
