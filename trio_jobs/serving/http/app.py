"""`http_app`: jobs over HTTP, as an ASGI application that any server or framework on Trio can mount.

The dual call: `POST /v1/jobs` answers at once with the job's id and where to read it, and the log is read
there as server-sent events. What may be done, and by whom, is decided in `operations.py` and `access.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias, Unpack

import attrs
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp

from ..._registry.registry import JobRegistry
from ..context import ServerContext
from ..options import AccessOptions, AppOptions, Front, ServerOptions
from ..problems import INTERNAL, Problem
from .asgi import Guard, answered, problem_response, serve_socket
from .assets import page_routes
from .endpoints import ENDPOINTS, Endpoint, base_of
from .openapi import openapi
from .probes import probes
from .responses import JSON

Respond: TypeAlias = Callable[[Request], Awaitable[ASGIApp]]

_SERVER: Final = "the URL that the paths begin with"
"""The place of the server's URL in the OpenAPI document, which is made once; each request has its own URL."""
_SENT: Final = ("authorization", "content-type", "idempotency-key", "last-event-id")
_READ: Final = ("location", "retry-after")
"""The headers that pages of other sites may send and read, if there are no fronts."""


def http_app(jobs: JobRegistry, **options: Unpack[AppOptions]) -> Starlette:
    """Return an ASGI application that serves a registry's jobs; `serve_http` serves it by itself.

    It needs no lifespan of its own, so it can be mounted anywhere. It runs on Trio. The registry must be open
    while the application is used. `ServerOptions` says what the options mean.

    Raises:
        TypeError: An option is unknown, or has a wrong type.
        ValueError: A front has a path of another one, or of the server.
    """
    return app_of(ServerContext.of(jobs, ServerOptions.of(AppOptions, options)), websocket=True)


def front_app(jobs: JobRegistry, *fronts: Front, **options: Unpack[AccessOptions]) -> Starlette:
    """Return an ASGI application that has fronts only: it can do what their protocols say, and nothing else.

    Mount it as you would an `http_app`. `ServerOptions` says what the options mean.

    Args:
        jobs: The registry.
        fronts: The protocols, such as `openai_front`.
        options: The options.

    Raises:
        TypeError: An option is unknown, or has a wrong type, or something is no front.
        ValueError: A front has a path of another one.
    """
    found = ServerOptions.of(AccessOptions, options)
    return _guarded(ServerContext.of(jobs, attrs.evolve(found, fronts=fronts)), ())


def app_of(context: ServerContext, *, websocket: bool) -> Starlette:
    """Return the application. Event streams end when `closing` is set."""
    routes = [*_routes(context), *(page_routes() if context.options.page else ())]
    if websocket:
        routes.append(WebSocketRoute("/v1/ws", partial(serve_socket, context)))
    return _guarded(context, routes)


def _guarded(context: ServerContext, routes: Sequence[BaseRoute]) -> Starlette:
    """Return the application of some routes, and those of the fronts, behind the checks of every request."""
    routes = [*routes, *(route for front in context.options.fronts for route in front(context))]
    found = (one for one in routes if isinstance(one, Route))
    paths = Counter((one.path, method) for one in found for method in one.methods or ())
    for (path, _), times in paths.items():
        if times > 1:  # the second would never be asked
            raise ValueError(f"{path} is served twice; leave a front out, or give one another path=")
    middleware = [Middleware(Guard, context=context)]
    if context.access.origins:
        any_header = ["*"] if context.options.fronts else None  # other clients send and read their own
        middleware.insert(  # around it, so that pages can read what they are refused
            0,
            Middleware(
                CORSMiddleware,
                allow_origins=sorted(context.access.origins),
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=any_header or _SENT,
                expose_headers=any_header or _READ,
            ),
        )
    if context.options.access_log:
        from .access_log import AccessLog  # around all, so that it has what is refused too

        middleware.insert(0, Middleware(AccessLog))
    app = Starlette(
        routes=routes,
        middleware=middleware,
        exception_handlers={HTTPException: _http_error, Exception: _server_error},
    )
    app.router.redirect_slashes = False  # to http://, behind a proxy that speaks TLS
    return app


async def _http_error(_: Request, error: Exception) -> Response:  # noqa: ASYNC124  # as Starlette has it
    if not isinstance(error, HTTPException):
        raise error
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    return problem_response(Problem(code, error.detail, more=error.headers or {}))


async def _server_error(_: Request, __: Exception) -> Response:  # noqa: ASYNC124  # as Starlette has it
    return problem_response(INTERNAL)  # Starlette raises the error, for the server to log


def _routes(context: ServerContext) -> list[BaseRoute]:
    by_path: dict[str, dict[str, Endpoint]] = {}
    for one in ENDPOINTS:
        by_path.setdefault(one.path, {})[one.method] = one
    return [
        *(Route(path, _route(context, by), methods=list(by)) for path, by in by_path.items()),
        Route("/openapi.json", _description(context)),
        *probes(context),
    ]


def _route(context: ServerContext, by_method: Mapping[str, Endpoint]) -> Respond:
    """Return the endpoint of a path: it authenticates, checks, and answers each error with a problem."""

    async def route(request: Request) -> ASGIApp:
        endpoint = by_method["GET" if request.method == "HEAD" else request.method]

        async def work() -> ASGIApp:
            caller = await context.access.caller(dict(request.headers))
            endpoint.check(request.query_params.multi_items())
            return await endpoint.work(context, request, caller)

        return await answered(work)

    return route


def _description(context: ServerContext) -> Respond:
    """Return the endpoint of the OpenAPI document; it names no handlers, so it needs no authentication."""
    guarded = context.options.authenticate is not None
    before, after = msgspec.json.encode(openapi(_SERVER, guarded=guarded)).split(_SERVER.encode())

    async def description(request: Request) -> Response:  # noqa: ASYNC124  # as Starlette has it
        url = msgspec.json.encode(base_of(request))[1:-1]
        return Response(before + url + after, media_type=JSON)

    return description
