"""Keep the requests that are open, and decide which message to send next. No I/O, no clock.

Messages are not queued; they are made from the open requests. So no queue grows while the server is out of
reach. After a reconnect every open request is sent again, with the same id, and each log is followed behind
the last event that was read. That is safe because each request may be repeated: a `submit` carries a key.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from .._common.bell import Bell
from .._watching.readers import Policy
from .._wire import requests
from .._wire.replies import ProtocolViolation, Reply, decode_reply, events_of
from .backoff import SUSPECT, TOO_LARGE
from .errors import CLOSING, ServerError, error_of
from .requests import text_of
from .subscription import RemoteSubscription

T = TypeVar("T")

CALLS: Final = 32
"""How many requests may be under way at once, as many as servers allow by default; more wait in line."""
STRIKES: Final = 5
"""How many connections in a row may end under the same request with a code that it may have caused."""
LOSSES: Final = 20
"""How many connections may end, with any code, before a call is answered; a wait may outlast any number."""
_SMALL: Final = 1024  # bytes that every server takes in one message


class ServerCloses(Exception):
    """The server is about to stop; the requests that it did not answer are sent to the next one."""


class Call(Generic[T]):
    """A request with one answer.

    Args:
        request: The request.
        about: The job or the handler that it is about, for errors.
        read: Returns the answer in a reply; raises `ProtocolViolation` if it has none.

    Attributes:
        id: Its id on the wire.
        waits: Whether it may take any time, as it waits for a job's end.
        text: The message.
        sent: Whether it was sent on this connection.
        strikes: How many connections in a row may have ended because of it.
        losses: How many connections have ended while it was open.
        done: Whether there is an answer or an error.
        bell: Rings when there is.
    """

    def __init__(self, request: requests.AnyRequest, about: str, read: Callable[[Reply], T | None]) -> None:
        self.id = request.id
        self.waits = isinstance(request, requests.Wait)
        self.text = text_of(request)
        self.about = about
        self.read = read
        self.sent = False
        self.strikes = 0
        self.losses = 0
        self.done = False
        self.bell = Bell()
        self._value: T | None = None
        self._error: Exception | None = None

    def finish(self, error: Exception | None, value: T | None = None) -> None:
        """Set the error or the answer."""
        self._value, self._error, self.done = value, error, True
        self.bell.ring()

    def answer(self) -> T:
        """Return the answer, or raise the error."""
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # set together with `done`


class RequestTable:
    """Keeps the open requests, and returns the messages to send on the present connection.

    Attributes:
        bell: Rings when there may be a message to send.
    """

    def __init__(self) -> None:
        self.bell = Bell()
        self._last_id = 0
        self._open: dict[int, Call[Any] | RemoteSubscription] = {}
        self._connected = False
        self._calls: deque[int] = deque()  # to be sent, when fewer than CALLS are under way
        self._waits: deque[int] = deque()  # to be sent: waits and follows
        self._under_way: set[int] = set()  # calls on this connection, dropped ones too
        self._control: deque[requests.AnyRequest] = deque()  # to be sent before all others
        self._acks: dict[int, None] = {}  # follows that may have something to ack

    # ------------------------------------------------------------ the client's side

    def new_id(self) -> int:
        """Return an id for a request; each is used once."""
        self._last_id += 1
        return self._last_id

    def ask(self, request: requests.AnyRequest, about: str, read: Callable[[Reply], T | None]) -> Call[T]:
        """Open a call. Raises `InvalidPayload` if it cannot be sent."""
        call = Call(request, about, read)
        self._add(call)
        return call

    def follow(self, job_id: str, after: int, policy: Policy) -> RemoteSubscription:
        """Open a follow."""
        follow = RemoteSubscription(job_id, after, policy)
        self.refollow(follow)
        return follow

    def refollow(self, follow: RemoteSubscription) -> None:
        """Open a follow again that has ended with an error."""
        follow.id = self.new_id()
        self._add(follow)

    def _add(self, one: Call[Any] | RemoteSubscription) -> None:
        self._open[one.id] = one
        self._line(one).append(one.id)
        self.bell.ring()

    def _line(self, one: Call[Any] | RemoteSubscription) -> deque[int]:
        return self._calls if isinstance(one, Call) and not one.waits else self._waits

    def drop(self, one: Call[Any] | RemoteSubscription) -> None:
        """Close a request whose answer is no longer needed; if it was not sent, it will not be."""
        if self._open.pop(one.id, None) is not None and one.sent and (one.id not in self._under_way):
            self._control.append(requests.Unfollow(id=one.id))
            self.bell.ring()

    def was_read(self, follow: RemoteSubscription) -> None:
        """Note that a reader has read on."""
        if follow.ack() is not None and follow.id not in self._acks:
            self._acks[follow.id] = None
            self.bell.ring()

    # ------------------------------------------------------------ the connection's side

    def connected(self) -> None:
        """Begin on a new connection: send a ping to see whether it works, then all open requests."""
        self._connected = True
        self._control = deque([requests.Ping(id=self.new_id())])
        self._under_way.clear()
        self._acks.clear()
        self._calls.clear()
        self._waits.clear()
        for one in self._open.values():
            one.sent = False
            self._line(one).append(one.id)
        self.bell.ring()

    def outgoing(self) -> str | None:
        """Return the next message, which counts as sent from now on; None if there is none."""
        if not self._connected:
            return None
        if self._control:
            return text_of(self._control.popleft())
        while self._acks:
            first = next(iter(self._acks))
            del self._acks[first]
            follow = self._open.get(first)
            if isinstance(follow, RemoteSubscription) and (ack := follow.ack()) is not None:
                follow.acked(ack.cursor)
                return text_of(ack)
        # Before logs, whose events could keep the answers from coming through while connections are bad.
        while self._calls and len(self._under_way) < CALLS:
            one = self._open.get(self._calls.popleft())
            if one is not None:
                self._under_way.add(one.id)
                return self._sent(one)
        while self._waits:
            one = self._open.get(self._waits.popleft())
            if one is not None:
                return self._sent(one)
        return None

    @staticmethod
    def _sent(one: Call[Any] | RemoteSubscription) -> str:
        one.sent = True
        return one.text if isinstance(one, Call) else text_of(one.request())

    def received(self, message: str) -> None:
        """Handle a message of the server.

        Raises:
            ProtocolViolation: The message is not of the protocol.
            ServerCloses: The server is about to stop.
        """
        reply = decode_reply(message)
        if reply.re is None or not 0 < reply.re <= self._last_id:
            raise ProtocolViolation(f"a reply to no request: {message[:200]}")
        one = self._open.get(reply.re)
        if one is not None and reply.error is not None and reply.error.get("code") == CLOSING:
            self._strike(one, ServerError(CLOSING, "the server is stopping, and does not stop"))
            raise ServerCloses
        if isinstance(one, RemoteSubscription):
            self._on_follow_reply(one, reply)
        elif one is not None:
            self._on_answer(one, reply)
        if reply.re in self._under_way:
            self._under_way.discard(reply.re)
            self.bell.ring()

    def _on_answer(self, call: Call[Any], reply: Reply) -> None:
        error = None if reply.error is None else error_of(call.about, reply.error)
        value = None if error is not None else call.read(reply)
        if value is None and error is None:
            raise ProtocolViolation(f"the reply to {call.text[:200]} lacks its answer")
        del self._open[call.id]
        call.finish(error, value)

    def _on_follow_reply(self, follow: RemoteSubscription, reply: Reply) -> None:
        if reply.events is not None:
            follow.on_events(events_of(reply.events))
        elif reply.gap is not None:
            follow.on_gap(reply.gap)
        elif reply.error is None and not reply.end:
            raise ProtocolViolation("a reply to a follow without events, gap, end or error")
        else:
            del self._open[follow.id]
            follow.finish(None if reply.error is None else error_of(follow.job_id, reply.error))
        self.was_read(follow)

    def closed(self, code: int | None, lost: Exception) -> None:
        """Note that the connection has ended.

        All open requests will be sent again, but for those that may have ended too many connections: these
        end with an error.

        Args:
            code: The WebSocket's close code, if there was one.
            lost: The error for calls under which too many connections have ended.
        """
        self._connected = False
        sent = [one for one in self._open.values() if one.sent]
        calls = [one for one in sent if isinstance(one, Call) and not one.waits]
        if code == TOO_LARGE:  # the server does not say which; it was the largest
            largest = max(calls, key=lambda call: len(call.text), default=None)
            if largest is not None and len(largest.text) > _SMALL:
                self._end_with(
                    largest, ServerError("too_large", "the request is larger than the server takes")
                )
        if code in SUSPECT:
            for one in sent:
                self._strike(one, ServerError("internal", f"connections end ({code}) whenever this is sent"))
        for call in calls:
            call.losses += 1
            if call.losses >= LOSSES:
                self._end_with(call, lost)

    def _strike(self, one: Call[Any] | RemoteSubscription, error: Exception) -> None:
        one.strikes += 1
        if one.strikes >= STRIKES:
            self._end_with(one, error)

    def fail(self, error: Exception) -> None:
        """End all open requests with an error that a new connection would not mend."""
        for one in list(self._open.values()):
            self._end_with(one, error)

    def _end_with(self, one: Call[Any] | RemoteSubscription, error: Exception) -> None:
        if self._open.pop(one.id, None) is not None:  # else it has ended already
            one.finish(error)
