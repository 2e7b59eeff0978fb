"""Errors as clients see them: a code for programs, a line for people, and no traceback.

HTTP and WebSocket share one table of codes; the HTTP status follows from the code.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import attrs
import msgspec
import trio

from .._common.errors import (
    IllegalTransition,
    InvalidPayload,
    KeyConflict,
    QueueFull,
    StoreUnavailable,
    StreamGap,
    UnknownHandler,
    UnknownJob,
)
from .._wire.requests import BadRequest


class Refused(Exception):
    """The server refuses a request.

    Attributes:
        code: The reason, as a word of the wire.
        headers: Headers of the HTTP response.
    """

    def __init__(self, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.headers = headers or {}


logger: Final = logging.getLogger("trio_jobs.serving")

PROBLEM_TYPE: Final = "application/problem+json"
RETRY_AFTER: Final = {"retry-after": "1"}

STATUS: Final[Mapping[str, int]] = {
    "bad_request": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "unknown_job": 404,
    "not_found": 404,
    "method_not_allowed": 405,
    "too_slow": 408,
    "key_conflict": 409,
    "illegal_transition": 409,
    "stream_gap": 409,
    "changed": 409,
    "too_large": 413,
    "wrong_type": 415,
    "misdirected": 421,
    "unknown_handler": 422,
    "upgrade_required": 426,
    "invalid_payload": 422,
    "too_many": 429,
    "head_too_large": 431,
    "internal": 500,
    "queue_full": 503,
    "unavailable": 503,
    "closing": 503,
}
"""Every code of the wire, and the status that goes with it over HTTP."""

_TRY_AGAIN: Final = frozenset({"too_many", "queue_full", "unavailable", "closing"})

ERRORS: Final[Mapping[type[Exception], tuple[str, tuple[str, ...]]]] = {
    BadRequest: ("bad_request", ()),
    UnknownJob: ("unknown_job", ()),
    UnknownHandler: ("unknown_handler", ("known",)),
    InvalidPayload: ("invalid_payload", ()),
    KeyConflict: ("key_conflict", ("key", "job_id")),
    QueueFull: ("queue_full", ("limit",)),
    IllegalTransition: ("illegal_transition", ()),
    StreamGap: ("stream_gap", ("first", "last", "oldest")),
    StoreUnavailable: ("unavailable", ()),
    trio.ClosedResourceError: ("closing", ()),
}
"""The code of each error that a client can meet, and the attributes that are its details."""
_OTHER_WORDS: Final[Mapping[str, str]] = {
    "unavailable": "the store cannot be reached; whether it was done is not known",
    "closing": "the server is stopping; try again",
}


@attrs.frozen
class Problem:
    """An error as a client sees it.

    Attributes:
        code: A word of the wire.
        status: The HTTP status.
        message: One line for people.
        details: Facts that a program may act on.
        headers: Headers of the HTTP response.
    """

    code: str
    status: int
    message: str
    details: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])

    @classmethod
    def of(cls, code: str, message: str, headers: Mapping[str, str] | None = None, **details: Any) -> Problem:
        """Return a problem whose status, and some of whose headers, follow from its code."""
        again = RETRY_AFTER if code in _TRY_AGAIN else {}
        return cls(code, STATUS[code], message, details, {**again, **(headers or {})})

    @property
    def body(self) -> bytes:
        """The problem in JSON, as RFC 9457 has it."""
        return msgspec.json.encode(
            {
                "type": "about:blank",
                "title": self.code.replace("_", " ").capitalize(),
                "status": self.status,
                "code": self.code,
                "detail": self.message,
                **self.details,
            }
        )

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers that go with the body, but for its length."""
        headers = {"content-type": PROBLEM_TYPE, **self.headers}
        return [(name.encode(), value.encode()) for name, value in headers.items()]


def problem_of(error: BaseException) -> Problem | None:
    """Return an error as clients see it; None if it is a fault of the server."""
    if isinstance(error, Refused):
        return Problem.of(error.code, str(error), error.headers)
    for kind, (code, details) in ERRORS.items():
        if isinstance(error, kind):
            facts = {name: getattr(error, name) for name in details}
            return Problem.of(code, _OTHER_WORDS.get(code, str(error)), **facts)
    return None


def too_many() -> Refused:
    """Return the refusal of a connection or request for which there is no place."""
    return Refused("too_many", "too many connections; close some, or try again later")


INTERNAL: Final = Problem("internal", 500, "the server made a mistake; its log says more")


def to_problem(what: str, error: BaseException) -> Problem:
    """Return an error as clients see it; a fault of the server goes to the log, and clients see `INTERNAL`.

    Args:
        what: What failed, for the log.
        error: The error.
    """
    problem = problem_of(error)
    if problem is None:
        logger.error(what, exc_info=error)
        return INTERNAL
    return problem
