"""Values as JSON, for stores that outlive the process, and back.

What is read back is what JSON makes of a value: a tuple becomes a list, an attrs record an object, bytes
Base64. Only a handler's arguments get their types back, from its annotations (`Arguments`). NaN, which JSON
would change without a word, is refused, and so is text that not every store can hold, and nesting so deep
that not every reader could follow it. Needs msgspec, which only such stores load.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence, Set
from datetime import UTC, datetime
from typing import Any, Final, cast

import attrs
import msgspec

from ._errors import ErrorRecord, InvalidPayload
from ._handler import arity, mark_of
from ._handlers import Handler, parameter_types
from ._job import DEFAULT, Ended, Kind, Options, Priority, Progress, Timeouts
from ._retry import Matcher, Retry
from ._safe import ANY, message_of, shown
from ._states import Reason

DEPTH: Final = 200
"""How deep lists and objects may lie in each other. How deep JSON can be read depends on who reads it, from
how deep in a program; this much can be read anywhere."""

_encoder = msgspec.json.Encoder(order="deterministic")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_TEXT_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|([\[{])|[\]}]')
_EVERY = Retry().on


def encode(what: str, value: object) -> bytes:
    """Return a value as JSON.

    Args:
        what: What it is, for the error.
        value: The value.

    Raises:
        InvalidPayload: JSON cannot hold it, or would change it.
    """
    try:
        data = _encoder.encode(value)
    except Exception as error:  # noqa: BLE001  # the value may be anything, and its code raise anything
        raise InvalidPayload(f"{what} cannot be kept as JSON: {_why(error)}; got {shown(value)}") from None
    if rb"\u0000" in data and _NUL.search(data):
        raise InvalidPayload(f"{what} holds NUL, which not every store can keep; remove it")
    if data.count(b"[") + data.count(b"{") > DEPTH and depth(data) > DEPTH:
        raise InvalidPayload(f"{what} is nested more than {DEPTH} deep; make it flatter")
    if b"null" in data and _has_nan(msgspec.to_builtins(value)):
        raise InvalidPayload(f"{what} holds NaN or an infinity, which JSON does not have; got {shown(value)}")
    return data


def to_json(value: object) -> bytes:
    """Return a value that `encode` took as JSON."""
    return _encoder.encode(value)


_FLAT: Final[Set[type]] = {str, int, bool, type(None)}
"""What is not nested, and what JSON holds as it is or not at all."""


def encode_flat(records: Sequence[Any], values: Sequence[object], most: int) -> bytes | None:
    """Return records as a JSON array in one go, which costs a fraction of `encode` for each.

    Args:
        records: The records.
        values: What is in them that may be anything.
        most: How many characters these may have together.

    Returns:
        None if that is too much, or one of them has to be looked at by itself, to be encoded or refused.
    """
    if not set(map(type, values)) <= _FLAT:
        return None
    if sum(len(value) for value in values if isinstance(value, str)) > most:
        return None
    try:
        data = _encoder.encode(records)
    except (UnicodeEncodeError, OverflowError):
        return None
    return None if rb"\u0000" in data else data


def _why(error: Exception) -> str:
    """Return what speaks against a value; it becomes the message of a job, so it has to be fit for that."""
    if isinstance(error, RecursionError):
        return f"it is nested more than {DEPTH} deep, or holds itself"
    if isinstance(error, UnicodeEncodeError):
        return "it holds a lone surrogate, which is no text"
    said = message_of(error) or type(error).__name__
    return "the keys of a dict must be str" if said.startswith("Only dicts with str keys") else said


def depth(data: bytes) -> int:
    """Return how deep lists and objects lie in each other in JSON, or in what is to become it."""
    level = deepest = 0
    for found in _TEXT_OR_BRACKET.finditer(data):
        if found[1]:
            level += 1
            deepest = max(deepest, level)
        elif found[0][:1] != b'"':
            level -= 1
    return deepest


def _has_nan(value: object) -> bool:
    """Return whether there is NaN or an infinity in a value of plain lists, dicts and numbers."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, float):
            if not math.isfinite(item):
                return True
        elif isinstance(item, dict):
            stack += cast("dict[Any, object]", item).values()
        elif isinstance(item, (list, tuple, set, frozenset)):
            stack += cast("list[object]", item)
    return False


def decode(data: bytes | str) -> Any:
    """Return the value that `encode` made `data` of, as JSON has it."""
    return msgspec.json.decode(data)


class Arguments:
    """A handler's arguments on their way to a store and back.

    Args:
        fn: The handler.

    Raises:
        TypeError: An annotation cannot be resolved, or is of a type that cannot be made from JSON.
    """

    def __init__(self, fn: Handler) -> None:
        self.mark = mark_of(fn)
        self._named, self._rest = parameter_types(fn)
        self._least, self._most = arity(fn)
        self._decoders: dict[int, msgspec.json.Decoder[tuple[Any, ...]]] = {}
        self._decoder(len(self._named))

    def _decoder(self, count: int) -> msgspec.json.Decoder[tuple[Any, ...]]:
        decoder = self._decoders.get(count)
        if decoder is None:
            rest = [self._rest] * (count - len(self._named))
            types: Any = (*self._named[:count], *rest)
            try:
                decoder = msgspec.json.Decoder(tuple[types] if types else tuple[()])
            except TypeError as error:
                raise TypeError(
                    f"handler {self.mark.name} has an argument that cannot be made from JSON: {error}"
                ) from error
            self._decoders[count] = decoder
        return decoder

    def encode(self, args: tuple[Any, ...]) -> bytes:
        """Return arguments as JSON, after checking that they come back as the annotations say.

        Raises:
            InvalidPayload: JSON cannot hold one, or it does not fit its annotation.
        """
        if not args:
            return b"[]"
        data = encode(f"the arguments of {self.mark.name}", args)
        self.decode(data, len(args))
        return data

    def decode(self, data: bytes | str, count: int | None = None) -> tuple[Any, ...]:
        """Return the arguments that `encode` made `data` of, as the annotations say.

        Raises:
            InvalidPayload: They do not fit: the handler was another one then.
        """
        if count is None:
            count = len(decode(data))
            if not self._least <= count + 1 <= self._most:
                raise InvalidPayload(
                    f"the arguments of {self.mark.name} do not fit: it takes {max(0, self._least - 1):g} to "
                    f"{self._most - 1:g} now, and was given {count}"
                )
        try:
            return self._decoder(count).decode(data)
        except ANY as error:
            raise InvalidPayload(
                f"the arguments of {self.mark.name} do not fit: {message_of(error)}"
            ) from None


# ------------------------------------------------------------ records


def encode_error(error: ErrorRecord | None) -> bytes | None:
    """Return an error record as JSON."""
    return None if error is None else _encoder.encode([error.type, error.message, error.traceback])


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
        return _encoder.encode([value.reason, value.message, error, value.delay])
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
