"""`ai_sdk_front`: chats of the AI SDK. An answer is a job, and the message that it streams has the job's id.

    POST /api/chat                submit a job and stream its message; the same message again is the same job
    GET  /api/chat/{chat}/stream  stream the message of the chat's live job from the beginning, or 204
    POST /api/chat/{chat}/stop    cancel the chat's jobs, and answer what became of each

`?message=ID` of the latter two names one message, as a client has it that lost its connection: it is read
even if its job has ended meanwhile, and a stop that comes late stops nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Final, get_args

import attrs
import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ...._common.errors import KeyConflict, UnknownHandler, UnknownJob, quoted
from ...._common.states import UNFINISHED
from ...._common.validate import choice
from ...._model.job import CancelReport, Job, Policy
from ...._wire.options import SubmitOptions
from ...._wire.requests import BadRequest, Cancel, List
from ...context import ServerContext
from ...describe import describe
from ...http.asgi import unless_gone
from ...http.asked import body_of
from ...http.event_stream import EventStreamResponse
from ...http.responses import JSON
from ...options import Caller, Front
from ..models import job_of
from ..routes import route
from .frames import HEADERS, MessageStream, Restarts

_TAG: Final = "chat"
_NOT_STOPPED: Final = frozenset({"requested", "stuck"})


class Turn(msgspec.Struct, frozen=True, rename="camel"):
    """The body of a POST, as `DefaultChatTransport` sends it; what else it has is for the handler."""

    id: Annotated[str, Meta(min_length=1, max_length=200)]
    messages: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    trigger: str = "submit-message"
    message_id: str | None = None

    def key(self, handler: str) -> str | None:
        """Return the idempotency key; None for an answer that is asked for anew, and that is not named."""
        what: list[Any] = [handler, self.id, self.messages[-1]]
        if self.trigger != "submit-message":
            if self.message_id is None:
                return None
            what.append(self.message_id)
        said = msgspec.json.encode(what, order="sorted")
        return f"chat {hashlib.sha256(said).hexdigest()}"


@attrs.frozen
class _Chats:
    """The routes, for one server."""

    context: ServerContext
    handler: str
    described: Mapping[str, Any]
    on_busy: Policy
    restarts: Restarts

    async def post(self, request: Request, caller: Caller) -> ASGIApp:
        """Submit a job, unless there is one for the message already, and stream its message."""
        body: dict[str, Any] = await body_of(self.context, request, dict[str, Any])
        try:
            turn = msgspec.convert(body, Turn)
        except msgspec.ValidationError as error:
            raise BadRequest(str(error)) from None
        options = SubmitOptions(
            key=turn.key(self.handler),
            exclusive=f"chat {turn.id}",
            on_busy=self.on_busy,
            tags={_TAG: turn.id},
        )
        # Not cancelled if the client leaves: it comes back for the answer.
        try:
            job_id = await self.context.operations.submit(caller, job_of(self.described, body, options))
        except KeyConflict as same:  # the message was sent before, with other fields besides
            job_id = same.job_id
        return self._stream(caller, await self._place(caller, job_id))

    async def resume(self, request: Request, caller: Caller) -> ASGIApp:
        """Stream the message of the chat's live job, or the one that is named."""
        chat, named = asked(request)
        if named is None:
            live = await unless_gone(request.receive, partial(self._live, caller, chat))
            if not live:
                return Response(status_code=204)
            named = live[0]
        job = await unless_gone(request.receive, partial(self._place, caller, named, chat))
        return self._stream(caller, job, since=job.attempt if self.restarts == "error" else 0)

    async def stop(self, request: Request, caller: Caller) -> ASGIApp:
        """Cancel the chat's jobs, or the one that is named, and wait for their ends."""
        chat, named = asked(request)
        report = await unless_gone(request.receive, partial(self._stop, caller, chat, named))
        status = 202 if any(one.outcome in _NOT_STOPPED for one in report.values()) else 200
        stopped = [{"message": job_id, "outcome": one.outcome} for job_id, one in report.items()]
        return Response(msgspec.json.encode({"stopped": stopped}), status, media_type=JSON)

    async def _stop(self, caller: Caller, chat: str, named: str | None) -> dict[str, CancelReport]:
        if named is None:
            found = await self._live(caller, chat)
        else:
            found = [(await self._place(caller, named, chat)).id]
        # The newest first: it may wait for the others, and is not to begin when they end.
        return {one: await self.context.operations.cancel(caller, Cancel(1, one)) for one in found}

    # ------------------------------------------------------------ the jobs of a chat

    async def _live(self, caller: Caller, chat: str) -> list[str]:
        """Return the chat's jobs that have not ended, the newest first."""
        wanted = List(1, state=[*UNFINISHED], tags={_TAG: chat}, handler=self.handler, newest=True)
        found: list[str] = []
        after = None
        while True:
            page = await self.context.operations.find(caller, wanted, after)
            found += [job.id for job in page]
            if (after := page.next) is None:
                return found

    async def _place(self, caller: Caller, job_id: str, chat: str | None = None) -> Job:
        job = await self.context.operations.place(caller, job_id, 0, "gap")
        if chat is not None and (job.handler, job.tags.get(_TAG)) != (self.handler, chat):
            raise UnknownJob(job_id)
        return job

    def _stream(self, caller: Caller, job: Job, since: int = 0) -> ASGIApp:
        message = MessageStream(job.id, self.restarts, since)
        return EventStreamResponse(self.context, caller, job, 0, "gap", dialect=message, headers=HEADERS)


def ai_sdk_front(
    handler: str, *, path: str = "/api/chat", on_busy: Policy = "reject", restarts: Restarts = "continue"
) -> Front:
    """Return a front for chats of the AI SDK, such as those of `useChat`; see `serve_http(fronts=…)`.

    Each answer is a job of one handler, whose parameters are filled by name from the body of the request:
    `messages`, and whatever else the client's `body` has.

    Args:
        handler: The name of the handler.
        path: Where it is, the `api` of the client's transport.
        on_busy: What happens to a message that comes while the chat's last one is being answered, as
            `SubmitOptions.on_busy` has it.
        restarts: What a new attempt is for readers who have seen something of the one before: `continue`
            says so in a `data-restart` part and goes on in a second text part, `error` ends the stream with
            an error, and who resumes it reads the new attempt only.

    Raises:
        TypeError: `handler` is not a name.
        ValueError: `path` does not begin with a slash, or there is no such policy. The front itself, when the
            application is made, raises `UnknownHandler` if the registry has no such handler.
    """
    if not isinstance(handler, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # what a user may give
        raise TypeError(f"handler is the name of a handler, as 'chat'; got {quoted(handler)}")
    if not path.startswith("/") or path.endswith("/"):
        raise ValueError(f"path begins with a slash and ends with none, as '/api/chat'; got {path!r}")
    choice("on_busy", on_busy, get_args(Policy))
    choice("restarts", restarts, get_args(Restarts))

    def front(context: ServerContext) -> Sequence[Route]:
        functions = context.operations.functions
        if handler not in functions:
            raise UnknownHandler(handler, functions)
        chats = _Chats(context, handler, describe(handler, functions[handler]), on_busy, restarts)
        return [
            route(context, "POST", path, chats.post),
            route(context, "GET", path + "/{chat:path}/stream", chats.resume),
            route(context, "POST", path + "/{chat:path}/stop", chats.stop),
        ]

    return front


def asked(request: Request) -> tuple[str, str | None]:
    """Return the chat and, if one is named, the message that a URL asks for."""
    given = dict(request.query_params)
    message = given.pop("message", None)
    if given:
        raise BadRequest(f"there is no parameter {quoted(min(given))} here: there is message")
    return request.path_params["chat"], message
