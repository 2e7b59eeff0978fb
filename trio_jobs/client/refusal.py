"""What it means that a server answered a handshake with an HTTP status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from .errors import ServerError

_CODES: Final[Mapping[int, str]] = {
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "not_found",
    421: "misdirected",
}
_AGAIN: Final = frozenset({408, 425, 429})
"""Statuses between 400 and 499 of a server that may answer otherwise soon; so may any from 500 on."""
_LONGEST: Final = 60.0


def refusal(status: int, body: bytes | None) -> ServerError | None:
    """Return the error for all who wait; None if the server should be asked again.

    Args:
        status: The HTTP status.
        body: What the server said, as a problem of JSON or as text.
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
