"""`durable_streams_front`: the log of a job as a stream of the Durable Streams protocol, to be read.

The messages of the stream are the events of the log in JSON, and an offset is a cursor with zeros before it.
The stream is closed when the job has ended. Nothing can be written: a log is written by its job.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Final

import attrs
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ..._common.errors import StreamGap, check_cursor, quoted
from ..._json.values import to_json
from ..._model.job import Event, Job
from ..._wire.events import LARGE, encode_event
from ..._wire.requests import BadRequest
from ..batch import EventBatch, cut
from ..context import ServerContext
from ..feed import Follower
from ..http.asgi import unless_gone
from ..http.event_stream import EventStreamResponse
from ..http.responses import JSON
from ..options import Caller
from ..problems import Problem
from ..sse import cursor_of, on_one_line
from ..subscription import Subscription
from .routes import long_answer, route

_BATCH: Final = 256
_PATIENCE: Final = 20.0  # seconds for which a long poll waits
_offset: Final = "{:016d}".format


def durable_streams_front(context: ServerContext) -> Sequence[Route]:
    """Return the route of Durable Streams, `/v1/streams/{id}`, by which logs can be read: a front.

    Give it to a server, as in `serve_http(jobs, fronts=[durable_streams_front])`.
    """
    return [route(context, "GET", "/v1/streams/{id}", partial(_answer, context), _refusal)]


def _refusal(problem: Problem) -> Response:
    """Return a problem; of a gap, with the offset to go on from, and the status that the protocol has."""
    if problem.code != "stream_gap":
        return Response(problem.body, problem.status, problem.headers)
    body = {**msgspec.json.decode(problem.body), "status": 410}
    resume = {"stream-next-offset": _offset(problem.details["oldest"])}
    return Response(to_json(body), 410, {**problem.headers, **resume})


async def _answer(context: ServerContext, request: Request, caller: Caller) -> ASGIApp:
    operations, query = context.operations, request.query_params
    live = None if (head := request.method == "HEAD") else query.get("live")
    if live not in {None, "long-poll", "sse"}:
        raise BadRequest(f"live is long-poll or sse; got {quoted(live)}")
    offset, *more = ["now"] if head else query.getlist("offset") or ["" if live else "-1"]
    if more or not offset:
        raise BadRequest("give one offset: -1, now, or what Stream-Next-Offset said")
    job = await operations.get(caller, request.path_params["id"])
    after = job.last_seq if offset == "now" else 0 if offset == "-1" else cursor_of(offset) or 0
    check_cursor(job.id, after, job.last_seq)
    if live == "sse":
        await _read(context, job, after)  # which tells of a gap, as long as that can be told
        dialect = _Messages(job.last_seq, operations.tracebacks)
        begin = b"" if after < job.last_seq else dialect.control(after, closed=job.state.over)
        return EventStreamResponse(context, caller, job, after, "gap", dialect=dialect, begin=begin)
    if live == "long-poll" and after == job.last_seq:
        await unless_gone(request.receive, partial(_wait, context, caller, job, after))
        job = await operations.get(caller, job.id)
    return long_answer(context, 2 * LARGE, partial(_page, context, request, job, after, live), _refusal)


async def _wait(context: ServerContext, caller: Caller, job: Job, after: int) -> None:
    """Wait until there is something behind a cursor, for as long as a long poll may."""
    place = Subscription(0, job.id, "gap", None, after, after)
    patience = _PATIENCE if caller.expires is None else min(_PATIENCE, caller.expires)
    with context.until_closing(patience), context.operations.following(place, job) as feed:
        await feed.next(Follower(place, None, attrgetter("json")))


async def _read(context: ServerContext, job: Job, after: int) -> EventBatch | None:
    """Return the events behind a cursor, as many as are sent at once; None if there are none yet.

    Raises:
        StreamGap: They are gone.
    """
    if after == job.last_seq:
        return None
    events = await context.operations.read(job, after, _BATCH)
    batch = next(cut(after, events, tracebacks=context.operations.tracebacks), None)
    if batch is None or not batch.events:
        last = job.last_seq if batch is None else batch.last
        raise StreamGap(job.id, after + 1, last, last)
    return batch


async def _page(context: ServerContext, request: Request, job: Job, after: int, live: str | None) -> Response:
    batch = await _read(context, job, after)
    last = after if batch is None else batch.last
    # A cursor is to be larger than those before, for caches that make one request of many.
    headers = {"stream-next-offset": _offset(last), "stream-cursor": str(time.time_ns())}
    headers |= {"stream-up-to-date": "true"} if last >= job.last_seq else {}
    headers |= {"stream-closed": "true"} if last >= job.last_seq and job.state.over else {}
    if batch is None and live is not None:
        return Response(None, 204, headers)
    headers["etag"] = etag = f'"{after}:{last}"'  # the end of a job is an event, which makes it another
    if etag in request.headers.get("if-none-match", ""):
        return Response(None, 304, headers)
    return Response(b"[]" if batch is None else batch.json, 200, headers, JSON)


@attrs.define
class _Messages:
    """The messages of a stream as server-sent events: a dialect. A gap ends it; who comes back is told."""

    _tail: int
    _tracebacks: bool
    over: bool = attrs.field(default=False, init=False)

    def write(self, events: Sequence[Event]) -> bytes:
        """See `Dialect.write`."""
        if not events:
            self.over = True
            return b""
        texts = [encode_event(event, tracebacks=self._tracebacks).decode() for event in events]
        data = f"event: data\ndata: [{on_one_line(','.join(texts))}]\n\n".encode()
        return data + self.control(events[-1].seq, closed=events[-1].kind.ends)

    def fault(self, _: Problem) -> bytes:
        """See `Dialect.fault`; the protocol has no word for one, and who comes back is told."""
        return b""

    def control(self, last: int, *, closed: bool) -> bytes:
        """Return what says where the stream is."""
        fields: dict[str, Any] = {"streamNextOffset": _offset(last)}
        fields |= {"streamClosed": True} if closed else {"streamCursor": str(time.time_ns())}
        # The end as it was when the reader came: what follows is sent as it comes.
        fields |= {"upToDate": True} if last >= self._tail else {}
        return b"event: control\ndata: %b\n\n" % to_json(fields)
