"""One connection's protocol: messages in, steps and frames out. No I/O, no clock, no tasks.

A driver (`connection.py`) hands it what arrives, does the step that comes back, and sends the frames that
it is given. So all rules of the wire are here, and can be tested without a socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import attrs
import msgspec

from ..._wire.requests import (
    PROTOCOL,
    Ack,
    AnyRequest,
    BadRequest,
    Follow,
    Ping,
    Unfollow,
    Wait,
    decode_request,
    json_fields,
)
from ..limits import Limits
from ..problems import INTERNAL, Problem, problem_of
from ..subscription import Subscription

NOT_TEXT: Final = 1003
POLICY: Final = 1008
TOO_LARGE: Final = 1009
_FAULTS: Final = 10
"""So many messages in a row that are none, and the connection is closed: that peer does not mean us."""


@attrs.frozen
class Call:
    """Do what a request asks, then send what `answered` or `failed` returns."""

    request: AnyRequest


@attrs.frozen
class Begin:
    """Start to follow."""

    follow: Subscription


@attrs.frozen
class Stop:
    """Stop to follow, or to wait; what was under way may still be sent, then what `unfollowed` returns."""

    id: int


@attrs.frozen
class Opened:
    """A follow may send again, or its handler may go on."""

    follow: Subscription


@attrs.frozen
class Reply:
    """Send this."""

    frame: str


@attrs.frozen
class Close:
    """Close the connection."""

    code: int
    reason: str


Step: TypeAlias = Call | Begin | Stop | Opened | Reply | Close | None


class Session:
    """The protocol of one connection.

    Args:
        limits: What the peer may ask for.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._calls: set[int] = set()
        self._waits: set[int] = set()
        self._follows: dict[int, Subscription] = {}
        self._faults = 0

    @property
    def calls(self) -> int:
        """How many calls have no answer yet."""
        return len(self._calls)

    # ------------------------------------------------------------ what arrives

    def received(self, message: str | bytes) -> Step:
        """Take in a message, and return what is to be done."""
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
        return self._taken(request)

    def _taken(self, request: AnyRequest) -> Step:
        match request:
            case Ping():
                return Reply(_frame(request.id, {"pong": b"true"}))
            case Ack():
                return self._acked(request)
            case Unfollow():
                known = request.id in self._follows or request.id in self._waits
                return Stop(request.id) if known else None  # it ended meanwhile
            case _:
                return self._begun(request)

    def _bad(self, error: BadRequest) -> Step:
        self._faults += 1
        if self._faults >= _FAULTS:
            return Close(POLICY, f"{_FAULTS} messages in a row were no requests")
        return Reply(_error_frame(error.re, error))

    def _acked(self, request: Ack) -> Step:
        follow = self._follows.get(request.id)
        if follow is None or follow.window is None or request.cursor <= follow.cursor:
            return None
        if request.cursor > follow.sent:
            return Reply(_error_frame(request.id, BadRequest("an ack of what was not sent")))
        follow.cursor = request.cursor
        return Opened(follow)

    def _begun(self, request: AnyRequest) -> Step:
        limits = self._limits
        if request.id in self._calls or request.id in self._follows or request.id in self._waits:
            return Reply(_error_frame(request.id, BadRequest(f"id {request.id} is in use; take another")))
        if isinstance(request, (Follow, Wait)):
            if len(self._follows) + len(self._waits) >= limits.follows:
                return Reply(_too_many(request.id, f"follows {limits.follows} jobs"))
        elif self.calls >= limits.calls:
            return Reply(_too_many(request.id, f"waits for {limits.calls} answers"))
        if isinstance(request, Follow):
            follow = Subscription(
                request.id, request.job, request.policy, request.window, request.after, request.after
            )
            self._follows[request.id] = follow
            return Begin(follow)
        (self._waits if isinstance(request, Wait) else self._calls).add(request.id)
        return Call(request)

    # ------------------------------------------------------------ what leaves

    def answered(self, re: int, fields: Mapping[str, bytes]) -> str:
        """Return the reply to a call: its fields, whose values are JSON."""
        self._forget(re)
        return _frame(re, fields)

    def failed(self, re: int, error: BaseException) -> str:
        """Return the reply to a call or follow that failed; of an error of ours, no more than that."""
        self._forget(re)
        return _error_frame(re, error)

    def ended(self, follow: Subscription) -> str:
        """Return the last frame of a follow whose job has ended."""
        self._forget(follow.id)
        return f'{{"re":{follow.id},"end":true}}'

    def unfollowed(self, re: int) -> str:
        """Return the last frame of a follow or wait that the peer stopped."""
        self._forget(re)
        return f'{{"re":{re},"unfollowed":true}}'

    def _forget(self, re: int) -> None:
        self._calls.discard(re)
        self._waits.discard(re)
        self._follows.pop(re, None)


def _frame(re: int, fields: Mapping[str, bytes]) -> str:
    return f'{{"re":{re},{json_fields(fields).decode()}}}'


def _too_many(re: int, what: str) -> str:
    return _problem_frame(
        re, Problem("too_many", 429, f"this connection {what} already; end one of them first")
    )


def _error_frame(re: int | None, error: BaseException) -> str:
    return _problem_frame(re, problem_of(error) or INTERNAL)


def _problem_frame(re: int | None, problem: Problem) -> str:
    error: Mapping[str, Any] = {"code": problem.code, "message": problem.message, **problem.details}
    return msgspec.json.encode({"re": re, "error": error}).decode()
