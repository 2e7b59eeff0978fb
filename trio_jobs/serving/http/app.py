"""`http_app`: jobs over HTTP, as an ASGI application that any server or framework on Trio can mount.

The dual call: `POST /v1/jobs` answers at once with the job's id and where to read it, and the log is read
there as server-sent events. What may be done, and by whom, is decided in `operations.py` and `access.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from ..._common.validate import TAGS
from ..._registry.registry import JobRegistry
from ..._wire.requests import (
    LONGEST_KEY,
    BadRequest,
    Cancel,
    Get,
    GetStatistics,
    GetValue,
    History,
    List,
    ListHandlers,
    NewJob,
    decode_new_job,
)
from ..answers import Fields
from ..context import ServerContext
from ..limits import DEFAULT, Limits
from ..options import Authenticate, Caller, ServerOptions
from ..problems import INTERNAL, Problem, Refused, to_problem
from ..sse import cursor_of
from ..values import FIELDS
from .asgi import PROBE, Guard, SocketEndpoint, problem_response
from .assets import page_routes
from .body import read_body
from .event_stream import EventStreamResponse
from .metrics import exposition
from .openapi import openapi
from .parameters import check_parameters
from .responses import JSON, AnswerResponse, ValueResponse

Answer: TypeAlias = Response | EventStreamResponse | AnswerResponse | ValueResponse
Endpoint: TypeAlias = Callable[[Request, Caller], Awaitable[Answer]]

_SERVER: Final = "the URL that the paths begin with"
"""Stands in the OpenAPI document, which is made once, for what each client knows the server by."""


def http_app(
    jobs: JobRegistry,
    *,
    authenticate: Authenticate | None = None,
    hosts: Iterable[str] = (),
    origins: Iterable[str] = (),
    limits: Limits = DEFAULT,
    tracebacks: bool = False,
    page: bool = True,
) -> Starlette:
    """Return an ASGI application that serves a registry's jobs; `serve_http` serves it by itself.

    It needs no lifespan of its own, so it can be mounted anywhere. It runs on Trio. The registry must be open
    while the application is used. `ServerOptions` says what the options mean.

    Raises:
        TypeError: An option has a wrong type.
    """
    options = ServerOptions(
        authenticate=authenticate,
        hosts=hosts,
        origins=origins,
        limits=limits,
        tracebacks=tracebacks,
        page=page,
    )
    return app_of(ServerContext.of(jobs, options), websocket=True)


def app_of(context: ServerContext, *, websocket: bool) -> Starlette:
    """Return the application. Event streams end when `closing` is set."""
    routes = [*_Api(context).routes(), *(page_routes() if context.options.page else ())]
    if websocket:
        routes.append(WebSocketRoute("/v1/ws", SocketEndpoint(context)))
    access = context.access
    middleware = [Middleware(Guard, access=access)]
    if access.origins:
        middleware.insert(  # around it, so that pages can read what they are refused
            0,
            Middleware(
                CORSMiddleware,
                allow_origins=sorted(access.origins),
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["authorization", "content-type", "idempotency-key", "last-event-id"],
                expose_headers=["location", "retry-after"],
            ),
        )
    app = Starlette(
        routes=routes,
        middleware=middleware,
        exception_handlers={HTTPException: _not_there, Exception: _mistake},
    )
    app.router.redirect_slashes = False  # to http://, behind a proxy that speaks TLS
    return app


async def _not_there(_: Request, error: Exception) -> Response:  # noqa: ASYNC124  # as Starlette has it
    if not isinstance(error, HTTPException):
        raise error
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    return problem_response(Problem(code, error.status_code, error.detail, headers=dict(error.headers or {})))


async def _mistake(_: Request, __: Exception) -> Response:  # noqa: ASYNC124  # as Starlette has it
    return problem_response(INTERNAL)  # Starlette raises the error, for the server to log


class _Api:
    """The endpoints under `/v1`."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._operations = context.operations
        document = msgspec.json.encode(openapi(_SERVER, guarded=context.access.asks))
        self._document = document.split(_SERVER.encode())

    def routes(self) -> list[BaseRoute]:
        """Return where everything is."""
        table: list[tuple[str, str, Endpoint]] = [
            ("POST", "/v1/jobs", self.submit),
            ("GET", "/v1/jobs", self.list),
            ("GET", "/v1/jobs/{id}", self.get),
            ("DELETE", "/v1/jobs/{id}", self.cancel),
            *(("GET", f"/v1/jobs/{{id}}/{name}", self.field) for name in FIELDS),
            ("GET", "/v1/jobs/{id}/history", self.history),
            ("GET", "/v1/jobs/{id}/history/{seq}", self.data),
            ("GET", "/v1/jobs/{id}/stream", self.stream),
            ("GET", "/v1/handlers", self.handlers),
            ("GET", "/v1/statistics", self.statistics),
            ("GET", "/v1/metrics", self.metrics),
        ]
        by_path: dict[str, dict[str, Endpoint]] = {}
        for method, path, endpoint in table:
            by_path.setdefault(path, {})[method] = endpoint
        return [
            *(Route(path, self._endpoint(path, by), methods=list(by)) for path, by in by_path.items()),
            Route("/openapi.json", self.openapi),
            Route(PROBE, _health),
        ]

    def _endpoint(self, path: str, by_method: dict[str, Endpoint]) -> Callable[[Request], Awaitable[Answer]]:
        """Return an endpoint that knows who asks, and says in the same way whatever goes wrong."""

        async def endpoint(request: Request) -> Answer:
            method = "GET" if request.method == "HEAD" else request.method
            work = by_method[method]
            try:
                caller = await self._context.access.caller(dict(request.headers))
                check_parameters(method, path, request.query_params.multi_items())
                return await work(request, caller)
            except ClientDisconnect:
                return Response(status_code=400)  # that nobody reads
            except Exception as error:  # noqa: BLE001  # whatever it is, this client is told, and nobody else
                return problem_response(to_problem("a request failed", error))

        return endpoint

    # ------------------------------------------------------------ submitting and cancelling

    async def submit(self, request: Request, caller: Caller) -> Response:
        """`POST /v1/jobs`: accept a job, and say where to read it."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
            raise Refused("wrong_type", f"the body must be JSON: send 'Content-Type: {JSON}'")
        limits = self._context.limits
        new = decode_new_job(await read_body(request, limits), limits.depth)
        job_id = await self._operations.submit(caller, _with_key(new, request.headers.get("idempotency-key")))
        base = _base(request)
        where = f"{base}/v1/jobs/{job_id}"
        answer = {"job_id": job_id, "sse_url": f"{where}/stream", "ws_url": f"ws{base[4:]}/v1/ws"}
        return _json(msgspec.json.encode(answer), 202, location=where)

    async def cancel(self, request: Request, caller: Caller) -> Answer:
        """`DELETE /v1/jobs/{id}`: cancel a job, and say what became of it."""
        asked = _query(request, Cancel, {"job": request.path_params["id"]})
        return AnswerResponse(self._operations, caller, asked, _report)

    # ------------------------------------------------------------ looking

    async def get(self, request: Request, caller: Caller) -> Answer:
        """`GET /v1/jobs/{id}`: a job."""
        return AnswerResponse(
            self._operations, caller, Get(1, request.path_params["id"]), lambda found: _json(found["job"])
        )

    async def list(self, request: Request, caller: Caller) -> Answer:
        """`GET /v1/jobs`: a page of the jobs that match."""
        states, tags = request.query_params.getlist("state"), _tags(request.query_params.getlist("tag"))
        given: dict[str, Any] = {"state": states} if states else {}
        if tags:
            given["tags"] = tags
        return AnswerResponse(self._operations, caller, _query(request, List, given, ("state", "tag")))

    async def history(self, request: Request, caller: Caller) -> Answer:
        """`GET /v1/jobs/{id}/history`: a job's events but for tokens and progress."""
        return AnswerResponse(
            self._operations, caller, _query(request, History, {"job": request.path_params["id"]})
        )

    async def field(self, request: Request, caller: Caller) -> Answer:
        """`GET /v1/jobs/{id}/result`, `saved`, `metadata`: one value of a job, however large it is."""
        job = await self._operations.get(caller, request.path_params["id"])
        name: Any = request.url.path.rpartition("/")[2]
        return await self._value(caller, GetValue(1, job.id, name, job.last_seq))

    async def data(self, request: Request, caller: Caller) -> Answer:
        """`GET /v1/jobs/{id}/history/{seq}`: the data of one event, however large it is."""
        seq = cursor_of(request.path_params["seq"])
        return await self._value(caller, GetValue(1, request.path_params["id"], "data", seq or 0))

    async def _value(self, caller: Caller, asked: GetValue) -> Answer:
        size = len((await self._operations.value(caller, asked)).data)
        return ValueResponse(self._operations, caller, asked, size)

    async def stream(self, request: Request, caller: Caller) -> Answer:
        """`GET /v1/jobs/{id}/stream`: a job's log behind a cursor, and then live, as server-sent events."""
        query = request.query_params
        resumed = cursor_of(request.headers.get("last-event-id"))
        after = (cursor_of(query.get("after")) or 0) if resumed is None else resumed
        policy: Any = query.get("policy", "gap")
        if policy not in {"gap", "block"}:
            raise BadRequest(f"policy is gap or block; got {policy[:40]!r}")
        job = await self._operations.place(caller, request.path_params["id"], after)
        if job.state.over and after == job.last_seq:
            return Response(status_code=204)  # the end was told: EventSource does not come back after this
        return EventStreamResponse(self._context, caller, job, after, policy)

    async def handlers(self, _: Request, caller: Caller) -> Answer:
        """`GET /v1/handlers`: what can be submitted."""
        return AnswerResponse(self._operations, caller, ListHandlers(1))

    async def statistics(self, _: Request, caller: Caller) -> Answer:
        """`GET /v1/statistics`: what the registry is doing."""
        return AnswerResponse(
            self._operations, caller, GetStatistics(1), lambda found: _json(found["statistics"])
        )

    async def metrics(self, _: Request, caller: Caller) -> Answer:
        """`GET /v1/metrics`: the same for Prometheus."""
        text = exposition(await self._operations.statistics(caller))
        return Response(text, media_type="text/plain; version=0.0.4")

    async def openapi(self, request: Request) -> Response:  # noqa: ASYNC124  # as Starlette has it
        """`GET /openapi.json`: all this for programs; it names no handlers, so it is for everybody."""
        before, after = self._document
        return _json(before + msgspec.json.encode(_base(request))[1:-1] + after)


async def _health(_: Request) -> Response:  # noqa: ASYNC124  # as Starlette has it
    return Response("ok\n", media_type="text/plain")


def _base(request: Request) -> str:
    """Return the URL that the paths begin with, behind a proxy and where it is mounted too."""
    outer = request.url
    # A client that lies here misleads nobody but itself: the URL is told to no one else.
    scheme = "https" if request.headers.get("x-forwarded-proto", outer.scheme) == "https" else "http"
    return f"{scheme}://{outer.netloc}{request.scope.get('root_path', '')}"


def _json(data: bytes | str, status: int = 200, **headers: str) -> Response:
    return Response(data, status, headers, media_type=JSON)


def _report(found: Fields) -> Response:
    outcome = msgspec.json.decode(found["report"])["outcome"]
    return _json(found["report"], 202 if outcome in {"requested", "stuck"} else 200)


def _with_key(new: NewJob, key: str | None) -> NewJob:
    if key is None:
        return new
    if new.options.key not in (key, None, msgspec.UNSET):
        raise BadRequest("Idempotency-Key and options.key differ; give one of them")
    if not 1 <= len(key) <= LONGEST_KEY:
        raise BadRequest(f"Idempotency-Key has 1 to {LONGEST_KEY} characters")
    return msgspec.structs.replace(new, options=msgspec.structs.replace(new.options, key=key))


def _query(request: Request, kind: type[Any], given: dict[str, Any], apart: tuple[str, ...] = ()) -> Any:
    """Return what the parameters of a URL ask for, checked as a message of the wire is."""
    query = {name: value for name, value in request.query_params.items() if name not in apart}
    for name in ("id", "job", "op"):
        if name in query:
            raise BadRequest(f"there is no parameter {name!r}")
    try:
        return msgspec.convert(
            {"op": kind.__struct_config__.tag, "id": 1, **query, **given}, kind, strict=False
        )
    except msgspec.ValidationError as error:
        raise BadRequest(str(error)) from None


def _tags(texts: Sequence[str]) -> dict[str, str]:
    if len(texts) > TAGS:
        raise BadRequest(f"there may be at most {TAGS} tags; got {len(texts)}")
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadRequest(f"tag takes name=value, as in tag=user=7; got {text[:40]!r}")
        found[name] = value
    return found
