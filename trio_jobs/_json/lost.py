"""What a value would lose on its way through JSON: what was given, walked beside what would be read.

A field that the encoder does not write, a subclass where its base is declared, a key that no field has: each
makes less of a value without a word. So what is to be kept is read once before, and compared here. To compare
the JSON again would not do: what was not written the first time is missing there too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set
from datetime import datetime, time
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, TypeAlias, cast

import msgspec

from .._common.error_text import shown

Path: TypeAlias = "tuple[Path, Any] | None"
"""Where a value is: where that is which holds it, and its place there. None is the whole."""
MayBecome: TypeAlias = Callable[[Path, object], bool]
"""Whether, at that place, a value may come back as what JSON makes of it."""
Pairs: TypeAlias = Iterable[tuple[Any, object, object]]
"""What was given and what would be read, each with its place."""

_TEXT: Final = frozenset[type]({str})
_ATOMS: Final[Set[type]] = {str, int, bool, type(None)}
_SCALARS: Final = frozenset[type]({*_ATOMS, float})
_PLAIN: Final[Set[type]] = {*_SCALARS, list, dict}
"""What JSON has itself. An annotation may make something else of it, as of all that a client sends."""
_TYPES: Final = 1000  # of which the fields are remembered
_HERE: Final = object()
_UNSET: Final = msgspec.UNSET


class _Loss(Exception):
    """What is lost: its place in the value at hand, and why."""

    def __init__(self, place: Any, why: str) -> None:
        self.place = place
        self.why = why


def lost(given: object, got: object, may_become: MayBecome) -> str | None:
    """Return where the first value would lose something by becoming the second, and what; None if nowhere."""
    try:
        if _is_same(given, got):
            return None
    except AttributeError:  # a field is not set
        pass
    todo: list[tuple[Path, object, object, bool]] = [(None, given, got, False)]
    while todo:
        path, one, other, converted = todo.pop()
        # A record that is made from JSON may make of it what it likes; only the names have to be its own.
        # So may a set, which has an order of its own: one member stands there for all.
        converted = converted or _is_made(one, other)
        try:
            for place, inner, found in _beside(one, other, path, may_become):
                if (converted and _is_scalar(inner)) or _is_kept(inner, found):
                    continue
                todo.append(((path, place), inner, found, converted))
        except _Loss as loss:
            return f"{_shown(path if loss.place is _HERE else (path, loss.place))} {loss.why}"
    return None


def _is_same(given: Any, got: Any) -> bool:
    """Return whether a value is the same all through, so that nothing is lost: most are, and this is quick.

    Of what it does not know it says no; then the walk decides. What holds nothing but scalars is compared by
    Python in one go.
    """
    kind = cast("Any", type(given))
    if kind is not type(got):
        return False
    if kind is dict:
        if given.keys() != got.keys() or not _TEXT.issuperset(map(type, given)):
            return False
        given, got = [*given.values()], [*map(got.get, given)]
    elif kind is not list and kind is not tuple:
        fields = _getter(cast("Hashable", kind))
        if fields is None:
            return False
        given, got = fields(given), fields(got)
    kinds = [*map(type, given)]
    if kinds != [*map(type, got)]:
        return False
    if _SCALARS.issuperset(kinds):
        return bool(given == got)
    each = zip(kinds, given, got, strict=True)
    return all(one == other if held in _SCALARS else _is_same(one, other) for held, one, other in each)


@lru_cache(_TYPES)
def _getter(kind: Hashable) -> Callable[[Any], tuple[Any, ...]] | None:
    """Return what gives the values of all fields of a record, if a class is one and has any."""
    names = list((_names_of(kind) or {}).values())
    return attrgetter(names[0], *names) if names else None


def _is_made(given: object, got: object) -> bool:
    if type(given) is list:
        return isinstance(got, (set, frozenset))
    return type(given) is dict and not isinstance(got, dict)


def _is_kept(given: object, got: object) -> bool:
    """Return whether something simple has come back, so that no more needs to be asked."""
    return type(given) in _ATOMS and type(given) is type(got) and given == got


def _is_scalar(value: object) -> bool:
    return type(value) in _SCALARS


def _beside(given: Any, got: Any, path: Path, may_become: MayBecome) -> Pairs:
    kind = cast("type[Any]", type(given))
    if kind is type(got):
        return _same(given, got)
    if got is _UNSET:
        raise _Loss(_HERE, "would be lost")
    if kind in _PLAIN:
        return _converted(given, got)
    if type(got) in _PLAIN and may_become(path, given):
        return _flattened(given, got)
    if is_nested(given) or not _equal(given, got):
        raise _Loss(_HERE, f"is of type {kind.__qualname__}, and {_back_as(got)}")
    return ()


def _same(given: Any, got: Any) -> Pairs:
    """Compare what comes back with the same class."""
    if isinstance(given, dict):
        return _in_dicts(cast("dict[Any, object]", given), got)
    if isinstance(given, (list, tuple)):
        return _in_order(cast("Sequence[object]", given), got)
    if isinstance(given, (set, frozenset)):
        found = {one: one for one in cast("Set[object]", got)}
        return ((place, one, found.get(one, _UNSET)) for place, one in enumerate(cast("Set[object]", given)))
    names = names_in(given)
    if names is not None:
        return _in_records(given, got, names.values())
    if not _equal(given, got):
        raise _Loss(_HERE, _back_as(got))
    return ()


def _converted(given: Any, got: Any) -> Pairs:
    """Compare what JSON has itself with what an annotation made of it."""
    names = names_in(got)
    if isinstance(given, dict) and names is not None:
        return _in_names(cast("dict[str, object]", given), got, names)
    if isinstance(given, list):
        items = cast("list[Any]", given)
        if isinstance(got, (set, frozenset)):  # in any order, so that one of them has to stand for all
            one = next(iter(cast("Set[object]", got)), None)
            return ((place, item, one) for place, item in enumerate(items) if not _is_scalar(item))
        if names is not None:  # of a Struct that is an array
            fields = items[: _tagged(got)] + [getattr(got, name) for name in names.values()]
            if len(items) > len(fields):
                raise _Loss(len(fields), f"is no field of {type(got).__qualname__}")
            return _in_order(items, fields)
        return _in_order(items, cast("tuple[object, ...]", got)) if isinstance(got, tuple) else ()
    if isinstance(given, (int, float)) and isinstance(got, (int, float)) and given != got:
        raise _Loss(_HERE, _back_as(got))
    return ()


def _flattened(given: Any, got: Any) -> Pairs:
    """Compare something with what JSON makes of it."""
    if isinstance(given, dict):
        return _in_dicts(cast("dict[Any, object]", given), got)
    if isinstance(given, (list, tuple)):
        return _in_order(cast("Sequence[object]", given), got)
    if isinstance(given, (set, frozenset)):  # in any order
        found = {_canonical(one): one for one in got}
        each = enumerate(cast("Set[object]", given))
        return ((place, one, found.get(_canonical(spelled_out(one)), _UNSET)) for place, one in each)
    names = names_in(given)
    if names is not None and isinstance(got, list):  # of a Struct that is an array
        got = dict(zip(names, cast("list[object]", got)[_tagged(given) :], strict=False))
    if names is None or not isinstance(got, dict):
        return ()
    fields = cast("dict[str, object]", got)
    if isinstance(given, msgspec.Struct):  # which says itself what of it is written
        names = {name: names[name] for name in names if name in fields}
    return ((name, getattr(given, names[name], _UNSET), fields.get(name, _UNSET)) for name in names)


# ------------------------------------------------------------ what holds others


def is_nested(value: object) -> bool:
    """Return whether a value is made of others."""
    return isinstance(value, (dict, list, tuple, set, frozenset)) or names_in(value) is not None


def names_in(value: object) -> Mapping[str, str] | None:
    """Return the fields of a record by their names in JSON; None if it is none."""
    return _names_of(cast("Any", type(value)))


@lru_cache(_TYPES)
def _names_of(kind: Any) -> Mapping[str, str] | None:
    if issubclass(kind, msgspec.Struct):
        return dict(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))
    fields = getattr(kind, "__attrs_attrs__", None)
    if dataclasses.is_dataclass(kind):
        fields = dataclasses.fields(kind)
    return None if fields is None else {field.name: field.name for field in fields}


def _in_order(given: Sequence[object], got: Sequence[object]) -> Pairs:
    return ((place, one, other) for place, (one, other) in enumerate(zip(given, got, strict=False)))


def _in_dicts(given: dict[Any, object], got: dict[Any, object]) -> Pairs:
    only_text = set(map(type, given)) <= _TEXT
    if only_text and len(given) == len(got) and _TEXT.isdisjoint(map(type, got)):
        # An annotation made other keys of them, in the order that they have in JSON.
        return ((key, given[key], value) for key, value in zip(sorted(given), got.values(), strict=True))
    keys = {key: key for key in got}
    for key in given:
        if key not in keys:
            raise _Loss(
                key, "would be lost" if type(key) is str else "has a key that would come back as text"
            )
        if not only_text and not _equal(key, keys[key]):
            raise _Loss(key, f"has a key that {_back_as(keys[key])}")
    return ((key, value, got[key]) for key, value in given.items())


def _in_records(given: object, got: object, names: Iterable[str]) -> Pairs:
    return ((name, getattr(given, name, _UNSET), getattr(got, name, _UNSET)) for name in names)


def _in_names(given: dict[str, object], got: object, names: Mapping[str, str]) -> Pairs:
    kind = type(got)
    tag = got.__struct_config__.tag_field if isinstance(got, msgspec.Struct) else None
    for name in given:
        if name not in names and name != tag:
            raise _Loss(name, f"is no field of {kind.__qualname__}")
    return (
        (name, value, getattr(got, names[name], _UNSET)) for name, value in given.items() if name in names
    )


def _tagged(value: Any) -> int:
    """Return how many places the tag of a Struct takes that is an array: 1 if it has one."""
    return int(value.__struct_config__.tag is not None)


def _canonical(value: object) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def _equal(given: Any, got: Any) -> bool:
    if isinstance(given, (datetime, time)):
        offset = given.utcoffset()
        if offset is None:  # then `==` does not see which of two equal hours it is
            return bool(given == got and given.fold == got.fold)
        return bool(given == got and offset == got.utcoffset())
    return bool(given == got)


def _back_as(got: object) -> str:
    return f"would come back as {shown(got)}"


# ------------------------------------------------------------ where it is


def steps(path: Path) -> list[Any]:
    """Return the places on the way to a value, from outside."""
    found: list[Any] = []
    while path is not None:
        path, place = path
        found.append(place)
    return found[::-1]


def _shown(path: Path) -> str:
    return "$" + "".join(
        f".{place}" if isinstance(place, str) and place.isidentifier() else f"[{shown(place)}]"
        for place in steps(path)
    )


def spelled_out(value: Any) -> Any:
    """Return a value with its records as dicts of all their fields; attrs ones hide some from the encoder."""
    names = names_in(value)
    if names is not None:
        found = {
            name: spelled_out(getattr(value, names[name])) for name in names if hasattr(value, names[name])
        }
        config = value.__struct_config__ if isinstance(value, msgspec.Struct) else None
        if config is not None and config.array_like:
            return [*[config.tag][: _tagged(value)], *found.values()]
        return found if config is None or config.tag is None else {config.tag_field: config.tag, **found}
    if isinstance(value, dict):
        return {key: spelled_out(item) for key, item in cast("dict[Any, object]", value).items()}
    if isinstance(value, (list, tuple)):
        return [spelled_out(item) for item in cast("Iterable[object]", value)]
    if isinstance(value, (set, frozenset)):  # in one order, in whatever process: equal values are equal JSON
        return sorted(map(spelled_out, cast("Iterable[object]", value)), key=_canonical)
    return value
