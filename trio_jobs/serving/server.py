"""`serve_http`: HTTP, event streams, WebSockets and the page on one port."""

from __future__ import annotations

from functools import partial
from typing import Unpack

import trio

from .._registry.registry import JobRegistry
from .context import ServerContext
from .http.app import app_of
from .net.http1 import serve_http1
from .options import HttpOptions, ServerOptions
from .websocket.server import serve_connection


async def serve_http(  # noqa: ASYNC128  # what it calls does
    jobs: JobRegistry,
    *,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[HttpOptions],
) -> None:
    """Serve a registry's jobs over HTTP and WebSockets until cancelled; start it with `nursery.start`.

    `ServerOptions` says what the options mean. `task_status` gets the URLs, such as `http://127.0.0.1:8000`,
    once it listens. When it is cancelled it closes WebSockets in order (1001), ends event streams (browsers
    come back), lets requests finish, and closes the connections that are left after `grace`.

    Raises:
        TypeError: An option is unknown, or has a wrong type.
        ValueError: Everybody could use the server, an option is out of range, or a path is taken.
        OSError: It cannot listen there.
    """
    context = ServerContext.of(jobs, ServerOptions.of(HttpOptions, options))
    app = app_of(context, websocket=False)
    await serve_http1(context, app, partial(serve_connection, context), "http", task_status.started)
