"""A connection of trio-websocket that closes with the code of a peer's fault.

For a frame that it cannot read wsproto gives the same event as for a close of the peer. Trio-websocket does
not distinguish them, and closes without a frame: the peer sees 1006, whatever its fault.
"""

from __future__ import annotations

from typing import Final

import trio
from trio_websocket import CloseReason, WebSocketConnection, WebSocketRequest
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Event

# Trio-websocket has no public way to do this.
# pyright: reportPrivateUsage=false


_FAULTS: Final = frozenset({1002, 1007, 1009})
_SILENT: Final = frozenset({ConnectionState.LOCAL_CLOSING, ConnectionState.CLOSED})


class _Connection(WebSocketConnection):
    async def _send(self, event: Event) -> None:
        # A peer may go on behind our closing frame: what answers a ping, or another fault, is not sent then.
        if self._wsproto.state not in _SILENT:
            await super()._send(event)

    async def _handle_close_connection_event(self, event: CloseConnection) -> None:
        if self._wsproto.state is not ConnectionState.OPEN:
            await super()._handle_close_connection_event(event)
            return
        self._close_reason = CloseReason(event.code, event.reason)  # sends fail from here on
        self._reader_running = False
        await self._send(event)
        await self._close_web_socket(event.code, event.reason)
        self._close_handshake.set()


def is_faulty(connection: WebSocketConnection) -> bool:
    """Return whether it was closed for a fault of the peer, which may still be sending."""
    return connection.closed is not None and connection.closed.code in _FAULTS


async def handshake(nursery: trio.Nursery, stream: trio.abc.Stream, most: int) -> WebSocketRequest:
    """Wait for a peer's handshake, as `trio_websocket.wrap_server_stream` does.

    Args:
        nursery: Where the connection is read.
        stream: The connection.
        most: Bytes in one message.
    """
    connection = _Connection(
        stream, WSConnection(ConnectionType.SERVER), message_queue_size=1, max_message_size=most
    )
    nursery.start_soon(connection._reader_task)  # noqa: SLF001
    return await connection._get_request()  # noqa: SLF001
