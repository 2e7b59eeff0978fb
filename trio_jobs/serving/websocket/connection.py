"""One connection, driven: reads messages, does what the session says, writes frames.

A frame, once begun, is written to its end or the connection is done for: half a frame would make nonsense of
all that follows (trio-websocket leaves one if a send is cancelled).
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Final, Protocol

import trio

from ..._common.bell import Bell
from ..._watching.readers import Readers
from ..._wire.requests import AnyRequest
from ..account import Account
from ..answers import answering
from ..batch import EventBatch
from ..context import ServerContext
from ..feed import Follower
from ..net.outgoing import PeerGone
from ..options import Caller
from ..problems import logger, to_problem
from ..subscription import Subscription
from .session import POLICY, Begin, Call, Close, Opened, Reply, Session, Step, Stop

GOING_AWAY: Final = 1001
INTERNAL: Final = 1011
_CLOSE_SECONDS: Final = 2.0


class WebSocketConnection(Protocol):
    """A WebSocket connection, of whatever library."""

    async def receive(self) -> str | bytes:
        """Return the next message, or raise `PeerGone`."""
        ...

    async def send(self, text: str) -> None:
        """Send a message, behind those of other tasks; a checkpoint.

        Raises:
            PeerGone: The peer has left, or does not take it in time. If it is cancelled, the connection is
                broken.
        """
        ...

    @property
    def waiting(self) -> bool:
        """Whether the rest of a frame waits to be sent, or a task is sending one."""
        ...

    def send_now(self, frame: bytes) -> bool:
        """Send a whole frame of RFC 6455 in the calling task, if it is taken at once.

        Returns:
            Whether it was. If so, and `waiting` is true now, the caller has a task await `flush`.
        """
        ...

    async def flush(self) -> None:
        """Wait until what was begun is sent. Raises `PeerGone`; nothing breaks if it is cancelled."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Close in order."""
        ...

    async def abort(self) -> None:
        """Drop the connection."""
        ...


class _Request:
    """What goes on for one request: where it waits, so that it can be stopped there."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.stopped = False
        self.follower: _Follow | None = None

    def opened(self) -> None:
        if self.follower is not None:
            self.follower.opened()

    def stop(self) -> None:
        self.stopped = True
        self.scope.cancel(reason="unfollowed")


class _Follow(Follower):
    """One who follows over this connection."""

    def __init__(self, follow: Subscription, connection: WebSocketConnection, readers: Readers) -> None:
        super().__init__(follow)
        self._connection = connection
        self._readers = readers
        self._room = Bell()

    def send_now(self, batch: EventBatch) -> bool:
        """See `Follower.send_now`."""
        follow, connection = self.follow, self._connection
        room = follow.room
        if (room is not None and len(batch.events) > room) or not connection.send_now(batch.frame(follow.id)):
            return False
        follow.moved(batch.last)
        if follow.policy == "block":
            self._readers.advanced(follow)  # its handler may wait for that
        return not connection.waiting and follow.room != 0

    async def ready(self) -> None:
        """See `Follower.ready`."""
        if self._connection.waiting:
            await self._connection.flush()
        while self.follow.room == 0:
            self._readers.advanced(self.follow)
            await self._room.wait()

    def opened(self) -> None:
        """Go on: more may be sent, and the handler may have waited for what was read."""
        self._room.ring()
        self._readers.advanced(self.follow)


class WebSocketHandler:
    """Serves one connection.

    Args:
        connection: The connection.
        context: What is done for peers, and how much they may ask for.
        caller: Who asks.
    """

    def __init__(self, connection: WebSocketConnection, context: ServerContext, caller: Caller) -> None:
        self._connection = connection
        self._operations = context.operations
        self._caller = caller
        self._limits = context.limits
        self._closing = context.closing
        self._session = Session(context.limits)
        self._account = Account(context.limits.unsent, context.operations.account)
        self._under_way = 0
        self._running: dict[int, _Request] = {}
        self._unsent = 0
        self._taken = Bell()
        self._nursery: trio.Nursery
        self._close: Close | None = None

    async def run(self) -> None:
        """Serve until the peer leaves, or the server stops, and close the connection.

        Raises nothing for what the peer does.
        """
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._until_closing)
                await self._read()
                self._nursery.cancel_scope.cancel(reason="the connection ends")
        except* PeerGone:
            self._close = None
        except* Exception:  # noqa: BLE001  # one bad connection is no reason to end the others
            logger.exception("a connection failed")
            self._close = Close(INTERNAL, "internal error")
        finally:
            with trio.move_on_after(_CLOSE_SECONDS, shield=True):
                await self._leave()

    async def _leave(self) -> None:
        if self._close is None or self._under_way:
            await self._connection.abort()
        else:
            await self._connection.close(self._close.code, self._close.reason)

    def _end(self, close: Close) -> None:
        if self._close is None:
            self._close = close
        self._nursery.cancel_scope.cancel(reason=close.reason)

    async def _until_closing(self) -> None:
        seconds = self._caller.expires
        with trio.move_on_after(float("inf") if seconds is None else seconds):
            await self._closing.wait()
            self._end(Close(GOING_AWAY, "the server stops; come back later"))
            return
        self._end(Close(POLICY, "your authentication has expired; connect again"))

    # ------------------------------------------------------------ what arrives

    async def _read(self) -> None:
        while self._close is None:
            message = await self._connection.receive()
            while self._unsent and self._unsent + self._session.calls >= self._limits.calls:
                await self._taken.wait()  # who does not take answers may not ask for more
            step = self._session.received(message)
            if isinstance(step, Reply):
                await self._send(step.frame)
            else:
                self._do(step)

    def _do(self, step: Step) -> None:
        match step:
            case Call():
                running = self._running[step.request.id] = _Request()
                self._nursery.start_soon(self._call, running, step.request)
            case Begin():
                running = self._running[step.follow.id] = _Request()
                self._nursery.start_soon(self._follow, running, step.follow)
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
        await self._connection.send(frame)
        self._under_way -= 1  # not if it was cancelled: then a frame is torn

    async def _send_last(self, frame: str) -> None:
        """Send the last frame of a request, whose id the peer may use again by now."""
        self._unsent += 1
        try:
            await self._send(frame)
        finally:
            self._unsent -= 1
            self._taken.ring()

    async def _call(self, running: _Request, request: AnyRequest) -> None:
        frame: str | None = None
        async with AsyncExitStack() as room:  # until the answer is sent
            with running.scope:
                try:
                    answer = answering(self._operations, self._caller, self._account, request)
                    frame = self._session.answered(request.id, await room.enter_async_context(answer))
                except Exception as error:  # noqa: BLE001  # whatever it is, this peer is told, and nobody else
                    frame = self._failed(request.id, error)
            del self._running[request.id]
            await self._send_last(self._session.unfollowed(request.id) if frame is None else frame)

    def _failed(self, re: int, error: Exception) -> str:
        to_problem("a request failed", error)
        return self._session.failed(re, error)

    # ------------------------------------------------------------ following

    async def _follow(self, running: _Request, follow: Subscription) -> None:
        frame = await self._until_end(running, follow)
        del self._running[follow.id]  # before it waits to be sent: the peer may use the id again
        await self._send_last(frame)

    async def _until_end(self, running: _Request, follow: Subscription) -> str:
        """Send a log until its end, and return the last frame."""
        try:
            snapshot = await self._operations.place(self._caller, follow.job_id, follow.sent)
            with self._operations.following(follow, snapshot) as (feed, readers):
                follower = running.follower = _Follow(follow, self._connection, readers)
                while not running.stopped:
                    batch: EventBatch | None = None
                    with trio.CancelScope() as running.scope:
                        batch = await feed.next(follower)
                    if running.scope.cancelled_caught:
                        break
                    if batch is None:
                        return self._session.ended(follow)
                    follow.moved(batch.last)  # before: the peer may ack it before this task runs again
                    message = batch.message(follow.id).decode()
                    async with self._account.room(len(message)):
                        await self._send(message)
                    readers.advanced(follow)
            return self._session.unfollowed(follow.id)
        except (PeerGone, trio.Cancelled):
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, this peer is told, and nobody else
            return self._failed(follow.id, error)
