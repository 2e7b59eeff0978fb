"""`serve_http`: HTTP, event streams, WebSockets and the page on one port."""

from __future__ import annotations

import ssl
from collections.abc import Iterable

import trio

from .._common.validate import number
from .._registry.registry import JobRegistry
from .access import Authenticate, Gate, check_bind
from .http.app import app_of
from .http.http1 import Http1
from .limits import DEFAULT, Limits
from .net.listening import open_listeners, serve_until_cancelled, urls_of
from .operations import Desk
from .websocket.server import WebSockets


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
    server = Http1(app, WebSockets(gate, desk, limits, closing).connection, limits, closing)
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
