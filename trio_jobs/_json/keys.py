"""Refuse keys with one hash: a set or a dict of many of them takes quadratic time.

Python salts the hashes of text, but not those of numbers, nor those of UUIDs, decimals and tuples of numbers.
So of a handler's arguments that become members of sets or keys of dicts, only a few may share a hash. That is
checked before the sets and dicts are made.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any, Final, cast

import msgspec
from msgspec import inspect

from .._common.errors import InvalidPayload

_ALIKE: Final = 50
"""How many different values may share a hash."""
_LONG: Final = 1000
_HEX: Final = 32  # digits of a UUID
_MODULUS: Final = sys.hash_info.modulus


def has_keys(types: Iterable[Any]) -> bool:
    """Return whether something of these types holds a set, or a dict whose keys are not text."""
    todo, seen = list[Any](inspect.multi_type_info(types)), set[int]()
    while todo:
        kind = todo.pop()
        if id(kind) in seen:  # a type that contains itself
            continue
        seen.add(id(kind))
        if isinstance(kind, (inspect.SetType, inspect.FrozenSetType)):
            return True
        if isinstance(kind, inspect.DictType) and not isinstance(
            kind.key_type, (inspect.StrType, inspect.AnyType)
        ):
            return True
        for name in ("type", "types", "item_type", "item_types", "value_type", "fields"):
            inner = getattr(kind, name, ())
            todo += inner if isinstance(inner, tuple) else [inner]
    return False


def check_keys(what: str, value: object) -> None:
    """Check that few members of a list, or keys of an object, share a hash in any type they may become.

    Args:
        what: The name of the value, for the error.
        value: The value that came as JSON.

    Raises:
        InvalidPayload: Too many do.
    """
    todo = [value]
    while todo:
        outer = todo.pop()
        if not isinstance(outer, (list, dict)):
            continue
        held = cast("list[Any] | dict[str, Any]", outer)
        todo += held.values() if isinstance(held, dict) else held
        if len(held) > _ALIKE:
            different = {msgspec.json.encode(one): one for one in held}
            ((_, alike),) = Counter(map(_hash, different.values())).most_common(1)
            if alike > _ALIKE:
                raise InvalidPayload(
                    f"{what} hold {alike} different keys or members with one hash; use other keys"
                )


def _hash(value: object) -> int:
    """Return the hash that a value of JSON has once it was converted to a type."""
    if isinstance(value, str):
        return _hash_of_text(value)
    if isinstance(value, list):
        return hash(tuple(map(_hash, cast("list[Any]", value))))
    if isinstance(value, dict):
        return hash(tuple(map(_hash, cast("dict[str, Any]", value).values())))
    return hash(value)


def _hash_of_text(text: str) -> int:
    if len(text) > _LONG:  # no message holds many of these
        return hash(text)
    digits = text.replace("-", "")
    try:
        return int(digits, 16) % _MODULUS if len(digits) == _HEX else hash(Decimal(text))
    except (ValueError, InvalidOperation, TypeError):
        return hash(text)
