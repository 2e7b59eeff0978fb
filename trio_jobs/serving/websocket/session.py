"""One connection's protocol: messages in, steps and frames out. No I/O, no clock, no tasks.

`connection.py` gives it each message that arrives, does the step that comes back, and sends its frames. So
all rules of the wire are here, and can be tested without a socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import attrs
import msgspec

from ..._wire.decoding import decode_request, json_fields
from ..._wire.requests import (
    PROTOCOL,
    Ack,
    AnyRequest,
    BadRequest,
    Follow,
    Ping,
    Unfollow,
    Wait,
)
from ..limits import Limits
from ..problems import Problem
from ..subscription import Subscription

NOT_TEXT: Final = 1003
POLICY: Final = 1008
TOO_LARGE: Final = 1009
_FAULTS: Final = 10
"""After so many messages in a row that are no requests, the connection is closed."""
_ALREADY: Final = "already; end one of them first"


@attrs.frozen
class Perform:
    """Do what a request asks, then send what `answered` or `failed` returns."""

    request: AnyRequest


@attrs.frozen
class StartFollow:
    """Start to follow a job, until `ended`, `failed` or `unfollowed`."""

    subscription: Subscription


@attrs.frozen
class Stop:
    """Stop to follow, or to wait; what was begun may still be sent, then what `unfollowed` returns."""

    id: int


@attrs.frozen
class ResumeFollow:
    """Send more of a log: the peer has acked events, so there is room, and the handler may go on."""

    subscription: Subscription


@attrs.frozen
class Reply:
    """Send a frame."""

    frame: str


@attrs.frozen
class Close:
    """Close the connection."""

    code: int
    reason: str


Step: TypeAlias = Perform | StartFollow | Stop | ResumeFollow | Reply | Close | None


class Session:
    """The protocol of one connection.

    Args:
        limits: How much the peer may ask for.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._calls: set[int] = set()
        self._follows: dict[int, Subscription | None] = {}  # None is a wait
        self._faults = 0

    @property
    def unanswered(self) -> int:
        """How many requests have no answer yet, besides follows and waits."""
        return len(self._calls)

    # ------------------------------------------------------------ messages of the peer

    def received(self, message: str | bytes) -> Step:
        """Return the step that a message asks for."""
        if isinstance(message, bytes):
            return Close(NOT_TEXT, f"{PROTOCOL} is text")
        try:
            data = message.encode()
            if len(data) > self._limits.message:
                return Close(TOO_LARGE, f"a message may have {self._limits.message} bytes")
            request = decode_request(data, self._limits.depth)
        except UnicodeEncodeError:
            return self._bad(BadRequest("the message holds a lone surrogate"))
        except BadRequest as error:
            return self._bad(error)
        self._faults = 0
        return self._step(request)

    def _step(self, request: AnyRequest) -> Step:
        match request:
            case Ping():
                return Reply(_frame(request.id, {"pong": b"true"}))
            case Ack():
                return self._acked(request)
            case Unfollow():
                return Stop(request.id) if request.id in self._follows else None  # it ended meanwhile
            case _:
                return self._begin(request)

    def _bad(self, error: BadRequest) -> Step:
        self._faults += 1
        if self._faults >= _FAULTS:
            return Close(POLICY, f"{_FAULTS} messages in a row were no requests")
        return _refuse(error.re, "bad_request", str(error))

    def _acked(self, request: Ack) -> Step:
        subscription = self._follows.get(request.id)
        if subscription is None or subscription.window is None or request.cursor <= subscription.cursor:
            return None
        if request.cursor > subscription.sent:
            return _refuse(request.id, "bad_request", "an ack of what was not sent")
        subscription.cursor = request.cursor
        return ResumeFollow(subscription)

    def _begin(self, request: AnyRequest) -> Step:
        re, limits = request.id, self._limits
        if re in self._calls or re in self._follows:
            return _refuse(re, "bad_request", f"id {re} is in use; take another")
        if isinstance(request, (Follow, Wait)):
            if len(self._follows) >= limits.follows:
                return _refuse(re, "too_many", f"this connection follows {limits.follows} jobs {_ALREADY}")
        elif self.unanswered >= limits.calls:
            return _refuse(re, "too_many", f"this connection waits for {limits.calls} answers {_ALREADY}")
        if isinstance(request, Follow):
            after = request.after
            subscription = Subscription(re, request.job, request.policy, request.window, after, after)
            self._follows[re] = subscription
            return StartFollow(subscription)
        if isinstance(request, Wait):
            self._follows[re] = None
        else:
            self._calls.add(re)
        return Perform(request)

    # ------------------------------------------------------------ last frames of requests

    def answered(self, re: int, fields: Mapping[str, bytes]) -> str:
        """Return the reply to a request: its fields, whose values are JSON."""
        self._forget(re)
        return _frame(re, fields)

    def failed(self, re: int, problem: Problem) -> str:
        """Return the reply to a request that failed."""
        self._forget(re)
        return _problem_frame(re, problem)

    def ended(self, re: int) -> str:
        """Return the last frame of a follow whose job has ended."""
        self._forget(re)
        return f'{{"re":{re},"end":true}}'

    def unfollowed(self, re: int) -> str:
        """Return the last frame of a follow or wait that the peer stopped."""
        self._forget(re)
        return f'{{"re":{re},"unfollowed":true}}'

    def _forget(self, re: int) -> None:
        self._calls.discard(re)
        self._follows.pop(re, None)


def _frame(re: int, fields: Mapping[str, bytes]) -> str:
    return f'{{"re":{re},{json_fields(fields).decode()}}}'


def _refuse(re: int | None, code: str, message: str) -> Reply:
    return Reply(_problem_frame(re, Problem(code, message)))


def _problem_frame(re: int | None, problem: Problem) -> str:
    error: Mapping[str, Any] = {"code": problem.code, "message": problem.message, **problem.details}
    return msgspec.json.encode({"re": re, "error": error}).decode()
