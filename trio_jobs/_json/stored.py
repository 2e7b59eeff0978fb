"""Turn events, errors and options into the JSON that durable stores keep, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, cast, get_args

import attrs
import msgspec

from .._common.error_text import shown
from .._common.errors import ErrorRecord, InvalidPayload
from .._common.states import Reason
from .._model.job import DEFAULT, Ended, Kind, Options, Priority, Progress, Timeouts, Unread
from .._model.retry import Matcher, Retry
from .values import decode, encode, to_json

_EXACT: Final = 2**53
"""A float holds each whole number below it exactly."""
_EVERY = Retry().on


def encode_error(error: ErrorRecord | None) -> bytes | None:
    """Return an error record as JSON."""
    return None if error is None else to_json(_as_object(error))


def decode_error(data: bytes | str | None) -> ErrorRecord | None:
    """Return the record that `encode_error` made `data` of."""
    return None if data is None else _error_of(decode(data))


def encode_event(kind: Kind, value: Any) -> bytes:
    """Return the data of an event of that kind as JSON.

    Raises:
        InvalidPayload: JSON cannot hold it, or would change it.
    """
    if isinstance(value, Ended):
        return to_json(_as_object(value))
    if isinstance(value, Progress):
        return encode("progress", _as_object(value))
    return encode({Kind.TOKEN: "a token", Kind.COMPLETED: "the result"}.get(kind, "a saved value"), value)


def decode_event(kind: Kind, value: Any) -> Any:
    """Return the data of an event of that kind, of its value in JSON."""
    if kind is Kind.PROGRESS:
        given = _fields(Progress, value)
        return Progress(given.get("done", 0), given.get("total"), given.get("message"))
    if kind in {Kind.RETRIED, Kind.FAILED, Kind.CANCELLED, Kind.EXPIRED}:
        given = _fields(Ended, value)
        reason, message = reason_of(given.get("reason"), given.get("message"))
        return Ended(reason or Reason.ERROR, message, _error_of(given.get("error")), given.get("delay"))
    return value


def reason_of(word: str | None, message: str | None) -> tuple[Reason | None, str | None]:
    """Return the reason of that name and the message; a name that is not known goes into the message."""
    try:
        return None if word is None else Reason(word), message
    except ValueError:
        return Reason.ERROR, f"{message or 'no message'} (for a reason that is not known here: {word})"


def _as_object(record: Any) -> dict[str, Any]:
    """Return a record by the names of its fields, without those that have their defaults."""
    return attrs.asdict(record, filter=lambda field, value: value != field.default)


def _fields(kind: type[Any], value: Any) -> Mapping[str, Any]:
    """Return the fields of a record: an object; in logs of the first version, an array of all of them."""
    if isinstance(value, list):
        names = [field.name for field in attrs.fields(kind)]
        return dict(zip(names, cast("list[Any]", value), strict=False))
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    raise ValueError(f"{kind.__name__} is an object; got {shown(value)}")


def _error_of(value: Any) -> ErrorRecord | None:
    if value is None:
        return None
    given = _fields(ErrorRecord, value)
    return ErrorRecord(*(str(given.get(field.name, "")) for field in attrs.fields(ErrorRecord)))


def encode_options(options: Options, on: Matcher) -> bytes:
    """Return options as JSON, but for `priority`, `owner` and `metadata`, which stores keep apart.

    `Retry.on` is code, so a store keeps only whether it is the default (`Exception`) or that of the handler's
    mark.

    Args:
        options: The options.
        on: The `Retry.on` of the handler's mark.

    Raises:
        InvalidPayload: `Retry.on` is neither of these, or JSON cannot hold an option.
    """
    retry, timeouts = options.retry, options.timeouts
    if retry.on not in (on, _EVERY):
        raise InvalidPayload(
            f"a durable store keeps no code: set Retry.on in @handler(retry=…); got {shown(retry.on)}"
        )
    clocks = [None if one == math.inf else _as_written(one) for one in attrs.astuple(timeouts)]
    factor = "inf" if retry.factor == math.inf else _as_written(retry.factor)
    initial, maximum, jitter = map(_as_written, (retry.initial, retry.maximum, retry.jitter))
    kept = _Options(
        _Timeouts(*clocks),
        _Retry(retry.attempts, initial, factor, maximum, jitter, retry.on is not _EVERY),
        options.delay,
        None if options.run_at is None else _in_utc(options.run_at),
        dict(options.tags),
        options.when_unread,
        options.linger,
    )
    return encode("the options", kept)


def encode_metadata(options: Options) -> bytes | None:
    """Return the metadata in options as JSON, if there is any.

    Raises:
        InvalidPayload: JSON cannot hold it, or would change it.
    """
    return encode("metadata", options.metadata) if options.metadata else None


def _in_utc(when: datetime) -> datetime:
    """Return a time in UTC, as an offset can be written in whole minutes only."""
    try:
        return when.astimezone(UTC)
    except OverflowError:  # near the first or last year that a datetime has
        return when


def _as_written(number: Any) -> Any:
    """Return a number as it is written: 5 and 5.0 alike, so that they are the same under a key, too."""
    return float(number) if isinstance(number, int) and number < _EXACT else number


# A field that is left out has the default that is written here. These defaults belong to the format and never
# change, even if those of the library do. Unknown fields are ignored.


class _Timeouts(msgspec.Struct, omit_defaults=True):
    run: int | float | None = None
    queue: int | float | None = None
    first_token: int | float | None = None
    idle: int | float | None = None


class _Retry(msgspec.Struct, omit_defaults=True):
    attempts: int = 1
    initial: int | float = 1.0
    factor: int | float | str = 2.0
    maximum: int | float = 60.0
    jitter: int | float = 0.5
    own: bool = False


class _Options(msgspec.Struct, omit_defaults=True):
    timeouts: _Timeouts = msgspec.field(default_factory=_Timeouts)
    retry: _Retry = msgspec.field(default_factory=_Retry)
    delay: int | float = 0.0
    run_at: datetime | None = None
    tags: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    when_unread: str = "continue"
    linger: int | float = 10.0


_stored = msgspec.json.Decoder(_Options)


def decode_options(data: bytes | str, priority: int, owner: str | None, on: Matcher) -> Options:
    """Return the options that `encode_options` made `data` of."""
    kept = _stored.decode(data)
    retry = kept.retry
    known = kept.when_unread in get_args(Unread)
    return Options(
        timeouts=Timeouts(*msgspec.structs.astuple(kept.timeouts)),
        retry=Retry(
            retry.attempts,
            retry.initial,
            math.inf if isinstance(retry.factor, str) else retry.factor,
            retry.maximum,
            retry.jitter,
            on if retry.own else _EVERY,
        ),
        priority=Priority(priority),
        delay=kept.delay,
        run_at=kept.run_at,
        tags=kept.tags,
        owner=owner,
        when_unread=cast("Unread", kept.when_unread) if known else "continue",
        linger=kept.linger,
    )


DEFAULT_OPTIONS = encode_options(DEFAULT, _EVERY)
"""The options of most jobs."""
