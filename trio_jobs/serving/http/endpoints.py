"""The endpoints: where each is, what it takes and what it answers. Routes and OpenAPI are made from them.

`endpoint` makes an entry of `ENDPOINTS` of a function, whose docstring is its description.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import attrs
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from ..._common.errors import quoted
from ..._common.states import State
from ..._common.validate import TAG_NAME, TAG_VALUE, TAGS
from ..._model.job import new_id
from ..._wire import requests
from ..._wire.options import LONGEST_KEY, SubmitOptions
from ..._wire.requests import BadRequest, BulkBody, HandlerNames, NewInputs, NewJob, NewSchedule
from ..answers import Fields
from ..context import ServerContext
from ..options import Caller
from ..sse import cursor_of
from ..values import FIELDS
from .asgi import unless_gone
from .asked import asked_of, body_of, key_of, tags_of, with_key
from .event_stream import EventStreamResponse
from .responses import JSON, answer_to, only, value_of, whole

Work: TypeAlias = Callable[[ServerContext, Request, Caller], Awaitable[ASGIApp]]


@attrs.frozen(kw_only=True)
class Endpoint:
    """One endpoint.

    Attributes:
        method: Its method.
        path: Its path.
        work: Carries a request out.
        answers: The content of its responses as OpenAPI has it, by status.
        problems: Statuses of its problems, besides those that every endpoint has.
        parameters: The parameters of its URL and its headers, as OpenAPI has them.
        request: The request of the wire whose fields a URL may name, too.
        body: The content of its body.
    """

    method: str
    path: str
    work: Work
    answers: Mapping[int, Mapping[str, Any]]
    problems: Sequence[int] = ()
    parameters: Sequence[Mapping[str, Any]] = ()
    request: type[requests.Request] | None = None
    body: Mapping[str, Any] | None = None

    def check(self, given: Iterable[tuple[str, str]]) -> None:
        """Raise `BadRequest` if a URL has a parameter that the endpoint has not, or has one twice.

        Args:
            given: The parameters, by name. If they are fields of a request, that is checked elsewhere.
        """
        known = {one["name"]: one.get("explode", False) for one in self.parameters if one["in"] == "query"}
        seen: set[str] = set()
        for name, _ in given:
            if name not in known and self.request is None:
                has = f"there is {', '.join(sorted(known))}" if known else "there are none"
                raise BadRequest(f"there is no parameter {quoted(name)} here: {has}")
            if name in seen and not known.get(name):
                raise BadRequest(f"the parameter {quoted(name)} is given twice")
            seen.add(name)


ENDPOINTS: Final[list[Endpoint]] = []


def endpoint(method: str, *paths: str, **more: Any) -> Callable[[Work], Work]:
    """Make a function the endpoint of some paths; `more` are attributes of `Endpoint`."""

    def noted(work: Work) -> Work:
        ENDPOINTS.extend(Endpoint(method=method, path=path, work=work, **more) for path in paths)
        return work

    return noted


def ref(name: str) -> Mapping[str, str]:
    """Return a reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def _json_of(name: str) -> Mapping[str, Any]:
    return {JSON: {"schema": ref(name)}}


def _query(name: str, **schema: Any) -> Mapping[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "explode": schema.get("type") == "array"}


def _header(name: str, **schema: Any) -> Mapping[str, Any]:
    return {"name": name, "in": "header", "schema": schema}


_CURSOR: Final = {"type": "string", "pattern": "^[0-9]{0,16}$"}
_TAG: Final = {
    "type": "string",
    "pattern": rf"^[^=\u0000]{{0,{TAG_NAME}}}=[^\u0000]{{0,{TAG_VALUE}}}$",
}
_IDEMPOTENCY_KEY: Final = _header("Idempotency-Key", type="string", minLength=1, maxLength=LONGEST_KEY)
_VALUE: Final[Mapping[int, Any]] = {200: {JSON: {"schema": {}}}}


# ------------------------------------------------------------ submitting, sending and cancelling


@endpoint(
    "POST",
    "/v1/jobs",
    answers={202: _json_of("Accepted")},
    problems=(400, 404, 408, 409, 413, 415, 422),
    parameters=[_IDEMPOTENCY_KEY],
    body=_json_of("NewJob"),
)
async def submit(context: ServerContext, request: Request, caller: Caller) -> ASGIApp:
    """Submit a job. The answer says where to read it; the job is in the store."""
    new = await body_of(context, request, NewJob)
    new = msgspec.structs.replace(new, options=with_key(new.options, key_of(request)))
    return _accepted(request, await context.operations.submit(caller, new))


def _accepted(request: Request, job_id: str) -> Response:
    base = base_of(request)
    where = f"{base}/v1/jobs/{job_id}"
    answer = {"job_id": job_id, "sse_url": f"{where}/stream", "ws_url": f"ws{base[4:]}/v1/ws"}
    return Response(msgspec.json.encode(answer), 202, {"location": where}, JSON)


@endpoint(
    "POST",
    "/v1/jobs/{id}/resubmit",
    answers={202: _json_of("Accepted")},
    problems=(400, 404, 408, 409, 413, 415, 422),
    parameters=[_IDEMPOTENCY_KEY],
    body=_json_of("SubmitOptions"),
)
async def resubmit(context: ServerContext, request: Request, caller: Caller) -> ASGIApp:
    """Submit a job that has ended again, with options in place of those that it had, as a new job."""
    options = with_key(await body_of(context, request, SubmitOptions), key_of(request))
    asked = requests.Resubmit(1, request.path_params["id"], options)
    return _accepted(request, await context.operations.resubmit(caller, asked))


@endpoint(
    "POST",
    "/v1/jobs/bulk",
    answers={200: _json_of("BulkReport")},
    problems=(400, 408, 413, 415, 422),
    body=_json_of("BulkBody"),
)
async def bulk(context: ServerContext, request: Request, caller: Caller) -> ASGIApp:
    """Cancel all jobs that match, or submit them again, or remove them; with `dry_run`, count them only."""
    body = await body_of(context, request, BulkBody)
    return answer_to(context.operations, caller, requests.Bulk(1, body), only("bulk"))


@endpoint(
    "DELETE",
    "/v1/jobs/{id}",
    answers={200: _json_of("Report"), 202: _json_of("Report")},
    problems=(400, 404, 422),
    request=requests.Cancel,
)
async def cancel(context: ServerContext, request: Request, caller: Caller) -> ASGIApp:
    """Cancel a job. The answer says what became of it; with 202, it has not stopped yet."""
    asked = asked_of(request, requests.Cancel, {"job": request.path_params["id"]})
    return answer_to(context.operations, caller, asked, _report)


@endpoint(
    "POST",
    "/v1/jobs/{id}/inputs",
    answers={200: _json_of("Seq")},
    problems=(400, 404, 408, 409, 413, 415, 422),
    parameters=[_IDEMPOTENCY_KEY],
    body=_json_of("NewInputs"),
)
async def send(context: ServerContext, request: Request, caller: Caller) -> ASGIApp:
    """Give a job inputs, all of them or none. With a key the job knows, they are not given again."""
    new = await body_of(context, request, NewInputs)
    key = key_of(request) or new_id()
    asked = requests.Send(1, request.path_params["id"], new.all(), key)
    return answer_to(context.operations, caller, asked)


@endpoint("POST", "/v1/jobs/{id}/inputs/end", answers={200: _json_of("Seq")}, problems=(400, 404, 409))
async def end_inputs(context: ServerContext, request: Request, caller: Caller) -> ASGIApp:
    """Say that a job will get no more inputs; this may be repeated."""
    asked = requests.EndInputs(1, request.path_params["id"])
    return answer_to(context.operations, caller, asked)


# ------------------------------------------------------------ looking


@endpoint("GET", "/v1/jobs/{id}", answers={200: _json_of("Job")}, problems=[404])
async def get(context: ServerContext, request: Request, caller: Caller) -> ASGIApp:
    """Look a job up."""
    asked = requests.Get(1, request.path_params["id"])
    return answer_to(context.operations, caller, asked, only("job"))


@endpoint("GET", "/v1/jobs/{id}/explanation", answers={200: _json_of("Explanation")}, problems=[404])
async def explain(context: ServerContext, request: Request, caller: Caller) -> ASGIApp:
    """Ask why a job does not run, or what it is doing: lines for people."""
    asked = requests.Explain(1, request.path_params["id"])
    return answer_to(context.operations, caller, asked)


@endpoint(
    "GET",
    "/v1/jobs",
    answers={200: _json_of("JobPage")},
    problems=(400, 422),
    parameters=[
        _query("state", type="array", minItems=1, items={"enum": [str(state) for state in State]}),
        _query("tag", type="array", minItems=1, maxItems=TAGS, items=_TAG),
        _query("cursor", type="string", pattern="^[0-9]{1,18}$", description="The `next` of a page."),
    ],
    request=requests.List,
)
async def find(context: ServerContext, request: Request, caller: Caller) -> ASGIApp:
    """List the jobs that match, page by page. `next` is the cursor of the next page."""
    states, tags = request.query_params.getlist("state"), tags_of(request.query_params.getlist("tag"))
    given = {name: value for name, value in (("state", states), ("tags", tags)) if value}
    return answer_to(context.operations, caller, asked_of(request, requests.List, given, "state", "tag"))


@endpoint(
    "GET",
    "/v1/jobs/{id}/history",
    answers={200: _json_of("HistoryPage")},
    problems=(400, 404, 422),
    request=requests.History,
)
async def history(context: ServerContext, request: Request, caller: Caller) -> ASGIApp:
    """Read a job's events but for tokens, progress and inputs."""
    asked = asked_of(request, requests.History, {"job": request.path_params["id"]})
    return answer_to(context.operations, caller, asked)


@endpoint(
    "GET",
    *(f"/v1/jobs/{{id}}/{name}" for name in FIELDS),
    answers=_VALUE,
    problems=(400, 404, 409, 422),
)
async def field(context: ServerContext, request: Request, caller: Caller) -> ASGIApp:
    """Read one value of a job, however large it is."""
    look = partial(context.operations.get, caller, request.path_params["id"])
    job = await unless_gone(request.receive, look)
    name: Any = request.url.path.rpartition("/")[2]
    asked = requests.GetValue(1, job.id, name, job.last_seq)
    return await unless_gone(request.receive, partial(value_of, context.operations, caller, asked))


@endpoint("GET", "/v1/jobs/{id}/history/{seq}", answers=_VALUE, problems=(400, 404, 409))
async def data(context: ServerContext, request: Request, caller: Caller) -> ASGIApp:
    """Read the data of one event, however large it is."""
    job_id, seq = request.path_params["id"], cursor_of(request.path_params["seq"]) or 0
    asked = requests.GetValue(1, job_id, "data", seq)
    return await unless_gone(request.receive, partial(value_of, context.operations, caller, asked))


@endpoint(
    "GET",
    "/v1/jobs/{id}/stream",
    answers={200: {"text/event-stream": {}}, 204: {}},
    problems=(400, 404, 409),
    parameters=[
        _query("after", **_CURSOR),
        _query("policy", enum=["gap", "block"]),
        _header("Last-Event-ID", **_CURSOR),
    ],
)
async def stream(context: ServerContext, request: Request, caller: Caller) -> ASGIApp:
    """Read a job's log behind a cursor, and then live, as server-sent events. With 204 it has been read."""
    query = request.query_params
    resumed = cursor_of(request.headers.get("last-event-id"))
    after = (cursor_of(query.get("after")) or 0) if resumed is None else resumed
    policy: Any = query.get("policy", "gap")
    if policy not in {"gap", "block"}:
        raise BadRequest(f"policy is gap or block; got {policy[:40]!r}")
    look = partial(context.operations.place, caller, request.path_params["id"], after, policy)
    job = await unless_gone(request.receive, look)
    if job.state.over and after == job.last_seq:
        return Response(status_code=204)  # the client has read the end; EventSource does not come back
    return EventStreamResponse(context, caller, job, after, policy)


@endpoint("GET", "/v1/handlers", answers={200: _json_of("Handlers")})
async def handlers(context: ServerContext, _: Request, caller: Caller) -> ASGIApp:
    """Ask what can be submitted, and what the caller may do."""
    return answer_to(context.operations, caller, requests.ListHandlers(1))


# ------------------------------------------------------------ the store as a whole


@endpoint(
    "POST",
    "/v1/pause",
    "/v1/resume",
    answers={200: _json_of("Statistics")},
    problems=(400, 408, 413, 415, 422),
    body=_json_of("HandlerNames"),
)
async def pause(context: ServerContext, request: Request, caller: Caller) -> ASGIApp:
    """Pause handlers, or resume them, for all workers of the store: those named, or all with null."""
    names = await body_of(context, request, HandlerNames)
    kind = requests.Pause if request.url.path.endswith("/pause") else requests.Resume
    return answer_to(context.operations, caller, kind(1, names.handlers), only("statistics"))


@endpoint("GET", "/v1/metrics", answers={200: {"text/plain": {"schema": {"type": "string"}}}})
async def metrics(context: ServerContext, request: Request, caller: Caller) -> ASGIApp:
    """Ask for metrics, as Prometheus reads them."""
    found = await unless_gone(request.receive, partial(context.operations.store.metrics, caller))
    return Response(found, media_type="text/plain; version=0.0.4")


@endpoint(
    "POST",
    "/v1/schedules",
    answers={200: _json_of("Schedules")},
    problems=(400, 408, 409, 413, 415, 422),
    body=_json_of("NewSchedule"),
)
async def add_schedule(context: ServerContext, request: Request, caller: Caller) -> ASGIApp:
    """Add a schedule, or change one that was added; for callers who see all jobs."""
    new = await body_of(context, request, NewSchedule)
    return answer_to(context.operations, caller, requests.AddSchedule(1, new))


def _simple(method: str, path: str, kind: type[requests.Request], part: str | None = None) -> None:
    """Make the endpoint of a request whose fields, as names of any characters, are in the URL.

    It is described as the request is. The response is the answer, or the named part of it.
    """
    shape = whole if part is None else only(part)

    async def work(context: ServerContext, request: Request, caller: Caller) -> ASGIApp:
        return answer_to(context.operations, caller, asked_of(request, kind, {}), shape)

    work.__doc__ = f"{str(kind.__doc__).partition('. ')[0]}; for callers who see all jobs."
    schema = (part or path.split("/")[2]).capitalize()
    takes = kind if len(kind.__struct_fields__) > 1 else None
    problems = () if method == "GET" else (404, 409, 422)
    endpoint(method, path, answers={200: _json_of(schema)}, problems=problems, request=takes)(work)


_simple("GET", "/v1/statistics", requests.GetStatistics, "statistics")
_simple("GET", "/v1/overview", requests.GetOverview, "overview")
_simple("GET", "/v1/schedules", requests.ListSchedules)
_simple("POST", "/v1/schedules/remove", requests.RemoveSchedule)
_simple("POST", "/v1/schedules/pause", requests.PauseSchedule)
_simple("POST", "/v1/schedules/resume", requests.ResumeSchedule)
_simple("POST", "/v1/schedules/trigger", requests.TriggerSchedule, "job")
_simple("GET", "/v1/limits", requests.ListLimits)
_simple("POST", "/v1/limits/set", requests.SetLimit)
_simple("POST", "/v1/limits/unset", requests.UnsetLimit)


def base_of(request: Request) -> str:
    """Return the URL that the paths begin with, behind a proxy and where it is mounted too."""
    outer = request.url
    # A client that forges this header misleads only itself: no other client is given the URL.
    scheme = "https" if request.headers.get("x-forwarded-proto", outer.scheme) == "https" else "http"
    return f"{scheme}://{outer.netloc}{request.scope.get('root_path', '')}"


def _report(found: Fields) -> Response:
    stopped = msgspec.json.decode(found["report"])["outcome"] not in {"requested", "stuck"}
    return Response(found["report"], 200 if stopped else 202, media_type=JSON)
