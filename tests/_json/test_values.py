"""Values as JSON and back: each comes back equal, or is refused by name."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import partial
from typing import Any, Literal, Optional, TypeAlias

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests._json.coding import DEPTH, Arguments, decode, encode, encode_flat, texts, to_json, values
from trio_jobs import (
    InvalidPayload,
    State,
)


def tidy(value: Any) -> Any:
    """Return the value with sorted keys, for `repr`, which distinguishes 1 from 1.0 as `==` does not."""
    if isinstance(value, dict):
        return {key: tidy(value[key]) for key in sorted(value)}
    return [tidy(item) for item in value] if isinstance(value, list) else value


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


# ------------------------------------------------------------ values


@given(values)
def test_what_json_has_comes_back(value: Any) -> None:
    """Text, numbers, lists and dicts come back equal and of the same types, and have the same size again."""
    data = encode("it", value)
    assert repr(tidy(decode(data))) == repr(tidy(value))
    assert encode("it", decode(data)) == data


@given(st.dictionaries(texts, st.integers()))
def test_equal_values_are_equal_json(value: dict[str, int]) -> None:
    """Equal dicts have equal JSON in any order of insertion: submits under a key are compared by it."""
    assert encode("it", value) == encode("it", dict(reversed(value.items())))


@dataclass
class Plain:
    x: Any


class Struct(msgspec.Struct):
    x: Any


@attrs.frozen
class Frozen:
    x: Any


@attrs.define
class Slotted:
    x: Any


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Limit(Enum):
    NONE = math.inf


CONTAINERS: dict[str, Callable[[Any], Any]] = {
    "itself": lambda x: x,
    "list": lambda x: [1, x],
    "tuple": lambda x: (x,),
    "dict": lambda x: {"a": {"b": x}},
    "dataclass": Plain,
    "struct": Struct,
    "frozen": Frozen,
    "slotted": lambda x: Slotted([Frozen(x)]),
}


@pytest.mark.parametrize("contain", CONTAINERS.values(), ids=CONTAINERS)
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, Limit.NONE])
def test_what_is_no_number_is_refused_wherever_it_is(contain: Callable[[Any], Any], number: Any) -> None:
    """NaN and infinities, which JSON encoders turn into null, are refused at any depth."""
    with pytest.raises(InvalidPayload, match="^the value holds NaN or an infinity"):
        encode("the value", contain(number))


@pytest.mark.parametrize("contain", CONTAINERS.values(), ids=CONTAINERS)
def test_none_is_no_nan(contain: Callable[[Any], Any]) -> None:
    """None becomes null at any depth, and a set beside it becomes a list."""
    assert b"null" in encode("it", contain(None))
    assert decode(encode("it", [None, {1.5}, "null"])) == [None, [1.5], "null"]


@given(texts, texts, st.integers(0, 5))
def test_nul_is_refused_and_nothing_else(before: str, after: str, backslashes: int) -> None:
    """NUL is found after any text and in keys; a text that only looks like its escape is accepted."""
    for broken in (f"{before}\0{after}", [before, {f"{after}\0": 1}]):
        with pytest.raises(InvalidPayload, match="holds NUL, which not every store can keep; remove it"):
            encode("it", broken)
    harmless = f"{before}{chr(92) * (backslashes + 1)}u0000{after}"
    assert decode(encode("it", harmless)) == harmless


@given(texts, st.characters(categories=["Cs"]))
def test_lone_surrogates_are_refused(text: str, surrogate: str) -> None:
    """A lone surrogate is refused, in an error that can itself be encoded."""
    with pytest.raises(InvalidPayload, match="lone surrogate") as caught:
        encode("it", {text: [text + surrogate]})
    str(caught.value).encode()


@given(st.lists(st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | texts))
def test_flat_values_are_encoded_in_one_go(found: list[Any]) -> None:
    """`encode_flat` gives what `encode` gives one by one, or None, which leaves the values to `encode`."""
    whole = encode_flat(found, found, 10**6)
    each = [encode("a value", value) for value in found]
    assert whole in (b"[%b]" % b",".join(each), None)
    assert (whole is None) == any(b"\\u0000" in one for one in each)
    assert [to_json(value) for value in found] == each


@pytest.mark.parametrize("value", [1.5, math.nan, [1], {"a": 1}, "a\0", "\ud800", State.QUEUED, object()])
def test_what_has_to_be_looked_at_is_not_encoded_in_one_go(value: Any) -> None:
    """A value that may be nested, NaN or bad text leaves all values to `encode`; so does too much text."""
    assert encode_flat(["a", "12345678"], ["a", "12345678"], 9) is not None
    assert encode_flat(["a", "123456789"], ["a", "123456789"], 9) is None
    assert encode_flat(["a", value], ["a", value], 9) is None


def test_nesting_has_a_limit_that_any_reader_can_follow() -> None:
    """A value at the limit of depth can be decoded from a deep stack; a deeper one is refused."""

    def deep_down(frames: int, data: bytes) -> Any:
        return deep_down(frames - 1, data) if frames else decode(data)

    data = encode("it", nested(DEPTH))
    assert deep_down(sys.getrecursionlimit() // 2, data) == nested(DEPTH)
    itself: list[Any] = []
    itself.append(itself)
    for depth, value in {1: nested(DEPTH + 1), 2: {"a": nested(DEPTH)}, 3: nested(50_000), 4: itself}.items():
        with pytest.raises(InvalidPayload, match=f"nested more than {DEPTH} deep"):
            encode(f"{depth}", value)


@given(values, texts)
def test_what_is_wide_is_not_deep(value: Any, text: str) -> None:
    """The limit of depth counts neither lists beside each other nor brackets in a text."""
    wide = [[value], f'[{{"{text}[[\\"'] * DEPTH
    assert decode(encode("it", wide)) == wide


class Mute:
    def __repr__(self) -> str:
        raise ValueError("no")


class Leaver:
    def __repr__(self) -> str:
        raise SystemExit


class Foul:
    def __repr__(self) -> str:
        return "\ud800\0"


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (Mute(), "Encoding objects of type Mute is unsupported; got an object of Mute"),
        (Leaver(), "Encoding objects of type Leaver is unsupported; got an object of Leaver"),
        (Foul(), "Encoding objects of type Foul is unsupported; got ??"),
        ([Foul()], "Foul is unsupported"),
        (1j, "complex is unsupported; got 1j"),
        (print, "is unsupported; got <built-in function print>"),
        ({1: 2}, "the keys of a dict must be str; got {1: 2}"),
        ({"a": {None: 2}}, "the keys of a dict must be str"),
    ],
)
def test_what_json_cannot_hold_is_refused(value: object, complaint: str) -> None:
    """The error names and shows the value, even if its `repr` raises, and can be stored as the message of a
    job."""
    with pytest.raises(InvalidPayload) as caught:
        encode("a token", value)
    assert str(caught.value).startswith("a token cannot be kept as JSON: ")
    assert complaint in str(caught.value)
    encode("the message", str(caught.value))


# ------------------------------------------------------------ arguments


@attrs.frozen
class Point:
    x: int
    y: int = 0

    def __attrs_post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("x must not be negative")


@attrs.frozen
class Touchy:
    x: int

    def __attrs_post_init__(self) -> None:
        raise SystemExit(self.x)


class Wordless(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@attrs.frozen
class Silent:
    x: int

    def __attrs_post_init__(self) -> None:
        raise Wordless


Id: TypeAlias = int | str


async def many(
    job: object,
    point: Point,
    word: Literal["a", "b"],
    maybe: Optional[Point] = None,  # noqa: UP045  # how many write it
    *rest: Id | None,
) -> None: ...


async def when(job: object, at: datetime, took: timedelta, blob: bytes, colour: Colour) -> None: ...


async def untyped(job, a, b=2) -> None: ...  # type: ignore[no-untyped-def]  # is what is tried here


async def nothing(job: object) -> None: ...


async def only_rest(*everything: int) -> None: ...


class Service:
    async def method(self, job: object, point: Point) -> None: ...

    async def __call__(self, job: object, point: Point) -> None: ...


points = st.builds(Point, st.integers(0, 2**62), st.integers(-(2**62), 2**62))
CALLS: st.SearchStrategy[tuple[Any, tuple[Any, ...]]] = st.one_of(
    st.tuples(
        st.just(many),
        st.tuples(points, st.sampled_from("ab"))
        | st.tuples(points, st.sampled_from("ab"), st.none() | points)
        | st.builds(
            lambda a, b, c, rest: (a, b, c, *rest),
            points,
            st.sampled_from("ab"),
            st.none() | points,
            st.lists(st.none() | st.integers(-(2**62), 2**62) | texts),
        ),
    ),
    st.tuples(
        st.just(when),
        st.tuples(
            st.datetimes(timezones=st.just(UTC)),
            st.timedeltas(timedelta(-1000), timedelta(1000)),
            st.binary(),
            st.just(Colour.RED),
        ),
    ),
    st.tuples(st.just(untyped), st.tuples(values) | st.tuples(values, values)),
    st.tuples(st.just(nothing), st.just(())),
    st.tuples(st.just(only_rest), st.lists(st.integers()).map(tuple)),
    st.tuples(
        st.sampled_from([Service().method, Service(), partial(many, word="a"), partial(Service().method)]),
        st.tuples(points),
    ),
)


@given(CALLS)
def test_arguments_come_back_as_their_annotations_say(call: tuple[Any, tuple[Any, ...]]) -> None:
    """Classes, literals, unions, defaults, `*args`, partials and bound methods come back as submitted."""
    fn, args = call
    codec = Arguments(fn)
    assert codec.decode(codec.encode(args))[0] == args
    assert codec.decode(codec.encode(args).decode())[0] == args


@pytest.mark.parametrize(
    ("fn", "args", "complaint"),
    [
        (many, ("x", "a"), "Expected `object`, got `str` - at `$[0]`"),
        (many, (Point(1), "c"), "Invalid enum value 'c'"),
        (many, (Point(1), "a", None, 1.5), "Expected `int | str | null`, got `float`"),
        (many, ({"x": -1}, "a"), "x must not be negative"),
        (when, (1, 2, 3, 4), "Expected `datetime`"),
        (Service().method, ([],), "Expected `object`, got `array`"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(fn: Any, args: tuple[Any, ...], complaint: str) -> None:
    """A wrong argument is refused by `submit`, with its place and the expected type."""
    with pytest.raises(InvalidPayload) as caught:
        Arguments(fn).encode(args)
    assert f"the arguments of {Arguments(fn).mark.name} do not fit: {complaint}" in str(caught.value)


@pytest.mark.parametrize(("cls", "complaint"), [(Touchy, "7"), (Silent, "RuntimeError in __str__")])
def test_a_class_may_refuse_in_any_way(cls: Any, complaint: str) -> None:
    """A class whose check raises `SystemExit`, or an error without text, only refuses the argument."""

    async def take(job: object, one: Any) -> None: ...

    take.__annotations__["one"] = cls
    with pytest.raises(InvalidPayload, match=f"the arguments of take do not fit: .*{complaint}"):
        Arguments(take).encode(({"x": 7},))


async def one(job: object, a: int) -> None: ...


async def three(job: object, a: int, b: int, c: int) -> None: ...


@pytest.mark.parametrize(
    ("written_by", "args", "read_by", "complaint"),
    [
        (three, (1, 2, 3), one, "it takes 1 to 1 now, and was given 3"),
        (one, (1,), three, "it takes 3 to 3 now, and was given 1"),
        (nothing, (), one, "it takes 1 to 1 now, and was given 0"),
        (only_rest, (1, 2, 3, 4), untyped, "it takes 1 to 2 now, and was given 4"),
        (untyped, (None, None), nothing, "it takes 0 to 0 now, and was given 2"),
        (untyped, ("x",), one, "Expected `int`, got `str`"),
    ],
)
def test_a_handler_that_has_changed(
    written_by: Any, args: tuple[Any, ...], read_by: Any, complaint: str
) -> None:
    """Stored arguments that a changed handler does not accept are refused before it is called."""
    data = Arguments(written_by).encode(args)
    with pytest.raises(InvalidPayload) as caught:
        Arguments(read_by).decode(data)
    assert complaint in str(caught.value)


def test_an_argument_that_cannot_be_made_from_json() -> None:
    """A handler with such a parameter is refused, by an error with the handler's name."""

    async def impossible(job: object, a: Any) -> None: ...

    impossible.__annotations__["a"] = Plain | Struct
    with pytest.raises(TypeError, match="handler impossible has an argument that cannot be made from JSON: "):
        Arguments(impossible)
