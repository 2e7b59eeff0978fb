"""Records as a durable store keeps them: events, errors and options as JSON, and back."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import attrs
import msgspec

from ._codec import decode, encode, to_json
from ._errors import ErrorRecord, InvalidPayload
from ._job import DEFAULT, Ended, Kind, Options, Priority, Progress, Timeouts
from ._retry import Matcher, Retry
from ._safe import shown
from ._states import Reason

_EVERY = Retry().on


def encode_error(error: ErrorRecord | None) -> bytes | None:
    """Return an error record as JSON."""
    return None if error is None else to_json([error.type, error.message, error.traceback])


def decode_error(data: bytes | str | None) -> ErrorRecord | None:
    """Return the record that `encode_error` made `data` of."""
    return None if data is None else ErrorRecord(*decode(data))


def encode_event(kind: Kind, value: Any) -> bytes:
    """Return what an event of that kind carries, as JSON.

    Raises:
        InvalidPayload: JSON cannot hold it, or would change it.
    """
    if isinstance(value, Ended):
        error = None if value.error is None else attrs.astuple(value.error)
        return to_json([value.reason, value.message, error, value.delay])
    if isinstance(value, Progress):
        return encode("progress", [value.done, value.total, value.message])
    return encode({Kind.TOKEN: "a token", Kind.COMPLETED: "the result"}.get(kind, "a saved value"), value)


def decode_event(kind: Kind, value: Any) -> Any:
    """Return what an event of that kind carries, of what JSON has in its place."""
    if kind is Kind.PROGRESS:
        return Progress(*value)
    if kind in {Kind.RETRIED, Kind.FAILED, Kind.CANCELLED, Kind.EXPIRED}:
        reason, message, error, delay = value
        return Ended(Reason(reason), message, None if error is None else ErrorRecord(*error), delay)
    return value


def encode_options(options: Options, on: Matcher) -> bytes:
    """Return options as JSON, but for `priority` and `owner`, which stores keep apart.

    Which exceptions are retried is code, so a store keeps no more than whose rule it is: everybody's
    (`Exception`), or that of the handler's mark.

    Args:
        options: The options.
        on: The `Retry.on` of the handler's mark.

    Raises:
        InvalidPayload: `Retry.on` is neither, or JSON cannot hold the metadata.
    """
    retry, timeouts = options.retry, options.timeouts
    if retry.on not in (on, _EVERY):
        raise InvalidPayload(
            f"a durable store keeps no code: set Retry.on in @handler(retry=…); got {shown(retry.on)}"
        )
    if options.metadata:
        encode("metadata", options.metadata)  # for an error that shows no more than what was given
    return encode(
        "the options",
        {
            "timeouts": [_finite(one) for one in attrs.astuple(timeouts)],
            "retry": [
                *(retry.attempts, retry.initial, _finite(retry.factor), retry.maximum, retry.jitter),
                retry.on is not _EVERY,
            ],
            "delay": options.delay,
            "run_at": None if options.run_at is None else _in_utc(options.run_at),
            "tags": options.tags,
            "metadata": options.metadata,
            "when_unread": options.when_unread,
            "linger": options.linger,
        },
    )


def _in_utc(when: datetime) -> datetime:
    """Return a time as it can be written: an offset is written in whole minutes."""
    try:
        return when.astimezone(UTC)
    except OverflowError:  # at the ends of what there is
        return when


def _finite(number: float | None) -> float | None:
    return None if number == math.inf else number


class _Stored(msgspec.Struct):
    timeouts: list[float | None]
    retry: tuple[int, float, float | None, float, float, bool]
    delay: float
    run_at: datetime | None
    tags: dict[str, str]
    metadata: dict[str, Any]
    when_unread: Any
    linger: float


_stored = msgspec.json.Decoder(_Stored)


def decode_options(data: bytes | str, priority: int, owner: str | None, on: Matcher) -> Options:
    """Return the options that `encode_options` made `data` of."""
    kept = _stored.decode(data)
    attempts, initial, factor, maximum, jitter, own = kept.retry
    factor = math.inf if factor is None else factor
    return Options(
        timeouts=Timeouts(*kept.timeouts),
        retry=Retry(attempts, initial, factor, maximum, jitter, on if own else _EVERY),
        priority=Priority(priority),
        delay=kept.delay,
        run_at=kept.run_at,
        tags=kept.tags,
        metadata=kept.metadata,
        owner=owner,
        when_unread=kept.when_unread,
        linger=kept.linger,
    )


DEFAULT_OPTIONS = encode_options(DEFAULT, _EVERY)
"""What most jobs are submitted with."""
