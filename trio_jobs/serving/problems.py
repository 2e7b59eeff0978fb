"""Errors as clients see them: a code for programs, a line for people, and no traceback.

HTTP and WebSocket share one table of codes; the HTTP status follows from the code.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import attrs
import msgspec

from .._wire.errors import CODES


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
_TRY_AGAIN: Final = frozenset({429, 503})
"""The statuses of what time mends."""
_FAULTS: Final = 500
"""The status from which on it is the server's fault."""
_OTHER_WORDS: Final[Mapping[str, str]] = {
    "unavailable": "the store cannot be reached; whether it was done is not known",
    "closing": "the server is stopping; try again",
}


@attrs.frozen
class Problem:
    """An error as a client sees it.

    Attributes:
        code: A word of the wire.
        message: One line for people.
        details: Facts that a program may act on.
        more: Headers of the HTTP response that do not follow from the code.
    """

    code: str
    message: str
    details: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    more: Mapping[str, str] = attrs.field(factory=dict[str, str])

    @property
    def status(self) -> int:
        """The HTTP status."""
        return CODES[self.code].status

    @property
    def is_fault(self) -> bool:
        """Whether the server is at fault, and not the request."""
        return self.status >= _FAULTS

    @property
    def headers(self) -> dict[str, str]:
        """The headers that go with the body, but for its length."""
        again = {"retry-after": "1"} if self.status in _TRY_AGAIN else {}
        return {"content-type": PROBLEM_TYPE, **again, **self.more}

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
        """The same as bytes."""
        return [(name.encode(), value.encode()) for name, value in self.headers.items()]


def too_many() -> Refused:
    """Return the refusal of a connection or request for which there is no place."""
    return Refused("too_many", "too many connections; close some, or try again later")


INTERNAL: Final = Problem("internal", "the server made a mistake; its log says more")


def to_problem(what: str, error: BaseException) -> Problem:
    """Return an error as clients see it; a fault of the server goes to the log, and clients see `INTERNAL`.

    Args:
        what: What failed, for the log.
        error: The error.
    """
    if isinstance(error, Refused):
        return Problem(error.code, str(error), more=error.headers)
    for word, code in CODES.items():
        if code.error is not None and isinstance(error, code.error):
            facts = {name: getattr(error, name) for name in code.facts}
            return Problem(word, _OTHER_WORDS.get(word, str(error)), facts)
    logger.error(what, exc_info=error)
    return INTERNAL
