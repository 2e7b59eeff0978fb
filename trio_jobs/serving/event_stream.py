"""A job's log as the response to a request: server-sent events until the end, or until the client leaves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import trio
from starlette.types import Receive, Scope, Send

from .._audience import Audience, Policy
from .._job import Job
from .asgi import cancel_when_gone
from .desk import Caller, Desk
from .direct import PeerLost, direct_body
from .feed import Feed
from .limits import Limits
from .problems import INTERNAL, told
from .protocol import Following
from .sse import PING, message

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

    def __init__(
        self,
        desk: Desk,
        job: Job,
        after: int,
        policy: Policy,
        *,
        caller: Caller,
        limits: Limits,
        closing: trio.Event,
    ) -> None:
        self._desk = desk
        self._job = job
        self._follow = Following(0, job.id, policy, None, after, after)
        self._expires = caller.expires
        self._ping = limits.ping * _PING_SHARE
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the log."""
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        if scope["method"] != "HEAD":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_when_gone, receive, nursery.cancel_scope)
                nursery.start_soon(self._until_closing, nursery.cancel_scope)
                await _send(send, _RETRY)
                direct = direct_body(scope)
                await self._write(partial(_send, send) if direct is None else direct.send)
                nursery.cancel_scope.cancel(reason="the log has ended")
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _until_closing(self, scope: trio.CancelScope) -> None:
        with trio.move_on_after(float("inf") if self._expires is None else self._expires):
            await self._closing.wait()
        scope.cancel(reason="the server stops, or the caller's authentication has expired")

    async def _write(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        try:
            with self._desk.following(self._follow, self._job) as (feed, audience):
                while (data := await self._next(feed, audience)) is not None:
                    await send(data)
        except PeerLost:
            pass
        except Exception as error:  # noqa: BLE001  # the status is sent; what remains is to say it in the stream
            problem = told("an event stream failed", error)
            text = "internal error" if problem is INTERNAL else problem.message
            await send(message("problem", text, self._follow.sent).encode())

    async def _next(self, feed: Feed, audience: Audience) -> bytes | None:
        follow = self._follow
        audience.advanced(follow)
        with trio.move_on_after(self._ping):
            piece = await feed.after(follow.sent)
            if piece is None:
                return None
            follow.sent = follow.cursor = piece.last
            return piece.sse
        return PING


async def _send(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})
