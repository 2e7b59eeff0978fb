"""One connection: reads messages, does the steps of its session, and sends frames.

A frame that was begun is sent to its end, or the connection is dropped: behind half a frame the peer can read
nothing (trio-websocket leaves one if a send is cancelled).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from operator import methodcaller
from typing import Final

import trio

from ..._common.bell import Bell
from ..._wire.requests import AnyRequest, EndInputs, Send
from ..account import Account
from ..answers import answering
from ..context import ServerContext
from ..feed import Follower, Outlet
from ..net.outgoing import PeerGone
from ..options import Caller
from ..problems import logger, to_problem
from ..subscription import Subscription
from .session import POLICY, Close, Perform, Reply, ResumeFollow, Session, StartFollow, Step, Stop

GOING_AWAY: Final = 1001
INTERNAL: Final = 1011
_CLOSE_SECONDS: Final = 2.0


class WebSocketConnection(ABC):
    """A WebSocket connection, of whatever library. Returning from its handler drops it.

    Attributes:
        outlet: Sends whole frames of RFC 6455 at once; None if the library cannot.
    """

    outlet: Outlet | None = None

    @abstractmethod
    async def receive(self) -> str | bytes:
        """Return the next message. Raises `PeerGone`."""

    @abstractmethod
    async def send(self, text: str) -> None:
        """Send a message, behind those of other tasks; a checkpoint. Cancelling it breaks the connection.

        Raises:
            PeerGone: The peer has left, or does not take the message in time.
        """

    @abstractmethod
    async def close(self, code: int, reason: str) -> None:
        """Close in order."""


class _StoppedError(Exception):
    """The peer stopped a follow."""


class _Running:
    """A request that is being answered, the scope in which it can be stopped, and what an ack of it does."""

    def __init__(self) -> None:
        self.before: _Running | None = None  # what has to be done first
        self.done = trio.Event()
        self.scope = trio.CancelScope()
        self.stopped = False
        self.acked: Callable[[], None] = lambda: None

    def stop(self) -> None:
        self.stopped = True
        self.scope.cancel(reason="unfollowed")

    @contextmanager
    def stoppable(self) -> Generator[None]:
        """Let a part of the work be stopped, and do none of it after a stop. Raises `_StoppedError`."""
        if not self.stopped:
            with trio.CancelScope() as self.scope:
                yield
        if self.stopped:
            raise _StoppedError


class WebSocketHandler:
    """Serves one connection.

    Args:
        connection: The connection.
        context: The context of the server.
        caller: The caller at its other end.
    """

    def __init__(self, connection: WebSocketConnection, context: ServerContext, caller: Caller) -> None:
        self._connection = connection
        self._context = context
        self._caller = caller
        self._session = Session(context.limits)
        self._account = Account(context.limits.unsent, context.operations.account)
        self._running: dict[int, _Running] = {}
        self._sending: dict[str, _Running] = {}  # the last that gives a job inputs: they keep their order
        self._unfinished_frames = 0
        self._unsent_answers = 0
        self._answer_sent = Bell()
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
            if self._close is not None and not self._unfinished_frames:
                with trio.move_on_after(_CLOSE_SECONDS, shield=True):
                    await self._connection.close(self._close.code, self._close.reason)

    def _end(self, close: Close) -> None:
        if self._close is None:
            self._close = close
        self._nursery.cancel_scope.cancel(reason=close.reason)

    async def _until_closing(self) -> None:
        if await self._context.wait_closing(self._caller):
            self._end(Close(GOING_AWAY, "the server stops; come back later"))
        else:
            self._end(Close(POLICY, "your authentication has expired; connect again"))

    # ------------------------------------------------------------ messages of the peer

    async def _read(self) -> None:
        calls = self._context.limits.calls
        while self._close is None:
            message = await self._connection.receive()
            while self._unsent_answers and self._unsent_answers + self._session.unanswered >= calls:
                await self._answer_sent.wait()  # a peer that does not take answers may not ask for more
            step = self._session.received(message)
            if isinstance(step, Reply):
                await self._send(step.frame)
            else:
                self._do(step)

    def _do(self, step: Step) -> None:
        match step:
            case Perform():
                request = step.request
                running = self._running[request.id] = _Running()
                if isinstance(request, (Send, EndInputs)):
                    running.before = self._sending.get(request.job)
                    self._sending[request.job] = running
                self._nursery.start_soon(self._answer, running, request)
            case StartFollow():
                running = self._running[step.subscription.id] = _Running()
                self._nursery.start_soon(self._follow, running, step.subscription)
            case Stop():
                self._running[step.id].stop()
            case ResumeFollow():
                self._running[step.subscription.id].acked()
            case Close():
                self._end(step)
            case _:
                pass

    # ------------------------------------------------------------ frames

    async def _send(self, frame: str) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._unfinished_frames += 1
        await self._connection.send(frame)
        self._unfinished_frames -= 1  # not if it was cancelled: then a frame is torn

    async def _send_last(self, frame: str) -> None:
        """Send the last frame of a request, whose id the peer may already use again."""
        self._unsent_answers += 1
        try:
            await self._send(frame)
        finally:
            self._unsent_answers -= 1
            self._answer_sent.ring()

    async def _answer(self, running: _Running, request: AnyRequest) -> None:
        frame: str | None = None
        async with AsyncExitStack() as room:  # until the answer is sent
            with running.scope:
                try:
                    if running.before is not None:
                        await running.before.done.wait()
                    answer = answering(self._context.operations, self._caller, self._account, request)
                    frame = self._session.answered(request.id, await room.enter_async_context(answer))
                except Exception as error:  # noqa: BLE001  # an error of one request is its answer
                    frame = self._failed(request.id, error)
            self._end_running(running, request)
            await self._send_last(self._session.unfollowed(request.id) if frame is None else frame)

    def _end_running(self, running: _Running, request: AnyRequest) -> None:
        del self._running[request.id]
        running.before = None
        running.done.set()
        if isinstance(request, (Send, EndInputs)) and self._sending.get(request.job) is running:
            del self._sending[request.job]

    def _failed(self, re: int, error: Exception) -> str:
        return self._session.failed(re, to_problem("a request failed", error))

    # ------------------------------------------------------------ following

    async def _follow(self, running: _Running, subscription: Subscription) -> None:
        frame = await self._until_end(running, subscription)
        del self._running[subscription.id]  # before it waits to be sent: the peer may use the id again
        await self._send_last(frame)

    async def _until_end(self, running: _Running, subscription: Subscription) -> str:
        """Send a log until its end, and return the last frame."""
        operations, re = self._context.operations, subscription.id
        place = subscription.job_id, subscription.sent, subscription.policy
        try:
            with running.stoppable():
                job = await operations.place(self._caller, *place)
            with operations.following(subscription, job) as feed:
                follower = Follower(subscription, self._connection.outlet, methodcaller("frame", re))
                running.acked = partial(feed.acked, follower)
                while True:
                    async with AsyncExitStack() as room:  # until the batch is sent
                        with running.stoppable():
                            batch = await feed.next(follower)
                            if batch is None:
                                return self._session.ended(re)
                            message = batch.message(re).decode()
                            await room.enter_async_context(self._account.room(len(message)))
                        # Before it is sent: the peer may ack it before this task runs again.
                        subscription.moved(batch.last)
                        await self._send(message)
                    feed.readers.advanced(subscription)
        except _StoppedError:
            return self._session.unfollowed(re)
        except PeerGone:
            raise
        except Exception as error:  # noqa: BLE001  # an error of one request is its answer
            return self._failed(re, error)
