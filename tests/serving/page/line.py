"""A connection between a browser and a server that can be cut, and can fall silent."""

from __future__ import annotations

from functools import partial

import trio


class Line:
    """Forwards bytes from a port of its own to a server's.

    Attributes:
        port: Its port, once it is open.
        opened: How many connections there have been.
        dead: Whether nothing that the server sends arrives any more.
    """

    def __init__(self, to: int) -> None:
        self.port = 0
        self.opened = 0
        self.dead = False
        self._to = to
        self._scopes: set[trio.CancelScope] = set()

    async def open(self, nursery: trio.Nursery) -> None:
        """Forward, until the nursery is cancelled."""
        await nursery.start(self._keep_open)

    async def _keep_open(self, task_status: trio.TaskStatus[None]) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._connection, listeners)

    async def cut(self) -> None:
        """Drop every connection."""
        for scope in self._scopes:
            scope.cancel()
        await trio.lowlevel.checkpoint()

    async def _connection(self, here: trio.SocketStream) -> None:
        self.opened += 1
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                async with here, await trio.open_tcp_stream("127.0.0.1", self._to) as there:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(partial(self._pump, here, there, nursery.cancel_scope))
                        nursery.start_soon(partial(self._pump, there, here, nursery.cancel_scope, back=True))
            except* OSError:
                pass  # the server is away
            finally:
                self._scopes.discard(scope)

    async def _pump(
        self,
        source: trio.SocketStream,
        target: trio.SocketStream,
        scope: trio.CancelScope,
        *,
        back: bool = False,
    ) -> None:
        try:
            async for data in source:
                if not (back and self.dead):
                    await target.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()
