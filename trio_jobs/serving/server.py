"""`serve_http`: HTTP, event streams, WebSockets and the page on one port.

Each connection's first request is looked at before anything reads it: what asks for a WebSocket is served as
`serve_websocket` does, everything else by hypercorn's connection handler (`http1.py`). It is used apart from
hypercorn's own `serve`, which has no bound on connections, and lets one that raises take down all others.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable
from typing import Any, Final

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from .._check import number
from .._registry import JobRegistry
from .desk import Desk
from .gate import Authenticate, Gate, check_bind
from .http import app_of
from .http1 import Http1Connection
from .limits import DEFAULT, Limits
from .listening import cancel_when, open_listeners, serve_until_cancelled, urls_of
from .streams import PeerStream, wants_websocket
from .websocket import WebSockets

_HEAD_BYTES: Final = 16 * 1024


async def serve_http(
    jobs: JobRegistry,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    ssl_context: ssl.SSLContext | None = None,
    authenticate: Authenticate | None = None,
    hosts: Iterable[str] = (),
    origins: Iterable[str] = (),
    limits: Limits = DEFAULT,
    tracebacks: bool = False,
    page: bool = True,
    grace: float = 5.0,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a registry's jobs over HTTP and WebSockets until cancelled; start it with `nursery.start`.

    When it is cancelled it tells WebSockets so (1001), ends event streams (browsers come back), lets requests
    finish, and closes what is left after `grace`.

    Args:
        jobs: The registry.
        host: Where to listen; one that other machines can reach needs `authenticate`.
        port: The port; 0 picks a free one.
        ssl_context: For TLS; it holds the server's certificate.
        authenticate: Says who asks, from the headers, by lower-case names; it returns a `Caller`, or None for
            nobody that it knows. Without it, everybody may do everything.
        hosts: Names of the server besides those of this machine; `*` is any.
        origins: Sites whose pages may use it besides its own.
        limits: What clients may ask for.
        tracebacks: Whether clients see tracebacks of handlers.
        page: Whether there is a live page at `/`.
        grace: Seconds that connections get to end when it is cancelled.
        task_status: Told the URLs, such as `http://127.0.0.1:8000`, once it listens.

    Raises:
        ValueError: Everybody could use the server, or an argument is out of range.
        OSError: It cannot listen there.
    """
    check_bind(host, authenticate)
    number("grace", grace)
    closing = trio.Event()
    gate = Gate(authenticate, hosts, origins, limits)
    desk = Desk(jobs, limits, tracebacks=tracebacks)
    app = app_of(gate, desk, limits, closing, page=page, websocket=False)
    server = _Server(app, WebSockets(gate, desk, limits, closing), limits, closing)
    listeners = await open_listeners(host, port, limits, ssl_context)
    urls = urls_of(listeners, "http" if ssl_context is None else "https")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.until_closing)
        await serve_until_cancelled(
            server.connection,
            listeners,
            limits,
            closing=closing,
            grace=grace,
            started=lambda: task_status.started(urls),
        )


class _Server:
    """Serves each connection as its first request asks for."""

    def __init__(self, app: Any, websockets: WebSockets, limits: Limits, closing: trio.Event) -> None:
        self._closing = closing
        self._app = ASGIWrapper(app)
        self._websockets = websockets
        self._limits = limits
        self._config = _config(limits)
        self._context = WorkerContext(None)

    async def until_closing(self) -> None:
        """Have idle connections closed once the server stops."""
        with trio.CancelScope(shield=True):
            await self._closing.wait()
            await self._context.terminated.set()

    async def connection(self, stream: PeerStream) -> None:
        """Serve one connection."""
        head = await self._head(stream)
        if wants_websocket(head):
            await self._websockets.connection(stream)
        elif head:
            served: Any = stream
            await Http1Connection(self._app, self._config, self._context, ConnectionState({}), served)

    async def _head(self, stream: PeerStream) -> bytes:
        """Return the head of the first request; nothing if it does not come before its time, or the end."""
        head = b""
        with trio.move_on_after(self._limits.header) as patience:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_when, self._closing, patience)
                head = await stream.read_head()
                nursery.cancel_scope.cancel(reason="that was it")
        return head


def _config(limits: Limits) -> Config:
    config = Config()
    config.keep_alive_timeout = limits.header  # also bounds the heads of later requests
    config.h11_max_incomplete_size = _HEAD_BYTES
    config.include_server_header = False
    config.errorlog = logging.getLogger("trio_jobs.serving.http")
    return config
