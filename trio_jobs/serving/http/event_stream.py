"""A job's log as the response to a request: server-sent events until the end, or until the client leaves."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from operator import attrgetter
from typing import Final, Protocol

import trio
from starlette.types import Receive, Scope, Send

from ..._model.job import Event, Job
from ..._watching.readers import Policy
from ..context import ServerContext
from ..feed import Feed, Follower
from ..net.direct import DirectBody, direct_body
from ..net.outgoing import PeerGone
from ..options import Caller
from ..problems import INTERNAL, Problem, to_problem
from ..sse import PING, message
from ..subscription import Subscription
from .asgi import cancel_when_gone

_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
]
_PING_SHARE: Final = 0.75
_RETRY: Final = b"retry: 1000\n"  # with the first event: some clients take it for an event itself

CUT_OFF: Final = Problem("closing", "the server stops, or your authentication has expired; come back")
"""What a dialect says of a stream that ends so: without, clients would take what they have for the whole."""


class Dialect(Protocol):
    """How one stream writes the events of a log, where that is not the wire of this package.

    It may keep what it has seen, as it is given each event once and in order.
    """

    @property
    def over(self) -> bool:
        """Whether the stream has said all that it will say, although the log goes on."""
        ...

    def write(self, events: Sequence[Event], /) -> bytes:
        """Return events as they are sent; nothing if the protocol has no word for them."""
        ...

    def fault(self, problem: Problem, /) -> bytes:
        """Return what says that the stream breaks off, and why; also if it is `CUT_OFF`."""
        ...


class EventStreamResponse:
    """An ASGI response. The last write is made outside of the scope that the client's leaving cancels.

    A server may tell the application that the client has gone from within that very write (hypercorn does),
    and a cancellation there would leave the connection open for ever: with `Connection: close` it did.

    Args:
        context: The context of the server.
        caller: The caller.
        job: The job, as `place` has returned it.
        after: The cursor to read behind.
        policy: Whether the handler waits for the client.
        dialect: How events are written; None is the wire of this package.
        headers: Headers of the response besides those of every event stream.
        begin: What a dialect sends before all events.
    """

    def __init__(
        self,
        context: ServerContext,
        caller: Caller,
        job: Job,
        after: int,
        policy: Policy,
        *,
        dialect: Dialect | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
        begin: bytes = b"",
    ) -> None:
        self._dialect = dialect
        self._headers = [*_HEADERS, *headers]
        self._begin = begin if dialect is not None else _RETRY
        self._context = context
        self._caller = caller
        self._job = job
        self._subscription = Subscription(0, job.id, policy, None, after, after)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the log."""
        dialect, whole = self._dialect, scope["method"] == "HEAD"
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        if not whole:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_when_gone, receive, nursery.cancel_scope)
                nursery.start_soon(self._until_closing, nursery.cancel_scope)
                await _send(send, self._begin)  # with it, the head is sent
                await self._write(send, direct_body(scope))
                whole = True
                nursery.cancel_scope.cancel(reason="the log has ended")
        last = b"" if whole or dialect is None else dialect.fault(CUT_OFF)
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _until_closing(self, scope: trio.CancelScope) -> None:
        await self._context.wait_closing(self._caller)
        scope.cancel(reason="the server stops, or the caller's authentication has expired")

    async def _write(self, send: Send, direct: DirectBody | None) -> None:
        write = partial(_send, send) if direct is None else direct.send
        subscription = self._subscription
        try:
            with self._context.operations.following(subscription, self._job) as feed:
                form = attrgetter("chunk" if direct is not None and direct.chunked else "sse")
                # What a dialect writes depends on what was sent before: no round of the feed can send it.
                outlet = None if direct is None or self._dialect is not None else direct.outgoing
                follower = Follower(subscription, outlet, form)
                while (data := await self._next(feed, follower)) is not None:
                    if data:
                        await write(data)
                    feed.readers.advanced(subscription)
        except PeerGone:
            pass
        except Exception as error:  # noqa: BLE001  # the status is sent, so the stream has to say it
            problem = to_problem("an event stream failed", error)
            with suppress(PeerGone):
                await write(self._fault(problem))

    def _fault(self, problem: Problem) -> bytes:
        if self._dialect is not None:
            return self._dialect.fault(problem)
        text = "internal error" if problem is INTERNAL else problem.message
        return message("problem", text, self._subscription.sent).encode()

    async def _next(self, feed: Feed, follower: Follower) -> bytes | None:
        dialect = self._dialect
        if dialect is not None and dialect.over:
            return None
        with trio.move_on_after(self._context.limits.ping * _PING_SHARE):
            batch = await feed.next(follower)
            if batch is None:
                return None
            self._subscription.moved(batch.last)
            return batch.sse if dialect is None else dialect.write(batch.events)
        return PING


async def _send(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})
