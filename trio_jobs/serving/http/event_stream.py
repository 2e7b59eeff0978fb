"""A job's log as the response to a request: server-sent events until the end, or until the client leaves."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from operator import attrgetter
from typing import Final

import trio
from starlette.types import Receive, Scope, Send

from ..._model.job import Job
from ..._watching.readers import Policy
from ..context import ServerContext
from ..feed import Feed, Follower
from ..net.direct import DirectBody, direct_body
from ..net.outgoing import PeerGone
from ..options import Caller
from ..problems import INTERNAL, to_problem
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


class EventStreamResponse:
    """An ASGI response. The last write is made outside of the scope that the client's leaving cancels.

    A server may tell the application that the client has gone from within that very write (hypercorn does),
    and a cancellation there would leave the connection open for ever: with `Connection: close` it did.
    """

    def __init__(self, context: ServerContext, caller: Caller, job: Job, after: int, policy: Policy) -> None:
        self._context = context
        self._caller = caller
        self._job = job
        self._subscription = Subscription(0, job.id, policy, None, after, after)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the log."""
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        if scope["method"] != "HEAD":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_when_gone, receive, nursery.cancel_scope)
                nursery.start_soon(self._until_closing, nursery.cancel_scope)
                await _send(send, _RETRY)
                await self._write(send, direct_body(scope))
                nursery.cancel_scope.cancel(reason="the log has ended")
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _until_closing(self, scope: trio.CancelScope) -> None:
        await self._context.wait_closing(self._caller)
        scope.cancel(reason="the server stops, or the caller's authentication has expired")

    async def _write(self, send: Send, direct: DirectBody | None) -> None:
        write = partial(_send, send) if direct is None else direct.send
        subscription = self._subscription
        try:
            with self._context.operations.following(subscription, self._job) as feed:
                form = attrgetter("chunk" if direct is not None and direct.chunked else "sse")
                follower = Follower(subscription, None if direct is None else direct.outgoing, form)
                while (data := await self._next(feed, follower)) is not None:
                    await write(data)
                    feed.readers.advanced(subscription)
        except PeerGone:
            pass
        except Exception as error:  # noqa: BLE001  # the status is sent, so the stream has to say it
            problem = to_problem("an event stream failed", error)
            text = "internal error" if problem is INTERNAL else problem.message
            with suppress(PeerGone):
                await write(message("problem", text, subscription.sent).encode())

    async def _next(self, feed: Feed, follower: Follower) -> bytes | None:
        with trio.move_on_after(self._context.limits.ping * _PING_SHARE):
            batch = await feed.next(follower)
            if batch is None:
                return None
            self._subscription.moved(batch.last)
            return batch.sse
        return PING


async def _send(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})
