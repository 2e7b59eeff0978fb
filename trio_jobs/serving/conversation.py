"""One connection, driven: reads messages, does what the session says, writes frames.

A frame, once begun, is written to its end or the connection is done for: half a frame would make nonsense of
all that follows (trio-websocket leaves one if a send is cancelled).
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Final, Protocol

import trio

from .._audience import Audience
from .._bell import Bell
from .account import Account
from .answers import answering
from .desk import Caller, Desk
from .feed import Piece
from .limits import Limits
from .problems import logger, told
from .protocol import POLICY, Begin, Call, Close, Following, Opened, Reply, Session, Step, Stop
from .wire import AnyRequest

GOING_AWAY: Final = 1001
INTERNAL: Final = 1011
_CLOSE_SECONDS: Final = 2.0


class Gone(Exception):
    """The peer has left, or was lost."""


class Pipe(Protocol):
    """A WebSocket connection, whoever's."""

    async def receive(self) -> str | bytes:
        """Return the next message, or raise `Gone`."""
        ...

    async def send(self, text: str) -> None:
        """Send a message, behind those of other tasks; a checkpoint.

        Raises:
            Gone: The peer has left, or does not take it in time. If it is cancelled, the pipe is broken.
        """
        ...

    async def close(self, code: int, reason: str) -> None:
        """Close in order."""
        ...

    async def abort(self) -> None:
        """Drop the connection."""
        ...


class _Job:
    """What goes on for one request: where it waits, so that it can be stopped there."""

    def __init__(self, follow: Following | None = None) -> None:
        self.follow = follow
        self.scope = trio.CancelScope()
        self.stopped = False
        self.room = Bell()
        self.audience: Audience | None = None

    def opened(self) -> None:
        """Go on: more may be sent, and the handler may have waited for what was read."""
        self.room.ring()
        if self.audience is not None and self.follow is not None:
            self.audience.advanced(self.follow)

    def stop(self) -> None:
        self.stopped = True
        self.scope.cancel(reason="unfollowed")


async def converse(pipe: Pipe, desk: Desk, caller: Caller, limits: Limits, closing: trio.Event) -> None:
    """Serve one connection until it ends, and close it. Raises nothing for what the peer does.

    Args:
        pipe: The connection.
        desk: Does what is asked.
        caller: Who asks.
        limits: What the peer may ask for.
        closing: Set when the server stops.
    """
    await Conversation(pipe, desk, caller, limits).run(closing)


class Conversation:
    """One connection; see `converse`."""

    def __init__(self, pipe: Pipe, desk: Desk, caller: Caller, limits: Limits) -> None:
        self._pipe = pipe
        self._desk = desk
        self._caller = caller
        self._limits = limits
        self._session = Session(limits)
        self._account = Account(limits.unsent, desk.account)
        self._under_way = 0
        self._running: dict[int, _Job] = {}
        self._unsent = 0
        self._taken = Bell()
        self._nursery: trio.Nursery
        self._close: Close | None = None

    async def run(self, closing: trio.Event) -> None:
        """Serve until the peer leaves, or the server closes the connection."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._until_closing, closing)
                await self._read()
                self._nursery.cancel_scope.cancel(reason="the connection ends")
        except* Gone:
            self._close = None
        except* Exception:  # noqa: BLE001  # one bad connection is no reason to end the others
            logger.exception("a connection failed")
            self._close = Close(INTERNAL, "internal error")
        finally:
            with trio.move_on_after(_CLOSE_SECONDS, shield=True):
                await self._leave()

    async def _leave(self) -> None:
        if self._close is None or self._under_way:
            await self._pipe.abort()
        else:
            await self._pipe.close(self._close.code, self._close.reason)

    def _end(self, close: Close) -> None:
        if self._close is None:
            self._close = close
        self._nursery.cancel_scope.cancel(reason=close.reason)

    async def _until_closing(self, closing: trio.Event) -> None:
        seconds = self._caller.expires
        with trio.move_on_after(float("inf") if seconds is None else seconds):
            await closing.wait()
            self._end(Close(GOING_AWAY, "the server stops; come back later"))
            return
        self._end(Close(POLICY, "your authentication has expired; connect again"))

    # ------------------------------------------------------------ what arrives

    async def _read(self) -> None:
        while self._close is None:
            while self._unsent >= self._limits.calls:
                await self._taken.wait()  # who does not take answers may not ask for more
            message = await self._pipe.receive()
            step = self._session.received(message)
            if isinstance(step, Reply):
                await self._send(step.frame)
            else:
                self._do(step)

    def _do(self, step: Step) -> None:
        match step:
            case Call():
                job = self._running[step.request.id] = _Job()
                self._nursery.start_soon(self._call, job, step.request)
            case Begin():
                job = self._running[step.follow.id] = _Job(step.follow)
                self._nursery.start_soon(self._follow, job, step.follow)
            case Stop():
                self._running[step.id].stop()
            case Opened():
                self._running[step.follow.id].opened()
            case Close():
                self._end(step)
            case _:
                pass

    # ------------------------------------------------------------ what leaves

    async def _send(self, frame: str) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._under_way += 1
        await self._pipe.send(frame)
        self._under_way -= 1  # not if it was cancelled: then a frame is torn

    async def _send_last(self, frame: str) -> None:
        """Send the last frame of a request, whose id the peer may use again by now."""
        self._unsent += 1
        try:
            await self._send(frame)
        finally:
            self._unsent -= 1
            self._taken.ring()

    async def _call(self, job: _Job, request: AnyRequest) -> None:
        frame: str | None = None
        async with AsyncExitStack() as room:  # until the answer is sent
            with job.scope:
                try:
                    answer = answering(self._desk, self._caller, self._account, request)
                    frame = self._session.answered(request.id, await room.enter_async_context(answer))
                except Exception as error:  # noqa: BLE001  # whatever it is, this peer is told, and nobody else
                    frame = self._failed(request.id, error)
            del self._running[request.id]
            await self._send_last(self._session.unfollowed(request.id) if frame is None else frame)

    def _failed(self, re: int, error: Exception) -> str:
        told("a request failed", error)
        return self._session.failed(re, error)

    # ------------------------------------------------------------ following

    async def _follow(self, job: _Job, follow: Following) -> None:
        frame = await self._until_end(job, follow)
        del self._running[follow.id]  # before it waits to be sent: the peer may use the id again
        await self._send_last(frame)

    async def _until_end(self, job: _Job, follow: Following) -> str:
        """Send a log until its end, and return the last frame."""
        try:
            snapshot = await self._desk.place(self._caller, follow.job_id, follow.sent)
            with self._desk.following(follow, snapshot) as (feed, audience):
                job.audience = audience
                while not job.stopped:
                    piece: Piece | None = None
                    with trio.CancelScope() as job.scope:
                        while (room := follow.room) == 0:
                            audience.advanced(follow)
                            await job.room.wait()
                        piece = await (
                            feed.after(follow.sent) if room is None else feed.after(follow.sent, room)
                        )
                    if job.scope.cancelled_caught:
                        break
                    if piece is None:
                        return self._session.ended(follow)
                    if piece.is_gap:
                        await self._send(self._session.gap(follow, piece.after + 1, piece.last))
                    else:
                        await self._send(self._session.events(follow, piece.last, piece.json))
                    audience.advanced(follow)
            return self._session.unfollowed(follow.id)
        except (Gone, trio.Cancelled):
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, this peer is told, and nobody else
            return self._failed(follow.id, error)
