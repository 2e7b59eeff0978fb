"""Values as JSON, for stores that outlive the process, and back.

What is read back is what JSON makes of a value: a tuple becomes a list, an attrs record an object, bytes
Base64. Only a handler's arguments get their types back, from its annotations (`_json/arguments.py`). What
JSON would change without a word is refused, as NaN and what it leaves out (`_json/lost.py`), and so is text
that not every store can hold, and nesting so deep that not every reader could follow it. Needs msgspec, which
only such stores load.
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
"""How deep lists and objects may lie in each other. How deep JSON can be read depends on who reads it, from
how deep in a program; this much can be read anywhere."""

_KEYS: Final = "Only dicts with str keys"  # as msgspec refuses to sort others
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
    return written(what, value) if type(value) in _FLAT else whole(value, partial(_encode, what, value))


def _encode(what: str, value: object, form: object) -> bytes:
    data = written(what, form)
    try:
        loss = lost(value, decode(data), _anything)
    except Exception as error:  # noqa: BLE001  # the value may be anything, and its code raise anything
        loss = message_of(error)
    if loss is not None:
        raise InvalidPayload(f"{what} cannot be kept as JSON: {loss}; got {shown(value)}")
    return data


def _anything(_: Path, __: object) -> bool:
    return True


def whole(value: object, keep: Callable[[object], bytes]) -> bytes:
    """Return what `keep` makes of a value, or of its spelled out form if it refuses the value itself.

    Raises:
        InvalidPayload: It refuses both.
    """
    try:
        return keep(value)
    except InvalidPayload:
        with suppress(*ANY):
            return keep(spelled_out(value))
        raise


def written(what: str, value: object, *, typed_keys: bool = False) -> bytes:
    """Return a value as JSON, though it may lose something by that.

    Args:
        what: What it is, for the error.
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
    """Return a value that `encode` took as JSON."""
    if type(value) not in _FLAT:
        with suppress(InvalidPayload):  # for what is no value of a program's, and was not taken
            return encode("it", value)
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
    return "the keys of a dict must be str" if said.startswith(_KEYS) else said


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
