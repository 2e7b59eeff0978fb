"""What of a store's answers the contract determines, so that the answers of two stores can be compared."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, cast

import attrs

from .._common.errors import TrioJobsError

TICK: Final = 1 / 256  # longer than a store in a file rests between two looks at what others wrote
"""Seconds, as exact numbers, between any two moments that are to be told apart."""

_NEVER = datetime.min.replace(tzinfo=UTC)
_WORDS = ("it failed", "once more", "tired", "bored")


async def observed(call: Awaitable[object], since: datetime | None = _NEVER) -> tuple[object, object]:
    """Return what can be compared of what a call returns or raises, and what it returned.

    Args:
        call: What to await.
        since: None if the times are not to be compared.
    """
    try:
        result = await call
    except TrioJobsError as error:
        return (type(error).__name__, vars(error)), None
    return plain(result, since), result


def plain(value: object, since: datetime | None = _NEVER) -> object:
    """Return the part of an answer that the contract determines; times by when the job was submitted."""
    kind = cast("Any", type(value))
    names = getattr(kind, "_fields", ())  # of a NamedTuple
    if attrs.has(kind) or names:
        since = since and getattr(value, "created_at", since)
        names = names or [field.name for field in attrs.fields(kind)]
        fields = {name: getattr(value, name) for name in names}
        fields |= {name: settle(fields[name]) for name, settle in _OPEN.items() if name in fields}
        return {name: plain(item, since) for name, item in fields.items()}
    if isinstance(value, Mapping):
        return {key: plain(item, since) for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, since) for item in cast("list[object]", value)]
    if isinstance(value, datetime):
        return "a time" if since is None else round((value - since).total_seconds() / TICK)
    return value


def _said(message: str | None) -> str | None:
    """Return what a caller said; what the store says itself is its own affair."""
    return next((word for word in _WORDS if (message or "").startswith(word)), None)


_OPEN: Mapping[str, Callable[[Any], object]] = {
    "message": _said,
    "timestamp": lambda _: None,
    "target": lambda _: None,
    "delay": lambda delay: delay or None,
    "given": lambda _: None,
    "room": lambda _: None,
    "args_bytes": bool,
    "result_bytes": bool,
    "log_bytes": bool,
}
"""The fields that the contract leaves open, and what of them it does not."""
