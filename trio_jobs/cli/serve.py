"""`trio-jobs serve`: run jobs, and serve them to browsers and programs, until a signal comes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import trio

from .faults import FAILED, Fault
from .options import (
    DEFAULT_STORE,
    MEMORY,
    Capacity,
    HandlersAt,
    LogLevel,
    Seconds,
    Store,
    WorkerName,
    file_of,
)
from .output import note
from .server_options import ServerOptions
from .working import show_log, working

_DEFAULTS: Final = ServerOptions()
_FAREWELL: Final = 0.5
"""Seconds for the server to close its connections; the grace of the jobs begins after them."""


async def serve(
    handlers: HandlersAt,
    /,
    *,
    store: Store = DEFAULT_STORE,
    capacity: Capacity = 100,
    lease: Seconds = 30.0,
    grace: Seconds = 10.0,
    name: WorkerName = None,
    log_level: LogLevel = "warning",
    server: ServerOptions = _DEFAULTS,
) -> None:
    """Run jobs, and serve them over HTTP and WebSocket, with a page to watch them, until SIGTERM or Ctrl-C.

    Then it claims no more, closes its connections, so that clients connect to the next server, and stops as
    `worker` does: within the grace and two seconds.

    Args:
        lease: After so long without a sign of life, another worker may take over a job.
        grace: How long jobs may take to end by themselves when the server is to stop.

    Raises:
        Stopped: A signal came.
    """
    try:
        from ..serving import serve_http
    except ImportError as error:
        raise Fault(str(error), FAILED) from error
    if store != MEMORY:
        file_of(store)
    show_log(log_level)
    serving: Callable[..., Any] = partial(serve_http, **server.options(), grace=min(grace, _FAREWELL))
    async with (
        working(handlers, store=store, capacity=capacity, lease=lease, grace=grace, name=name) as work,
        trio.open_nursery() as nursery,
    ):
        work.jobs.pause()  # no job starts before the port is known to be free
        try:
            urls: list[str] = await nursery.start(partial(serving, work.jobs))
        except OSError as error:
            raise server.fault(error) from error
        work.jobs.resume()
        note(work.description)
        note(f"the page is at {urls[0]}/; Ctrl-C stops it")
        await work.stopping.wait()
        work.jobs.pause()
        nursery.cancel_scope.cancel(reason="a signal")
