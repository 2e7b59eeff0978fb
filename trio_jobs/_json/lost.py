"""Find what a value would lose as JSON, by comparing it with the value that would be read.

An encoder leaves out fields it does not write, what a subclass adds to the declared base, and keys that are
no field, without an error. So a value is encoded and decoded before it is kept, and the two are compared
here. To compare their JSON would not do: what the encoder left out is missing in both.
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
"""Where a value is: the path of its container, and its place in that. None is the whole."""
MayBecome: TypeAlias = Callable[[Path, object], bool]
"""Whether the value at that path may come back as JSON has it, a list for a tuple, say."""
Pairs: TypeAlias = Iterable[tuple[Any, object, object]]
"""Place, value given and value read of each member."""

_TEXT: Final = frozenset[type]({str})
_ATOMS: Final[Set[type]] = {str, int, bool, type(None)}
_SCALARS: Final = frozenset[type]({*_ATOMS, float})
_PLAIN: Final[Set[type]] = {*_SCALARS, list, dict}
"""The types of JSON. An annotation may convert a value of them, as all that a client sends."""
_TYPES: Final = 1000  # whose fields are cached
_HERE: Final = object()
_UNSET: Final = msgspec.UNSET


class _Loss(Exception):
    """Something is lost: its place in the value at hand, and why."""

    def __init__(self, place: Any, why: str) -> None:
        self.place = place
        self.why = why


def lost(given: object, got: object, may_become: MayBecome, *, spelled: bool) -> str | None:
    """Return where and what a value loses by becoming another one, as text; None if nothing.

    Args:
        given: The value.
        got: The other one, of what was written.
        may_become: What the value may come back as.
        spelled: Whether all fields were written, private ones too, which an encoder leaves out.
    """
    try:
        if _is_same(given, got):
            return None
    except AttributeError:  # a field is not set
        pass
    unwritten: Path = None
    todo: list[tuple[Path, object, object, bool]] = [(None, given, got, False)]
    while todo:
        path, one, other, converted = todo.pop()
        # A record that is made from JSON may convert its fields; only their names are compared.
        # So may a set, whose order is another one: one member is compared in place of all.
        converted = converted or _is_made(one, other)
        if not spelled and (name := _unwritten(cast("Hashable", type(one)))) is not None:
            unwritten = path, name  # its default has come back, even if that is seen nowhere
        try:
            for place, inner, found in _beside(one, other, path, may_become):
                if (converted and _is_scalar(inner)) or _is_kept(inner, found):
                    continue
                todo.append(((path, place), inner, found, converted))
        except _Loss as loss:
            return f"{_shown(path if loss.place is _HERE else (path, loss.place))} {loss.why}"
    return None if unwritten is None else f"{_shown(unwritten)} would be lost"


def _is_same(given: Any, got: Any) -> bool:
    """Return whether two values are quickly seen to be the same, as most are; else the walk decides.

    Containers of scalars only are compared by Python in one go.
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
    """Return a function that gives all fields of a record; None if it has none, or some that are private."""
    names = list((_names_of(kind) or {}).values())
    return attrgetter(names[0], *names) if names and _unwritten(kind) is None else None


@lru_cache(_TYPES)
def _unwritten(kind: Any) -> str | None:
    """Return a field of a class that encoders leave out, as it is private; None if there is none."""
    fields = () if issubclass(kind, msgspec.Struct) else _names_of(kind) or ()
    return next((name for name in fields if name.startswith("_")), None)


def _is_made(given: object, got: object) -> bool:
    if type(given) is list:
        return isinstance(got, (set, frozenset))
    return type(given) is dict and not isinstance(got, dict)


def _is_kept(given: object, got: object) -> bool:
    """Return whether a simple value has come back unchanged, so that no more needs to be compared."""
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
    """Compare two values of the same class."""
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
    """Compare a value of JSON with what an annotation converted it to."""
    names = names_in(got)
    if isinstance(given, dict) and names is not None:
        return _in_names(cast("dict[str, object]", given), got, names)
    if isinstance(given, list):
        items = cast("list[Any]", given)
        if isinstance(got, (set, frozenset)):  # in any order, so one of them is compared in place of all
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
    """Compare a value with its form in JSON."""
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
    if isinstance(given, msgspec.Struct):  # it decides itself which fields are written
        names = {name: names[name] for name in names if name in fields}
    return ((name, getattr(given, names[name], _UNSET), fields.get(name, _UNSET)) for name in names)


# ------------------------------------------------------------ containers


def is_nested(value: object) -> bool:
    """Return whether a value is a container or a record."""
    return isinstance(value, (dict, list, tuple, set, frozenset)) or names_in(value) is not None


def names_in(value: object) -> Mapping[str, str] | None:
    """Return the fields of a record by their names in JSON; None if the value is no record."""
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
        # An annotation converted the keys, in the order that they have in JSON.
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
    """Return how many places the tag takes in a Struct that is an array: 1 if it has a tag, else 0."""
    return int(value.__struct_config__.tag is not None)


def _canonical(value: object) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def _equal(given: Any, got: Any) -> bool:
    if isinstance(given, (datetime, time)):
        offset = given.utcoffset()
        if offset is None:  # then `==` does not tell apart the two hours when clocks are set back
            return bool(given == got and given.fold == got.fold)
        return bool(given == got and offset == got.utcoffset())
    return bool(given == got)


def _back_as(got: object) -> str:
    return f"would come back as {shown(got)}"


# ------------------------------------------------------------ paths


def steps(path: Path) -> list[Any]:
    """Return the places of a path, the outermost first."""
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
    """Return a value with its records as dicts of all fields, as encoders leave out some of attrs classes."""
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
