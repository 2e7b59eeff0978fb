"""`trio-jobs serve`: run jobs, and serve them to browsers and programs, until a signal comes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import trio

from .._common.errors import UnknownHandler
from .faults import FAILED, Fault
from .options import MEMORY, HandlersAt, check_store
from .server_options import ServerOptions
from .working import DEFAULTS, WorkerOptions, working

_HERE: Final = ServerOptions()
_FAREWELL: Final = 0.5
"""Seconds for the server to close its connections; the grace of the jobs begins after them."""


async def serve(
    handlers: HandlersAt,
    /,
    *,
    options: WorkerOptions = DEFAULTS,
    server: ServerOptions = _HERE,
) -> None:
    """Run jobs, and serve them over HTTP and WebSocket, with a page to watch them, until SIGTERM or Ctrl-C.

    With the extra prometheus, /v1/metrics has what its attempts do, besides gauges.

    Then it claims no more, closes its connections, so that clients connect to the next server, and stops as
    `worker` does: within the grace and two seconds.

    Raises:
        Stopped: A signal came.
    """
    try:
        from ..serving import serve_http
    except ImportError as error:
        raise Fault(str(error), FAILED) from error
    if options.store != MEMORY:
        check_store(options.store)
    grace = min(options.grace, _FAREWELL)
    serving: Callable[..., Any] = partial(serve_http, **server.options(), grace=grace)
    if server.access_log:
        logging.getLogger("trio_jobs.access").setLevel(logging.INFO)
    from .metrics import new_metrics

    metrics = new_metrics()
    if metrics is not None:
        serving = partial(serving, metrics=metrics.exposition)
    async with working(handlers, options, metrics) as work, trio.open_nursery() as nursery:
        work.jobs.pause()  # no job starts before the port is known to be free
        try:
            urls: list[str] = await nursery.start(partial(serving, work.jobs))
        except OSError as error:
            raise server.fault(error) from error
        except UnknownHandler as error:
            raise Fault(f"--ai-sdk: {error}") from error
        if metrics is not None:
            nursery.start_soon(metrics.measure_loop)
        work.jobs.resume()
        options.tell(work.description)
        options.tell(f"the page is at {urls[0]}/; Ctrl-C stops it")
        await work.stopping.wait()
        work.jobs.pause()
        nursery.cancel_scope.cancel(reason="a signal")
