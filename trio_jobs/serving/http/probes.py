"""Answers for balancers and supervisors, and a server of nothing but these and metrics, for a worker."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final, Unpack

import trio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..._registry.registry import JobRegistry
from ..context import ServerContext
from ..net.http1 import serve_http1
from ..net.streams import PeerStream
from ..options import ANYBODY, Caller, MetricsOptions, ServerOptions, is_loopback
from ..problems import to_problem
from .asgi import PROBES, Guard, problem_response, unless_gone

EXPOSITION: Final = "text/plain; version=0.0.4"


def probes(context: ServerContext) -> list[Route]:
    """Return the routes of `/healthz`, which asks the store, and of `/readyz`, which knows of a stop, too."""

    async def probe(request: Request) -> Response:
        fault = await context.health.fault()
        if fault is None and request.url.path.endswith("/readyz") and context.closing.is_set():
            fault = "the server stops"
        return Response(f"{fault or 'ok'}\n", 503 if fault else 200, media_type="text/plain")

    return [Route(path, probe) for path in PROBES]


async def serve_metrics(  # noqa: ASYNC128  # what it calls does
    jobs: JobRegistry,
    *,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[MetricsOptions],
) -> None:
    """Serve `/metrics`, `/healthz` and `/readyz` of a registry, until cancelled.

    Start it with `nursery.start`; `task_status` gets the URLs once it listens. Whoever reaches the port may
    read them: how many jobs there are, and names of handlers. `ServerOptions` says what the options mean.

    Raises:
        TypeError: An option is unknown, or has a wrong type.
        ValueError: `grace` is out of range.
        OSError: It cannot listen there.
    """
    host = options.get("host", "127.0.0.1")
    names = () if is_loopback(host) else ("*",)  # what others can reach has no secrets from pages here
    context = ServerContext.of(
        jobs, ServerOptions.of(MetricsOptions, options, authenticate=_anybody, hosts=names)
    )

    async def metrics(request: Request) -> Response:
        try:
            found = await unless_gone(request.receive, partial(context.operations.store.metrics, ANYBODY))
        except Exception as error:  # noqa: BLE001  # an error of one request is its answer
            return problem_response(to_problem("a request failed", error))
        return Response(found, media_type=EXPOSITION)

    routes = [*(Route(path, metrics) for path in ("/metrics", "/v1/metrics")), *probes(context)]
    app = Starlette(routes=routes, middleware=[Middleware(Guard, context=context)])
    await serve_http1(context, app, _no_websocket, "http", task_status.started)


async def _anybody(_: Mapping[str, str]) -> Caller:  # noqa: ASYNC124  # as `authenticate` has it
    return ANYBODY


async def _no_websocket(stream: PeerStream) -> None:
    """Close a connection that asks for a WebSocket: there are none here."""
    await trio.aclose_forcefully(stream)
