"""Turn events, errors and options into the JSON that durable stores keep, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast, get_args

import attrs
import msgspec

from .._common.error_text import shown
from .._common.errors import ErrorRecord, InvalidPayload
from .._common.states import Reason
from .._model.exclusive import Debounce
from .._model.job import DEFAULT, RECORD_OF, Ended, Kind, Options, Policy, Progress, Step, Unread
from .._model.retry import Matcher, Retry
from .values import decode, encode, to_json

if TYPE_CHECKING:
    from .._model.restart import Restart

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
        found = _as_object(value)
        return to_json(found if value.delay != math.inf else {**found, "delay": "inf"})
    if isinstance(value, Step):
        return encode(f"step {value.name}", attrs.asdict(value, recurse=False))
    if isinstance(value, Progress):
        return encode("progress", _as_object(value))
    return encode({Kind.TOKEN: "a token", Kind.COMPLETED: "the result"}.get(kind, "a saved value"), value)


def decode_event(kind: Kind, value: Any) -> Any:
    """Return the data of an event of that kind, of its value in JSON."""
    record = RECORD_OF.get(kind)
    if record is None:
        return value
    given = _fields(record, value)
    if record is Progress:
        return Progress(given.get("done", 0), given.get("total"), given.get("message"))
    if record is Step:
        return Step(str(given.get("name")), str(given.get("digest")), given.get("result"))
    reason, message = reason_of(given.get("reason"), given.get("message"))
    delay = math.inf if given.get("delay") == "inf" else given.get("delay")
    return Ended(
        reason or Reason.ERROR,
        message,
        _error_of(given.get("error")),
        delay,
        given.get("repeats", 0),
        given.get("replaced_by"),
    )


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
    retry = options.retry
    if retry.on not in (on, _EVERY):
        raise InvalidPayload(
            f"a durable store keeps no code: set Retry.on in @handler(retry=…); got {shown(retry.on)}"
        )
    limits, own = options.timeouts, retry.on is not _EVERY
    kept = {
        "timeouts": _timeouts(limits.run, limits.queue, limits.first_token, limits.idle),
        "retry": _retry(retry.attempts, retry.initial, retry.factor, retry.maximum, retry.jitter, own=own),
        "delay": options.delay,
        "run_at": None if options.run_at is None else _in_utc(options.run_at),
        "tags": dict(sorted(options.tags.items())),
        "when_unread": options.when_unread,
        "linger": options.linger,
        "exclusive": options.exclusive,
        "on_busy": attrs.asdict(options.on_busy)
        if isinstance(options.on_busy, Debounce)
        else options.on_busy,
        "limit_key": options.limit_key,
        "restart": None if options.restart is None else attrs.asdict(options.restart),
        "hide_args": options.hide_args,
    }
    return msgspec.json.encode(_unusual(kept))


# Most jobs have the same.
@lru_cache(1000, typed=True)  # whole numbers beyond `_EXACT` are written as what they are
def _timeouts(*limits: float | None) -> Mapping[str, Any]:
    named = zip(_CLOCKS, limits, strict=True)
    return {name: _as_written(limit) for name, limit in named if limit not in {None, math.inf}}


@lru_cache(1000, typed=True)  # whole numbers beyond `_EXACT` are written as what they are
def _retry(attempts: int | None, *numbers: float, own: bool) -> Mapping[str, Any]:
    return _unusual(
        {"attempts": attempts, **dict(zip(_NUMBERS, map(_as_written, numbers), strict=True)), "own": own}
    )


_CLOCKS: Final = ("run", "queue", "first_token", "idle")
_NUMBERS: Final = ("initial", "factor", "maximum", "jitter")
_USUAL: Final = {
    "attempts": 1,
    "own": False,
    "run_at": None,
    "when_unread": "continue",
    "exclusive": None,
    "on_busy": "reject",
    "limit_key": None,
    "restart": None,
    "hide_args": False,
}
"""What is left out of stored options. All else is written, as files have digests of it."""


def _unusual(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in _USUAL or value != _USUAL[name]}


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
    if number == math.inf:
        return "inf"  # JSON has none
    return float(number) if isinstance(number, int) and number < _EXACT else number


def decode_options(data: bytes | str, priority: int, owner: str | None, on: Matcher) -> Options:
    """Return the options that `encode_options` made `data` of.

    A field that is left out has the default of the record, which therefore never changes. Unknown fields are
    ignored.
    """
    found: dict[str, Any] = {**decode(data), "priority": priority, "owner": owner}
    if found.get("when_unread") not in get_args(Unread):
        found.pop("when_unread", None)
    on_busy = found.get("on_busy")
    if isinstance(on_busy, dict):
        found["on_busy"] = msgspec.convert(on_busy, Debounce)
    elif on_busy not in get_args(Policy):
        found.pop("on_busy", None)
    retry: dict[str, Any] = {**found.get("retry", {})}
    if retry.get("factor") == "inf":
        retry["factor"] = math.inf
    options = msgspec.convert({**found, "retry": retry}, Options)
    if options.restart is not None:
        options = attrs.evolve(options, restart=restart_of(found))
    return attrs.evolve(options, retry=attrs.evolve(options.retry, on=on)) if retry.get("own") else options


def restart_of(options: Mapping[str, Any]) -> Restart | None:
    """Return how a service is restarted, by its stored options; None for other jobs."""
    if (found := options.get("restart")) is None:
        return None
    from .._model.restart import Restart  # which few programs need

    return msgspec.convert(found, Restart)


DEFAULT_OPTIONS = encode_options(DEFAULT, _EVERY)
"""The options of most jobs."""
