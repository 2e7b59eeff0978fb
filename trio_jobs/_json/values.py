"""Turn values into JSON for durable stores, and back.

A value is read back as JSON has it: a tuple as a list, an attrs record as an object, bytes as Base64. Only a
handler's arguments get their types back, from its annotations (`_json/arguments.py`). Refused is what JSON
would change or leave out without an error (`_json/lost.py`), such as NaN, text that not every store can hold,
and nesting that not every reader can parse. Needs msgspec, which only durable stores load.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from functools import partial
from itertools import accumulate
from typing import Any, Final, cast

import msgspec

from .._common.error_text import ANY, message_of, shown
from .._common.errors import InvalidPayload
from .lost import Path, lost, spelled_out

DEPTH: Final = 200
"""How deep lists and objects may be nested. What a reader of JSON can parse depends on the reader and on the
depth
of its stack; this much can be parsed anywhere."""

_KEYS: Final = "Only dicts with str keys"  # as msgspec refuses to sort others
_encoder = msgspec.json.Encoder(order="deterministic")
_BRACKETS: Final = b"[]{}"
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in _BRACKETS)
_STEPS: Final = dict(zip(_BRACKETS, (1, -1, 1, -1), strict=True))


def encode(what: str, value: object) -> bytes:
    """Return a value as JSON.

    Args:
        what: The name of the value, for the error.
        value: The value.

    Raises:
        InvalidPayload: JSON cannot hold it, or would change it.
    """
    return written(what, value) if type(value) in _FLAT else whole(value, partial(_encode, what, value))


def _encode(what: str, value: object, form: object) -> bytes:
    data = written(what, form)
    try:
        loss = lost(value, decode(data), _anything, spelled=form is not value)
    except Exception as error:  # noqa: BLE001  # the value may be anything, and its code raise anything
        loss = message_of(error)
    if loss is not None:
        raise InvalidPayload(f"{what} cannot be kept as JSON: {loss}; got {shown(value)}")
    return data


def _anything(_: Path, __: object) -> bool:
    return True


def whole(value: object, keep: Callable[[object], bytes]) -> bytes:
    """Return `keep` of a value, or of its spelled out form if it refuses the value itself.

    Raises:
        InvalidPayload: `keep` refuses both.
    """
    try:
        return keep(value)
    except InvalidPayload:
        with suppress(*ANY):
            return keep(spelled_out(value))
        raise


def written(what: str, value: object, *, typed_keys: bool = False) -> bytes:
    """Return a value as JSON, without checking that nothing is lost.

    Args:
        what: The name of the value, for the error.
        value: The value.
        typed_keys: Whether a dict may have other keys than text, which become text.

    Raises:
        InvalidPayload: JSON cannot hold it.
    """
    try:
        data = _dumped(value, typed_keys=typed_keys)
    except Exception as error:  # noqa: BLE001  # the value may be anything, and its code raise anything
        raise InvalidPayload(f"{what} cannot be kept as JSON: {_why(error)}; got {shown(value)}") from None
    if rb"\u0000" in data and rb"\u0000" in data.replace(rb"\\", b""):
        raise InvalidPayload(f"{what} holds NUL, which not every store can keep; remove it")
    if data.count(b"[") + data.count(b"{") > DEPTH and depth(data) > DEPTH:
        raise InvalidPayload(f"{what} is nested more than {DEPTH} deep; make it flatter")
    if b"null" in data and _has_nan(msgspec.to_builtins(value, str_keys=typed_keys)):
        raise InvalidPayload(f"{what} holds NaN or an infinity, which JSON does not have; got {shown(value)}")
    return data


def _dumped(value: object, *, typed_keys: bool) -> bytes:
    try:
        return _encoder.encode(value)
    except TypeError as error:
        if not typed_keys or not str(error).startswith(_KEYS):
            raise
    return _encoder.encode(msgspec.to_builtins(value, str_keys=True, order="deterministic"))


def to_json(value: object) -> bytes:
    """Return a value as JSON that `encode` has accepted before."""
    if type(value) not in _FLAT:
        with suppress(InvalidPayload):  # for records of the package, which `encode` would refuse
            return encode("it", value)
    return _encoder.encode(value)


_FLAT: Final[Set[type]] = {str, int, bool, type(None)}
"""Types that are not nested, and whose values JSON holds unchanged or not at all."""


def encode_flat(records: Sequence[Any], values: Sequence[object], most: int) -> bytes | None:
    """Return records as a JSON array in one go, which costs a fraction of `encode` for each.

    Args:
        records: The records.
        values: The values in them that come from a program.
        most: How many characters these may have together.

    Returns:
        None if they have more, or one of them has to be encoded or refused by itself.
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
    """Return why a value was refused, as text that fits the message of a job."""
    if isinstance(error, RecursionError):
        return f"it is nested more than {DEPTH} deep, or holds itself"
    if isinstance(error, UnicodeEncodeError):
        return "it holds a lone surrogate, which is no text"
    text = message_of(error) or type(error).__name__
    return "the keys of a dict must be str" if text.startswith(_KEYS) else text


def depth(data: bytes) -> int:
    """Return how deep lists and objects are nested in JSON, or in text that may be JSON.

    It takes time in proportion to the size of the data, which may come from an attacker; so it uses no
    regular expression. Once pairs of backslashes are removed, a quote behind a backslash is part of a text.
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
