"""Drawn types with values of them: scalars, containers, records of all kinds, unions."""

from __future__ import annotations

# Types are made while it runs, and a value may be of any of them.
# pyright: basic, reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportInvalidTypeArguments=false
import dataclasses
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from functools import partial
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict, cast
from uuid import UUID

import attrs
import msgspec
from hypothesis import strategies as st


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


Values = st.SearchStrategy[Any]
DICT: Any = dict
LIST: Any = list
TUPLE: Any = tuple
NAMED: Any = NamedTuple
TYPED: Any = TypedDict  # all of them made as it runs


@attrs.frozen
class Shape:
    """A type, values of it, and values of other types; `keeps`: whether decoding returns equal values."""

    kind: Any
    exact: Values
    odd: Values
    hashable: bool = True
    keeps: bool = True


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4)
zones = st.sampled_from([UTC, timezone(timedelta(hours=-3, minutes=-30)), timezone(timedelta(hours=2))])
SCALARS: dict[Any, Values] = {
    int: st.integers(-(2**63), 2**64 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: texts,
    bool: st.booleans(),
    bytes: st.binary(max_size=4),
    UUID: st.uuids(),
    date: st.dates(),
    datetime: st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=zones),  # noqa: DTZ001
    time: st.times().map(lambda when: when.replace(fold=0)),
    timedelta: st.timedeltas(timedelta(days=-9999), timedelta(days=9999)),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    Colour: st.sampled_from(Colour),
    Level: st.sampled_from(Level),
    Literal["a", "b"]: st.sampled_from(["a", "b"]),
}
anything = st.one_of(*SCALARS.values(), st.times(), st.datetimes())
scalars = st.sampled_from([Shape(kind, exact, exact | anything) for kind, exact in SCALARS.items()])


# ------------------------------------------------------------ what holds others


def both(shape: Shape, kind: Any, make: Callable[[Values], Values], *, hashable: bool = False) -> Shape:
    return Shape(kind, make(shape.exact), make(shape.odd), hashable and shape.hashable, shape.keeps)


def listed(values: Values, to: Callable[[Any], Any] = list) -> Values:
    return st.lists(values, max_size=3).map(to)


@st.composite
def containers(draw: st.DrawFn, inner: st.SearchStrategy[Shape]) -> Shape:
    """Draw a list, a tuple, a set, a dict or an optional of something."""
    one = draw(inner)
    held = draw(st.sampled_from(["list", "tuple", "pair", "set", "frozenset", "dict", "none"]))
    if held in {"set", "frozenset"}:
        one = one if one.hashable else draw(scalars)
        to = set if held == "set" else frozenset
        found = both(one, to[one.kind], lambda each: listed(each, to), hashable=to is frozenset)
        return attrs.evolve(found, odd=found.odd | listed(one.exact, tuple))
    if held == "dict":
        key = draw(scalars.filter(lambda shape: shape.kind is not bool))  # of which JSON makes no key
        keys = st.one_of(key.exact, texts)
        return Shape(
            DICT[key.kind, one.kind],
            st.dictionaries(key.exact, one.exact, max_size=3),
            st.dictionaries(keys, one.odd, max_size=3),
            hashable=False,
            keeps=one.keeps,
        )
    if held == "pair":
        two = draw(inner)
        kind = TUPLE[one.kind, two.kind]
        exact, odd = st.tuples(one.exact, two.exact), st.tuples(one.odd, two.odd)
        return Shape(kind, exact, odd, one.hashable and two.hashable, one.keeps and two.keeps)
    if held == "none":
        return both(one, one.kind | None, lambda each: st.none() | each, hashable=True)
    if held == "tuple":
        return both(one, TUPLE[one.kind, ...], lambda each: listed(each, tuple), hashable=True)
    found = both(one, LIST[one.kind], listed)
    return attrs.evolve(found, odd=found.odd | listed(one.exact, tuple))


# ------------------------------------------------------------ records

NAMES = ["a", "_b", "some_name", "c2"]


def changed(self: Any) -> None:
    """Change an integer field, so that the decoded value differs from the encoded one."""
    put = setattr if isinstance(self, msgspec.Struct) else object.__setattr__  # past what is frozen
    put(self, "n", self.n // 2 + 3)


def filled(
    kind: Any, names: Mapping[str, str], late: Mapping[str, Values], each: Mapping[str, Values]
) -> Values:
    """Return records of a class: `__init__` gets its arguments by their names, and the rest is set later."""

    def made(given: dict[str, Any]) -> Any:
        record = kind(**{names[name]: value for name, value in given.items() if name not in late})
        for name in late.keys() & given:
            object.__setattr__(record, name, given[name])
        return record

    return st.fixed_dictionaries(dict(each)).map(made)


@st.composite
def classes(draw: st.DrawFn, inner: st.SearchStrategy[Shape], tag: str | None = None) -> Shape:
    """Draw an attrs class, a dataclass or a Struct (with a tag: this); a subclass of it is another type."""
    fields = draw(st.dictionaries(st.sampled_from(NAMES), inner, min_size=1, max_size=3))
    late = draw(st.sets(st.sampled_from(sorted(fields)), max_size=1))
    default = draw(st.sets(st.sampled_from(sorted(fields)))) | late
    values = {name: draw(fields[name].exact) for name in sorted(default)}
    wild = draw(st.sampled_from([False, False, True]))
    frozen = draw(st.booleans())
    flavour = "struct" if tag else draw(st.sampled_from(["attrs", "dataclass", "struct"]))
    kinds = {name: shape.kind for name, shape in fields.items()}
    aliases = {name: name for name in [*fields, "n"]}
    extra: Any
    if flavour == "attrs":
        body: dict[str, Any] = {}
        for name, shape in fields.items():
            factory = attrs.Factory(partial(values.__getitem__, name)) if name in default else attrs.NOTHING
            alias = draw(st.sampled_from([None, f"{name.strip('_')}_given"]))
            body[name] = attrs.field(
                default=factory, type=shape.kind, init=name not in late, alias=alias, kw_only=True
            )
        body["n"] = attrs.field(default=1, type=int, converter=lambda number: int(number) + 1)
        if wild:
            body["__attrs_post_init__"] = changed
        slots = draw(st.booleans())
        kind: Any = attrs.make_class("Made", body, frozen=frozen, slots=slots, eq=False)
        extra = attrs.make_class(
            "Sub", {"more": attrs.field(default=1, type=int, kw_only=True)}, (kind,), frozen=frozen
        )
        aliases = {field.name: cast("str", field.alias) for field in attrs.fields(kind)}
    elif flavour == "dataclass":
        listing = [
            (
                name,
                kinds[name],
                dataclasses.field(
                    default_factory=partial(values.__getitem__, name), init=name not in late, kw_only=True
                )
                if name in default
                else dataclasses.field(kw_only=True),
            )
            for name in fields
        ]
        space = {"__post_init__": changed} if wild else {}
        kind = dataclasses.make_dataclass(
            "Made", [*listing, ("n", int, 1)], frozen=frozen, eq=False, namespace=space
        )
        extra = dataclasses.make_dataclass("Sub", [("more", int, 1)], bases=(kind,), frozen=frozen)
    else:
        late = set()
        members = [
            (name, kinds[name], msgspec.field(default_factory=partial(values.__getitem__, name)))
            if name in default
            else (name, kinds[name])
            for name in fields
        ]
        config: dict[str, Any] = {
            "rename": draw(st.sampled_from([None, "camel"])),
            "tag": tag or draw(st.sampled_from([None, "made"])),
            "omit_defaults": draw(st.booleans()),
            "array_like": tag is None and draw(st.booleans()),
            "frozen": frozen and not wild,
        }
        space = {"__post_init__": changed} if wild else {}
        kind = msgspec.defstruct(
            "Made", [*members, ("n", int, 1)], namespace=space, kw_only=True, eq=False, **config
        )
        extra = msgspec.defstruct("Sub", [("more", int, 1)], bases=(kind,))
    later = {name: fields[name].exact for name in late}
    number = {"n": st.integers(-3, 3)}
    exact = filled(kind, aliases, later, number | {name: shape.exact for name, shape in fields.items()})
    odd = number | {name: shape.odd for name, shape in fields.items()}
    keeps = not wild and all(shape.keeps for shape in fields.values())
    either = filled(kind, aliases, later, odd) | filled(extra, aliases, later, odd)
    return Shape(kind, exact, either, hashable=False, keeps=keeps)


@st.composite
def rows(draw: st.DrawFn, inner: st.SearchStrategy[Shape]) -> Shape:
    """Draw a TypedDict, of which a value may have one key too many, or a NamedTuple, or a tuple for one."""
    fields = draw(st.dictionaries(st.sampled_from(["a", "b", "some_name"]), inner, min_size=1, max_size=3))
    keeps = all(shape.keeps for shape in fields.values())
    exact = {name: shape.exact for name, shape in fields.items()}
    odd = {name: shape.odd for name, shape in fields.items()}
    kinds = {name: shape.kind for name, shape in fields.items()}
    if draw(st.booleans()):
        kind: Any = NAMED("Made", [*kinds.items()])
        made = [st.fixed_dictionaries(each).map(lambda found: kind(**found)) for each in (exact, odd)]
        return Shape(kind, made[0], made[1] | made[0].map(tuple), hashable=False, keeps=keeps)
    free = draw(st.sets(st.sampled_from(sorted(fields))))
    kind = TYPED("Made", {name: NotRequired[kinds[name]] if name in free else kinds[name] for name in kinds})
    must = {name: exact[name] for name in exact if name not in free}
    more = {name: odd[name] for name in odd if name in free} | {"more": st.integers()}
    may = {name: exact[name] for name in free}
    return Shape(
        kind,
        st.fixed_dictionaries(must, optional=may),
        st.fixed_dictionaries({name: odd[name] for name in must}, optional=more),
        hashable=False,
        keeps=keeps,
    )


@st.composite
def unions(draw: st.DrawFn, inner: st.SearchStrategy[Shape]) -> Shape:
    """Draw a union, of Structs with tags or of types that JSON distinguishes."""
    one, two = draw(st.tuples(inner, inner) | st.tuples(classes(inner, "one"), classes(inner, "two")))
    kind = one.kind | two.kind
    try:
        msgspec.json.Decoder(kind)
    except TypeError:
        return one
    hashable, keeps = one.hashable and two.hashable, one.keeps and two.keeps
    return Shape(kind, one.exact | two.exact, one.odd | two.odd, hashable, keeps)


shapes = st.recursive(
    scalars, lambda inner: containers(inner) | classes(inner) | rows(inner) | unions(inner), max_leaves=5
)
