"""`openai_front`: jobs for clients of OpenAI's Responses and chat completions. Here are its routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response as HttpResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ...._common.errors import UnknownJob, quoted
from ...._json.values import written
from ...._model.job import Job
from ...._wire.events import LARGE
from ...._wire.requests import BadRequest, Cancel
from ...context import ServerContext
from ...http.asgi import answered, unless_gone
from ...http.asked import body_of, key_of
from ...http.event_stream import EventStreamResponse
from ...http.responses import JSON
from ...options import Caller
from ...problems import Problem
from ...sse import cursor_of
from ..left import Readers
from ..models import Models
from ..routes import long_answer
from ..routes import route as front_route
from .asked import NewCompletion, NewResponse
from .completions import Completion, error
from .responses import MOST, Response
from .streams import CompletionStream, ResponseStream

_ROOM: Final = 4 * MOST + LARGE
_BATCH: Final = 256


def openai_front(context: ServerContext) -> Sequence[Route]:
    """Return the routes of OpenAI's protocols, `/v1/responses` and `/v1/chat/completions`: a front.

    Give it to a server, as in `serve_http(jobs, fronts=[openai_front])`. The base URL of clients is that of
    the server with `/v1`. Each handler with a parameter `messages` is a model, by its name.
    """
    front, route = _Front(context), partial(front_route, context, refusal=_refusal)
    return [
        route("GET", "/v1/models", front.models),
        route("POST", "/v1/responses", front.create),
        route("GET", "/v1/responses/{id}", front.retrieve),
        route("POST", "/v1/responses/{id}/cancel", front.cancel),
        route("POST", "/v1/chat/completions", front.complete),
    ]


def _refusal(problem: Problem) -> HttpResponse:
    """Return a problem in the form in which these clients read it."""
    kind = "server_error" if problem.is_fault else "invalid_request_error"
    body = written("an error", error(problem.code, problem.message, kind))
    return HttpResponse(body, problem.status, {**problem.headers, "content-type": JSON})


class _Front:
    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._operations = context.operations
        self._models = Models(context.operations.functions)
        self._readers = Readers(context.operations)

    async def models(self, _: Request, __: Caller) -> ASGIApp:  # noqa: ASYNC124  # as the others
        names = self._models.names()
        data = [{"id": one, "object": "model", "created": 0, "owned_by": "trio_jobs"} for one in names]
        return HttpResponse(written("the models", {"object": "list", "data": data}), media_type=JSON)

    # ------------------------------------------------------------ responses

    async def create(self, request: Request, caller: Caller) -> ASGIApp:
        asked = await body_of(self._context, request, NewResponse)
        if not (asked.background or asked.stream):
            raise BadRequest("nobody waits here for a whole answer: send background=true, or stream=true")
        job_id = await self._submit(request, caller, asked)
        if not asked.stream:
            return self._shown(caller, job_id)
        stream = partial(self._response_stream, caller, job_id, 0)
        return await stream() if asked.background else self._owned(stream, caller, job_id)

    async def retrieve(self, request: Request, caller: Caller) -> ASGIApp:
        job_id, query = request.path_params["id"], request.query_params
        if (wanted := query.get("stream", "false")) not in {"true", "false"}:
            raise BadRequest(f"stream is true or false; got {quoted(wanted)}")
        if wanted == "true":
            after = cursor_of(query.get("starting_after")) or 0
            return await unless_gone(request.receive, partial(self._response_stream, caller, job_id, after))
        return self._shown(caller, job_id)

    async def cancel(self, request: Request, caller: Caller) -> ASGIApp:
        job_id = request.path_params["id"]
        await unless_gone(request.receive, partial(self._stop, caller, job_id))
        return self._shown(caller, job_id)

    async def _stop(self, caller: Caller, job_id: str) -> None:
        await self._job(caller, job_id)
        await self._operations.cancel(caller, Cancel(1, job_id))

    async def _response_stream(self, caller: Caller, job_id: str, after: int) -> ASGIApp:
        job = self._checked(await self._operations.place(caller, job_id, after, "gap"))
        dialect = ResponseStream(Response(job), after)
        return EventStreamResponse(self._context, caller, job, 0, "gap", dialect=dialect)

    async def _job(self, caller: Caller, job_id: str) -> Job:
        return self._checked(await self._operations.get(caller, job_id))

    def _checked(self, job: Job) -> Job:
        """Return a job of a model; no other job exists for these clients."""
        if job.handler not in self._models:
            raise UnknownJob(job.id)
        return job

    def _shown(self, caller: Caller, job_id: str) -> ASGIApp:
        return long_answer(self._context, _ROOM, partial(self._answer, caller, job_id), _refusal)

    async def _answer(self, caller: Caller, job_id: str) -> ASGIApp:
        """Return the response that a job is now, as JSON."""
        job = await self._job(caller, job_id)
        response, seq = Response(job), 0
        while seq < job.last_seq and (events := await self._operations.read(job, seq, _BATCH)):
            for event in events:
                response.take(event)
            seq = events[-1].seq
        return HttpResponse(written("the response", response.shown()), media_type=JSON)

    # ------------------------------------------------------------ chat completions

    async def complete(self, request: Request, caller: Caller) -> ASGIApp:
        asked = await body_of(self._context, request, NewCompletion)
        if not asked.stream:
            raise BadRequest("nobody waits here for a whole answer: send stream=true")
        job_id = await self._submit(request, caller, asked)

        async def stream() -> ASGIApp:
            job = await self._job(caller, job_id)
            dialect = CompletionStream(Completion(job, asked.with_usage))
            return EventStreamResponse(self._context, caller, job, 0, "gap", dialect=dialect)

        return self._owned(stream, caller, job_id)

    # ------------------------------------------------------------ both

    async def _submit(self, request: Request, caller: Caller, asked: NewResponse | NewCompletion) -> str:
        new = self._models.new_job(asked.model, asked.fields(), asked.options(key_of(request)))
        return await self._operations.submit(caller, new)

    def _owned(self, stream: Callable[[], Awaitable[ASGIApp]], caller: Caller, job_id: str) -> ASGIApp:
        """Return what sends a stream; its job is cancelled with the last one, as nobody can come back."""

        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            async with self._readers.reading(caller, job_id):
                await (await answered(stream, _refusal))(scope, receive, send)

        return respond
