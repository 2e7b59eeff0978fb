"""Values as JSON, for stores that outlive the process, and back.

What is read back is what JSON makes of a value: a tuple becomes a list, an attrs record an object, bytes
Base64. Only a handler's arguments get their types back, from its annotations (`Arguments`). NaN, which JSON
would change without a word, is refused, and so is text that not every store can hold, and nesting so deep
that not every reader could follow it. Needs msgspec, which only such stores load.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from itertools import accumulate
from typing import Any, Final, cast

import msgspec

from ._errors import InvalidPayload
from ._handler import arity, mark_of
from ._handlers import Handler, parameter_types
from ._safe import ANY, message_of, shown

DEPTH: Final = 200
"""How deep lists and objects may lie in each other. How deep JSON can be read depends on who reads it, from
how deep in a program; this much can be read anywhere."""

_encoder = msgspec.json.Encoder(order="deterministic")
_BRACKETS: Final = b"[]{}"
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in _BRACKETS)
_STEPS: Final = dict(zip(_BRACKETS, (1, -1, 1, -1), strict=True))


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
    if rb"\u0000" in data and rb"\u0000" in data.replace(rb"\\", b""):
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
    """Return how deep lists and objects lie in each other in JSON, or in what is to become it.

    It takes time in proportion to the size of the data, which a stranger may have sent; so it uses no regular
    expression. Without pairs of backslashes, a quote behind a backslash is one in a text.
    """
    texts_between = data.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')
    brackets = b"".join(texts_between[::2]).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


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
