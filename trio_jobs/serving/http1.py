"""HTTP/1.1 on one connection: hypercorn's handler, without the ways that it knows out of HTTP/1.1.

Hypercorn changes to HTTP/2 whenever a client asks for it, also without TLS and in the midst of a connection.
There, one connection has many requests at once, and a head has no deadline.
"""

from __future__ import annotations

from typing import Any

import h11
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.typing import ConnectionState


class Http1Connection(TCPServer):
    """Serves one connection; await it."""

    async def run(self) -> None:
        """Serve requests until one side closes.

        Raises:
            OSError: The peer has gone.
        """
        stream: Any = self.stream  # a `PeerStream`, whose TLS handshake was made
        idle: Any = self.idle_task
        async with TaskGroup() as self._task_group:
            protocol: Any = _Protocol(
                self.app,
                self.config,
                self.context,
                self._task_group,
                ConnectionState(self.state),
                stream.encrypted,
                stream.socket.getpeername()[:2],
                stream.socket.getsockname()[:2],
                self.protocol_send,
            )
            self.protocol = protocol
            await idle.restart(self._task_group, self._idle_timeout)
            await self._read_data()
        await self._close()


class _Protocol(H11Protocol):
    """Takes every request for one of HTTP/1.1, whatever else it would like to speak.

    What asks for a WebSocket in its first request never comes here (`server.py`); hypercorn's own fails where
    the request has a body, or headers that are no ASCII.
    """

    async def _check_protocol(self, event: h11.Request) -> None:
        pass

    async def _create_stream(self, request: h11.Request) -> None:
        headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
        await super()._create_stream(
            h11.Request(
                method=request.method,
                target=request.target,
                headers=headers,
                http_version=request.http_version,
            )
        )
