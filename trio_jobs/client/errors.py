"""The errors of a client, and which error each code of the wire, or status of a handshake, stands for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import takewhile
from typing import Any, Final, cast

import msgspec

from .._common.errors import TrioJobsError
from .._common.states import State
from .._wire.errors import CODES


class ServerError(TrioJobsError):
    """The server refused a request, for a reason that no other error of the package states.

    Attributes:
        code: Why, as a word of the wire: `unauthenticated`, `forbidden`, `too_many`, `bad_request`,
            `internal` …
        message: The server's message, in one line.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"the server answered {code}: {message}")
        self.code = code
        self.message = message


class Disconnected(TrioJobsError, ConnectionError):
    """The server could not be reached. It is not known whether a request was carried out.

    The client keeps trying to connect: the call may be made again, and a stream read on.

    Attributes:
        url: The URL of the server.
        why: The last error, in one line.
    """

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"{url} cannot be reached: {why}")
        self.url = url
        self.why = why


CLOSING: Final = "closing"
"""The code of a server that is about to stop: the client sends the request again to the next one."""


def error_of(about: str, facts: Mapping[str, Any]) -> Exception:
    """Return the error that a server answered with.

    Args:
        about: The job or the handler that the request names.
        facts: The fields of the reply: `code`, `message`, and more by code.
    """
    code, message = str(facts.get("code", "internal")), str(facts.get("message", ""))
    conflict = message.partition(f"{facts.get('job_id')}, ")[2]  # all that it says behind the id
    given = {**facts, "about": about, "conflict": conflict}
    try:
        if "state" in given:
            given["state"] = State(given["state"])
        _, error, made_of = CODES[code]
        if error is not None and made_of is not None:
            return error(*(given[name] for name in takewhile(given.__contains__, made_of)))
    except (KeyError, TypeError, ValueError):  # a code that is not known here, or has other facts
        pass
    if code == "bad_request" and message.endswith(" - at `$.op`"):
        message = f"it is older than this client, and does not know this request: {message}"
    return ServerError(code, message)


# ------------------------------------------------------------ a handshake that an HTTP status answers

_PLAIN: Final = {word: code.status for word, code in CODES.items() if code.error is None}
_STATUSES: Final = Counter(_PLAIN.values())
_CODES: Final = {status: word for word, status in _PLAIN.items() if _STATUSES[status] == 1}
_AGAIN: Final = frozenset({408, 425, 429})
"""Statuses between 400 and 499 of a server that may answer otherwise soon; so may any from 500 on."""
_LONGEST: Final = 60.0


def refusal(status: int, body: bytes | None) -> ServerError | None:
    """Return the error for all calls; None if the client should connect again.

    Args:
        status: The HTTP status.
        body: The body of the answer: a problem in JSON, or text.
    """
    if status in _AGAIN or status >= 500:  # noqa: PLR2004  # the server's fault
        return None
    code, message = _CODES.get(status, "bad_request"), (body or b"").decode(errors="replace")
    try:
        problem = msgspec.json.decode(body or b"")
    except (msgspec.MsgspecError, ValueError, RecursionError):
        problem = None
    if isinstance(problem, dict):
        facts = cast("Mapping[str, Any]", problem)
        code, message = str(facts.get("code", code)), str(facts.get("detail", facts.get("title", "")))
    return ServerError(code, message or f"HTTP status {status}")


def least_wait(headers: Mapping[str, str]) -> float:
    """Return the seconds that a server asks to wait, by `Retry-After`; at most a minute."""
    text = headers.get("retry-after", "")
    return min(float(text), _LONGEST) if text.isascii() and text.isdecimal() else 0.0
