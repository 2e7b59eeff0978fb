"""A store returns a value equal to the one that it was given, or refuses it with its place."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Generic, NamedTuple, TypedDict, TypeVar, cast
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests._json.coding import Arguments, decode, encode, to_json
from tests._json.shapes import Colour, Level
from trio_jobs import InvalidPayload
from trio_jobs._json.lost import lost, spelled_out

T = TypeVar("T")


class Word(StrEnum):
    YES = "yes"


@attrs.frozen
class Charge:
    order: str
    _cents: int = 0


@attrs.frozen
class Hidden:
    _secret: str  # without a default: what is written without it cannot even be read


@attrs.frozen
class Filled:
    """Has defaults that are not empty, of fields that an encoder leaves out."""

    _items: list[int] = attrs.field(factory=lambda: [0])
    _names: dict[str, int] = attrs.field(factory=lambda: {"a": 1})
    _kinds: set[int] = attrs.field(factory=lambda: {1})
    _rest: tuple[int, ...] = (1,)
    _price: Decimal = Decimal(1)


@attrs.define
class Account:
    _charges: list[Charge]
    owner: Charge | None = None
    seen: int = attrs.field(default=0, init=False)


@attrs.frozen
class Refund(Charge):
    why: str = ""


@attrs.define
class Lower:
    """Converts its arguments to lower case, and leaves out empty words."""

    text: str
    words: list[str] = attrs.field(factory=list[str])

    def __attrs_post_init__(self) -> None:
        self.text = self.text.lower()
        self.words = [word.lower() for word in self.words if word]


@attrs.define
class Upended:
    """Changes the value of each of its fields."""

    text: str
    flag: bool
    number: int
    part: float
    nothing: None

    def __attrs_post_init__(self) -> None:
        self.text, self.flag, self.number, self.part = "", not self.flag, -self.number, -self.part
        self.nothing = 0  # type: ignore[assignment]


class Words(list[Any]):
    """A subclass of list."""


@dataclasses.dataclass
class Message:
    to: str
    _id: int = 0


@dataclasses.dataclass
class Mail(Message):
    subject: str = ""


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0


class Struct(msgspec.Struct, rename="camel", tag="struct"):
    some_name: int
    inner: Charge | None = None


class Line(msgspec.Struct, array_like=True, tag="line"):
    inner: Charge
    number: int = 1


@attrs.frozen
class Sheet:
    _line: Line


class Sparse(msgspec.Struct, omit_defaults=True):
    a: int = 1
    b: int | msgspec.UnsetType = msgspec.UNSET
    _c: int = 2


class Row(TypedDict, total=False):
    id: int
    name: str


class Pair(NamedTuple):
    left: int
    right: Any = None


@attrs.frozen
class Box(Generic[T]):
    content: T


def taking(kind: Any) -> Arguments:
    """Return the arguments of a handler with one parameter of this type."""

    async def take(job: object, one: Any) -> None: ...

    take.__annotations__["one"] = kind
    return Arguments(take)


KEPT: list[tuple[Any, Any]] = [
    (Charge, Charge("17", 995)),
    (list[Charge], [Charge("17", 995), Charge("18")]),
    (Hidden, Hidden("x")),
    (Filled, Filled()),
    *((Filled, attrs.evolve(Filled(), items=items)) for items in ([], [0, 1])),
    *((Filled, attrs.evolve(Filled(), names=names)) for names in ({}, {"a": 1, "b": 2})),
    *((Filled, attrs.evolve(Filled(), kinds=kinds)) for kinds in (set[int](), {1, 2})),
    *((Filled, attrs.evolve(Filled(), rest=rest)) for rest in ((), (1, 2))),
    (Account, Account([Charge("17", 995)], Charge("18", 1))),
    (Message, Message("ann", 3)),
    (Mail, Mail("ann", 3, "hello")),
    (Refund, Refund("17", 995, "late")),
    (Box[Charge], Box(Charge("17", 995))),
    (Struct, Struct(1, Charge("17", 5))),
    (Sparse, Sparse()),
    (Line, Line(Charge("17", 5))),
    (Sheet, Sheet(Line(Charge("17", 5), 2))),
    (Row, {"id": 1}),
    (Pair, Pair(1, {"a": [2]})),
    (dict[int, float], {10: 0.5, 9: 1.5}),
    (dict[UUID, int], {UUID(int=5): 1}),
    (dict[Colour, Charge], {Colour.RED: Charge("17", 995)}),
    (dict[Level, int], {Level.LOW: 1}),
    (dict[date, int], {date(2030, 1, 1): 1}),
    (dict[Decimal, int], {Decimal("1.10"): 1}),
    (dict[str, dict[int, list[Charge]]], {"a": {1: [Charge("17", 9)]}}),
    (set[int], {3, 1}),
    (frozenset[Point], frozenset([Point(1.0), Point(2.0)])),
    (set[Charge], {Charge("a", 1)}),
    (tuple[int, str], (1, "a")),
    (tuple[Charge, ...], (Charge("17", 995),)),
    (datetime, datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))),
    (datetime, datetime(2030, 1, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))),
    (datetime, datetime(2030, 1, 1, 12, fold=1, tzinfo=UTC)),
    (datetime, datetime(2030, 1, 1, tzinfo=UTC).replace(tzinfo=None)),
    (time, time(12, 30)),
    (timedelta, timedelta(days=-1, microseconds=1)),
    (Decimal, Decimal("1.10")),
    (bytes, b"\0\xff"),
    (Colour | int, Colour.RED),
    (Any, {"a": [1, None, 2.5, {"b": True}]}),
]


@pytest.mark.parametrize(("kind", "value"), KEPT, ids=repr)
def test_what_is_kept(kind: Any, value: Any) -> None:
    """Private fields, typed keys and all classes that an annotation may name come back with their classes."""
    codec = taking(kind)
    (found,) = codec.decode(codec.encode((value,)))[0]
    assert found == value
    assert type(found) is type(value)
    assert repr(found) == repr(value) or isinstance(value, (dict, set, frozenset, datetime))


def test_a_private_field_of_another_type() -> None:
    """It is converted as any field is, and does not come back as its default."""
    codec, price = taking(Filled), cast("Any", 0)
    (found,) = codec.decode(codec.encode((attrs.evolve(Filled(), price=price),)))[0]
    assert found == attrs.evolve(Filled(), price=Decimal(0))


def test_a_private_field_whose_default_changes() -> None:
    """It is as it was, though its default at that time would have been the same."""
    today = [1]

    @attrs.frozen
    class Dated:
        _day: int = attrs.field(factory=lambda: today[0])

    codec = taking(Dated)
    data = codec.encode((Dated(),))
    today[0] = 2
    assert codec.decode(data)[0] == (Dated(1),)


LOST: list[tuple[Any, Any, str]] = [
    (Message, Mail("ann", 0, "hello"), r"\$\[0\] is of type Mail, and would come back as Message"),
    (Charge, Refund("17"), r"\$\[0\] is of type Refund"),
    (list[Message], [Message("a"), Mail("b")], r"\$\[0\]\[1\] is of type Mail"),
    (Box[Charge], Box(Refund("17")), r"\$\[0\]\.content is of type Refund"),
    (dict[str, Message], {"a b": Mail("b")}, r"\$\[0\]\['a b'\] is of type Mail"),
    (Row, {"id": 1, "note": "keep me"}, r"\$\[0\]\.note would be lost"),
    (list[Row], [{"id": 1}, {"id": 1, "note": "keep me"}], r"\$\[0\]\[1\]\.note would be lost"),
    (Charge, {"order": "17", "cents": 9}, r"\$\[0\]\.cents is no field of Charge"),
    (Message, {"to": "ann", "subjet": "x"}, r"\$\[0\]\.subjet is no field of Message"),
    (Struct, {"type": "struct", "someName": 1, "some_name": 2}, r"\$\[0\]\.some_name is no field of Struct"),
    (Line, ["line", {"order": "17"}, 1, 2], r"\$\[0\]\[3\] is no field of Line"),
    (Line, ["line", {"order": "17", "x": 1}], r"\$\[0\]\[1\]\.x is no field of Charge"),
    (Account, {"_charges": [{"order": "17", "x": 1}]}, r"\$\[0\]\._charges\[0\]\.x is no field of Charge"),
    (tuple[Charge, ...], [{"order": "17", "x": 1}], r"\$\[0\]\[0\]\.x is no field of Charge"),
    (set[Charge], [{"order": "17", "x": 1}], r"\$\[0\]\[0\]\.x is no field of Charge"),
    (dict[int, Charge], {"1": {"order": "17", "x": 1}}, r"\$\[0\]\['1'\]\.x is no field of Charge"),
    (list[int], (1, 2), r"\$\[0\] is of type tuple, and would come back as \[1, 2\]"),
    (Sequence[int], (1, 2), r"\$\[0\] is of type tuple"),
    (list[int], {1}, r"\$\[0\] is of type set"),
    (tuple[int, ...], Pair(1, 2), r"\$\[0\] is of type Pair"),
    (dict[str, int], OrderedDict(a=1), r"\$\[0\] is of type OrderedDict"),
    (dict[str, int], defaultdict(int, a=1), r"\$\[0\] is of type defaultdict"),
    (dict[str, Any], Message("ann"), r"\$\[0\] is of type Message"),
    (dict[str, list[int]], {"a": (1,)}, r"\$\[0\]\.a is of type tuple"),
    (Any, {1: "a"}, r"\$\[0\]\[1\] has a key that would come back as text"),
    (dict, {1: "a"}, r"\$\[0\]\[1\] has a key that would come back as text"),
    (dict[str, Any], {"a": {UUID(int=5): "a"}}, r"has a key that would come back as text"),
    (Any, {1: "a", "1": "b"}, r"\$\[0\]\[1\] has a key that would come back as text"),
    (dict[str | int, int], {1: 2}, r"\$\[0\]\[1\] has a key that would come back as text"),
    (Any, b"abc", r"\$\[0\] is of type bytes, and would come back as 'YWJj'"),
    (Any, datetime(2030, 1, 1, tzinfo=UTC), r"\$\[0\] is of type datetime, and would come back as '2030"),
    (object, [UUID(int=5)], r"\$\[0\]\[0\] is of type UUID"),
    (
        dict[datetime, int],
        {datetime(2030, 1, 1, fold=1, tzinfo=UTC).replace(tzinfo=None): 1},
        "has a key that",
    ),
    (str, datetime(2030, 1, 1, tzinfo=UTC), r"\$\[0\] is of type datetime"),
    *[
        (
            kind,
            make([datetime(2030, 1, 1, fold=1, tzinfo=UTC).replace(tzinfo=None)]),
            r"\[0\]\[0\] would come",
        )
        for kind, make in ((set[datetime], set), (frozenset[datetime], frozenset))
    ],
    *[(Any, make([b"abc"]), r"\$\[0\]\[0\] is of type bytes") for make in (tuple, Words, set, frozenset)],
    (frozenset[Charge], [{"order": "17", "x": 1}], r"\$\[0\]\[0\]\.x is no field of Charge"),
    (list[int], Words([1]), r"\$\[0\] is of type Words"),
    (set[int], frozenset([1]), r"\$\[0\] is of type frozenset"),
    (str, Colour.RED, r"\$\[0\] is of type Colour"),
    (float, 2**53 + 1, r"\$\[0\] would come back as 9007199254740992.0"),
    (
        datetime,
        datetime(2030, 1, 1, fold=1, tzinfo=UTC).replace(tzinfo=None),
        r"\$\[0\] would come back as datetime",
    ),
    (datetime, datetime(2025, 10, 26, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")), "would come back as"),
    (datetime, datetime(1930, 1, 1, tzinfo=ZoneInfo("Europe/Amsterdam")), "would come back as"),
]


@pytest.mark.parametrize(("kind", "value", "complaint"), LOST, ids=repr)
def test_what_would_be_lost_is_refused(kind: Any, value: Any, complaint: str) -> None:
    """The error has the place, the value, and the value that would be read."""
    with pytest.raises(InvalidPayload, match=f"^the arguments of take do not fit: .*{complaint}"):
        taking(kind).encode((value,))


BECOMES: list[tuple[Any, Any, Any]] = [
    (Any, (1, (2, 3)), [1, [2, 3]]),
    (list, [(1,)], [[1]]),
    (Any, {2, 1}, [1, 2]),
    (Any, {Charge("17", 9)}, [{"order": "17", "_cents": 9}]),
    (Any, Charge("17", 9), {"order": "17", "_cents": 9}),
    (Any, Mail("ann", 1, "x"), {"to": "ann", "_id": 1, "subject": "x"}),
    (Any, OrderedDict(a=(1,)), {"a": [1]}),
    (Any, Struct(1), {"type": "struct", "someName": 1, "inner": None}),
    (
        Any,
        Struct(1, Charge("17", 9)),
        {"type": "struct", "someName": 1, "inner": {"order": "17", "_cents": 9}},
    ),
    (Any, Line(Charge("17", 9), 2), ["line", {"order": "17", "_cents": 9}, 2]),
    (Any, Sparse(), {}),
    (object, Pair(1), [1, None]),
    (Pair, Pair(1, (2,)), Pair(1, [2])),
    (set[int] | Any, (1,), [1]),
    (Box[Any], Box((1,)), Box([1])),
    (Annotated[list[Any], msgspec.Meta(title="a list")], [(1,)], [[1]]),
    (list[Any] | None, [(1,)], [[1]]),
    (tuple[int, Any], (1, (2,)), (1, [2])),
    (dict[str, Any], {"a": (1,)}, {"a": [1]}),
    (str, Word.YES, "yes"),
    (int, Level.LOW, 1),
    (float, 1, 1.0),
    (bytes, bytearray(b"a"), b"a"),
]
"""What is declared, given, and comes back: where nothing is declared, JSON's form will do, and anywhere what
is equal."""


@pytest.mark.parametrize(("kind", "value", "other"), BECOMES, ids=repr)
def test_what_json_makes_of_it(kind: Any, value: Any, other: Any) -> None:
    """Where no type is declared, a container becomes a list or a dict with all its contents."""
    codec = taking(kind)
    assert codec.decode(codec.encode((value,)))[0] == (other,)


CONVERTED: list[tuple[Any, Any, Any]] = [
    (Charge, {"order": "17", "_cents": 9}, Charge("17", 9)),
    (Lower, {"text": "ABC", "words": ["A", ""]}, Lower("abc", ["a"])),
    (dict[int, float], {"10": 0.5, "9": 1}, {10: 0.5, 9: 1.0}),
    (dict[UUID, int], {str(UUID(int=5)): 1}, {UUID(int=5): 1}),
    (set[Charge], [{"order": "18", "_cents": 1}], {Charge("18", 1)}),
    (
        Upended,
        {"text": "a", "flag": True, "number": 1, "part": 0.5, "nothing": None},
        Upended("a", True, 1, 0.5, None),
    ),
    (set[int], [], set()),
    (set[tuple[int, int]], [[1, 2], [3, 4]], {(1, 2), (3, 4)}),
    (frozenset[tuple[int, float]], [[1, 2], [3, 4]], frozenset({(1, 2.0), (3, 4.0)})),
    (set[int], [2, 1], {1, 2}),
    (frozenset[int], [2, 1], frozenset([1, 2])),
    (tuple[Charge, Message], [{"order": "a"}, {"to": "b"}], (Charge("a"), Message("b"))),
    (Decimal, 0.1, Decimal("0.1")),
    (tuple[int, ...], [1, 2], (1, 2)),
    (Pair, [1], Pair(1)),
    (datetime, "2030-01-01T00:00:00Z", datetime(2030, 1, 1, tzinfo=UTC)),
    (Point, {"x": 1}, Point(1.0)),
    (Point, {"x": 2**53 + 1}, Point(float(2**53))),
    (Struct, {"type": "struct", "someName": 1}, Struct(1)),
    (Row, {"id": 1}, {"id": 1}),
]


@pytest.mark.parametrize(("kind", "value", "other"), CONVERTED, ids=repr)
def test_plain_json_is_converted(kind: Any, value: Any, other: Any) -> None:
    """Plain JSON is converted to the declared type, from a program and from a client alike."""
    codec = taking(kind)
    assert codec.convert([value])[0] == (other,)
    assert codec.decode(codec.encode((value,)))[0] == (other,)


@pytest.mark.parametrize(
    ("kind", "value", "complaint"), [row for row in LOST if "no field" in row[2]], ids=repr
)
def test_what_a_client_sends_too_much_is_refused(kind: Any, value: Any, complaint: str) -> None:
    """A misspelt field is refused by name, even if the field that was meant has a default."""
    with pytest.raises(InvalidPayload, match=complaint):
        taking(kind).convert([value])


class Broken:
    """Compares unequal to everything."""


@attrs.frozen(eq=False)
class Vague:
    x: int
    when: datetime = attrs.field(default=datetime(2030, 1, 1, tzinfo=UTC))

    def __eq__(self, _: object) -> bool:
        raise RuntimeError("I would rather not say")

    def __hash__(self) -> int:
        return 0


def test_fields_are_compared_whatever_their_class_says() -> None:
    """A record is compared by its fields; if `__eq__` or `__hash__` raises in a set, the value is refused."""
    codec = taking(Vague)
    assert codec.decode(codec.encode((Vague(1),)))[0][0].x == 1
    with pytest.raises(InvalidPayload, match="I would rather not say"):
        taking(set[Vague]).encode(({Vague(1)},))


class Sly(dict[str, int]):
    def __iter__(self) -> Any:
        raise RuntimeError("nobody counts me")


def test_a_container_that_does_not_show_what_is_in_it() -> None:
    """A container whose iteration raises any error is refused."""
    with pytest.raises(InvalidPayload, match=r"^the result cannot be kept as JSON: nobody counts me"):
        encode("the result", Sly(a=1))


def test_what_is_not_set_is_not_missed() -> None:
    """A field without a value has none after decoding either."""

    @attrs.define
    class Lazy:
        x: int
        _later: int = attrs.field(init=False)

    assert decode(encode("it", Lazy(1))) == {"x": 1}
    assert spelled_out([Lazy(1)]) == [{"x": 1}]


def test_a_record_without_a_tag_has_none() -> None:
    """Each field of a record is in its JSON, and its tag if it has one."""

    class Plain(msgspec.Struct):
        a: int

    assert spelled_out((Plain(1), Struct(1))) == [{"a": 1}, {"type": "struct", "someName": 1, "inner": None}]


def test_other_values_keep_all_their_fields() -> None:
    """Tokens, results and saved values come back in JSON's form with all fields, private ones too."""
    assert decode(encode("it", [Charge("17", 995)])) == [{"order": "17", "_cents": 995}]
    assert decode(to_json({"a": Charge("17", 995)})) == {"a": {"order": "17", "_cents": 995}}
    assert decode(encode("it", (UUID(int=5), b"a", Colour.RED))) == [str(UUID(int=5)), "YQ==", "red"]


LETTERS = "abcdefghij"


@pytest.mark.parametrize(
    ("kind", "value", "form"),
    [
        (
            set[Charge],
            {Charge(letter) for letter in LETTERS},
            [{"order": one, "_cents": 0} for one in LETTERS],
        ),
        (Any, {1, *LETTERS}, [*LETTERS, 1]),
        (dict[int, set[str]], {1: set(LETTERS)}, {"1": [*LETTERS]}),
    ],
)
def test_a_set_is_written_in_one_order(kind: Any, value: Any, form: Any) -> None:
    """A set has the same JSON in every process, so that the same submit under a key counts as the same."""
    (found,) = decode(taking(kind).encode((value,)))
    assert found == form


@attrs.frozen
class Opaque:
    name: str
    _lock: Any = None


def test_a_hidden_field_that_cannot_be_kept() -> None:
    """A value with a field that JSON cannot hold is refused, even if the encoder leaves that field out."""
    for kept in (partial_of(taking(Opaque)), partial_of(taking(Any))):
        with pytest.raises(InvalidPayload, match=r"\._lock (would be lost|is of type object)"):
            kept(Opaque("a", object()))
    with pytest.raises(InvalidPayload, match=r"^a token cannot be kept as JSON: \$\._lock would be lost"):
        encode("a token", Opaque("a", object()))


MADE: list[tuple[Any, Any, bool, str | None]] = [
    ("x", Charge("x"), False, None),
    ({"a": 1}, MappingProxyType({"a": 1}), False, None),
    ([1], NotImplemented, False, None),
    ("1", 1, False, None),
    (1.5, 1, False, "$ would come back as 1"),
    (1, 1.5, False, "$ would come back as 1.5"),
    ([0, [1.5]], [0, [1.25]], False, "$[1][0] would come back as 1.25"),
    (Mail("a"), Message("a"), True, "$ is of type Mail, and would come back as Message(to='a', _id=0)"),
    (Charge("a"), "a charge", True, None),
    (UUID(int=5), {}, True, None),
    (
        datetime.fromisoformat("2030-01-01"),
        datetime.fromisoformat("2030-01-02"),
        False,
        "$ would come back as datetime.datetime(2030, 1, 2, 0, 0)",
    ),
    (time(12, fold=1), time(12), False, "$ would come back as datetime.time(12, 0)"),
    (
        datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))),
        datetime(2030, 1, 1, 10, tzinfo=UTC),
        False,
        "$ would come back as datetime.datetime(2030, 1, 1, 10, 0, tzinfo=datetime.timezone.utc)",
    ),
    ({"1": 1, "01": 2}, {1: 2}, False, "$['1'] would be lost"),
    ({"a": 1}, {"b": 1}, False, "$.a would be lost"),
    ({"a": 1, "b": 2}, {1: 1, "b": 2}, False, "$.a would be lost"),
    ({1: 1}, {2: 1}, False, "$[1] has a key that would come back as text"),
]


@pytest.mark.parametrize(("value", "made", "may_become", "complaint"), MADE, ids=repr)
def test_what_a_type_makes_of_json(value: Any, made: Any, may_become: bool, complaint: str | None) -> None:
    """A type may convert JSON in any way that keeps the size of numbers, all keys, and classes."""
    assert lost(value, made, lambda path, given: may_become, spelled=True) == complaint


def partial_of(codec: Arguments) -> Callable[[Any], bytes]:
    return lambda value: codec.encode((value,))


# ------------------------------------------------------------ whatever the value

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
ints = st.integers(-(2**63), 2**64 - 1)
charges = st.builds(Charge, texts, ints) | st.builds(Refund, texts, ints, texts)
keys = texts | st.integers(-5, 5) | st.uuids() | st.sampled_from(Colour) | st.dates() | st.sampled_from(Level)
scalars = (
    st.none() | st.booleans() | ints | texts | st.floats(allow_nan=False, allow_infinity=False)
    | st.datetimes(timezones=st.none() | st.timezones()) | st.uuids() | st.binary(max_size=3)
    | st.sampled_from(Colour) | st.sampled_from(Level) | st.decimals(allow_nan=False) | st.timedeltas()
)  # fmt: skip
records = st.deferred(
    lambda: (
        charges
        | st.builds(Message, texts, ints)
        | st.builds(Mail, texts, ints, texts)
        | st.builds(Box, anything)
        | st.builds(Struct, ints, st.none() | charges)
        | st.builds(Pair, ints, anything)
        | st.fixed_dictionaries({"id": ints}, optional={"name": texts, "note": texts})
    )
)
anything: st.SearchStrategy[Any] = st.recursive(
    scalars | charges,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(keys, inner, max_size=3)
        | st.builds(Box, inner)
        | st.builds(Pair, ints, inner)
        | records
    ),
    max_leaves=6,
)
KINDS: list[Any] = [
    *[Any, object, Charge, Refund, Message, Mail, Row, Pair, Struct, Box[Charge], Box[Any], Box[int]],
    *[
        Charge | None,
        list[Charge],
        list[Message],
        tuple[Charge, ...],
        set[Charge],
        dict[str, Charge],
        list[Row],
    ],
    *[dict[int, Any], dict[UUID, Any], dict[Colour, Charge], dict[Level, int], dict[str, Any], dict, list],
    *[datetime, UUID, Colour, Level, bytes, Decimal, timedelta, float, int, str, bool, float | str],
]


def same(one: Any, other: Any, *, loosely: bool = False) -> bool:
    """Return whether two values are equal with their classes; loosely, also if one is the JSON form of the
    other, or what a type made of that form."""
    if loosely and type(one) in {dict, list, str, int, float} and type(other) is not type(one):
        return True
    if attrs.has(type(one)) or dataclasses.is_dataclass(one):
        names = [
            field.name
            for field in (attrs.fields(type(one)) if attrs.has(type(one)) else dataclasses.fields(one))
        ]
        if type(one) is type(other):
            return all(same(getattr(one, name), getattr(other, name), loosely=loosely) for name in names)
        one = {name: getattr(one, name) for name in names} if loosely else one
    if loosely and isinstance(one, Struct) and isinstance(other, dict):
        one = {"type": "struct", "someName": one.some_name, "inner": one.inner}
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key], loosely=loosely) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        fits = loosely or type(one) is type(other)
        return (
            fits
            and len(one) == len(other)
            and all(same(*two, loosely=loosely) for two in zip(one, other, strict=True))
        )
    if isinstance(one, datetime) and isinstance(other, datetime):
        return one == other and one.utcoffset() == other.utcoffset()
    return bool(one == other)


@given(st.data())
def test_what_comes_out_is_what_was_put_in(data: st.DataObject) -> None:
    """Any value for any declared type comes back equal in every field, or is refused. Without a declared
    type, containers come back in JSON's form with all their contents."""
    kind, value = data.draw(st.sampled_from(KINDS)), data.draw(anything | records)
    codec = taking(kind)
    try:
        written = codec.encode((value,))
    except InvalidPayload:
        return
    (found,) = codec.decode(written)[0]
    assert same(value, found, loosely=True), (kind, found)


@given(anything | records, anything | records)
def test_different_values_differ_in_json(one: Any, other: Any) -> None:
    """Different values have different JSON, so they do not count as the same under a key."""
    codec = taking(Any)
    try:
        alike = codec.encode((one,)) == codec.encode((other,))
    except InvalidPayload:
        return
    assert not alike or same(one, other, loosely=True) or same(decode(encode("it", one)), other, loosely=True)


@attrs.define
class Half:
    """A record whose first field may be unset."""

    first: int = attrs.field(init=False)
    second: int = 1


def test_a_field_that_is_not_set() -> None:
    """An unset field equals an unset field, and differs from one that is set."""
    whole = Half()
    whole.first = 1
    assert lost(Half(), Half(), lambda path, given: False, spelled=True) is None
    assert lost(whole, Half(), lambda path, given: False, spelled=True) == "$.first would be lost"
