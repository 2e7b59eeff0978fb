"""Checks of arguments: exactly the right values pass, and the error for others says why."""

from __future__ import annotations

import math
import sys
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_jobs import InvalidPayload
from trio_jobs._common.validate import (
    RefusedAs,
    at_least,
    choice,
    finite,
    number,
    seconds_or_none,
    tags,
    text,
    whole,
)

ANY_TEXT = st.text(st.characters(exclude_categories=()))
SHORT = ANY_TEXT.filter(lambda text: len(text) <= 100)  # as the name of a tag may be
NO_NUMBERS = ["1", None, True, False, 1j, Decimal(1), [1]]


@given(st.floats() | st.integers(), st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_number_in_range(value: float, least: float, most: float) -> None:
    """A number passes if it is within the bounds, both included; NaN never passes."""
    if least <= value <= most:
        number("x", value, least, most)
    else:
        with pytest.raises(ValueError, match="^x must be at least "):
            number("x", value, least, most)


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_no_number(value: object) -> None:
    """A value that is no int or float, a bool included, is a `TypeError` that names the argument."""
    with pytest.raises(TypeError) as caught:
        number("x", value)
    assert str(caught.value) == f"x takes a number; got {value!r}"


def test_number_says_the_bounds() -> None:
    """The error has the bounds that exist, and no others."""
    with pytest.raises(ValueError, match=r"^x must be at least 0; got -1$"):
        number("x", -1)
    with pytest.raises(ValueError, match=r"^x must be at least 0 and at most 1; got 2$"):
        number("x", 2, 0, 1)
    with pytest.raises(ValueError, match=r"^x must be at least 0; got nan$"):
        number("x", math.nan)


def test_a_number_too_large_for_a_float_is_refused() -> None:
    """A duration that no float can hold, such as 10**400, is refused."""
    with pytest.raises(ValueError, match="^x must be "):
        number("x", 10**400)


@given(st.integers(), st.integers())
def test_whole(value: int, least: int) -> None:
    """Each int from `least` on passes."""
    if value >= least:
        whole("x", value, least)
    else:
        with pytest.raises(ValueError, match=f"^x must be at least .*; got {value}$"):
            whole("x", value, least)


@pytest.mark.parametrize("value", [1.0, 1.5, *NO_NUMBERS])
def test_not_whole(value: object) -> None:
    """A float is refused, even without a fraction."""
    with pytest.raises(TypeError, match="^x takes a "):
        whole("x", value)


@attrs.frozen
class Sample:
    """A record with one field per validator."""

    count: Any = attrs.field(default=2, validator=at_least(2))
    share: Any = attrs.field(default=0, validator=at_least(0, at_most=1))
    wait: Any = attrs.field(default=0, validator=finite)
    limit: Any = attrs.field(default=None, validator=seconds_or_none)


@pytest.mark.parametrize(
    ("field", "good"),
    [("count", [2, 3]), ("share", [0, 0.5, 1]), ("wait", [0, 1e300]), ("limit", [None, 0, 2.5, math.inf])],
)
def test_validators_accept(field: str, good: list[object]) -> None:
    """Each validator passes a valid value unchanged."""
    for value in good:
        assert getattr(Sample(**{field: value}), field) is value


@pytest.mark.parametrize(
    ("field", "value", "error", "text"),
    [
        ("count", 1, ValueError, "count must be at least 2; got 1"),
        ("count", 2.0, TypeError, "count takes a whole number; got 2.0"),
        ("share", 1.01, ValueError, "share must be at least 0 and at most 1; got 1.01"),
        ("share", "1", TypeError, "share takes a number; got '1'"),
        ("wait", math.inf, ValueError, "wait must be finite; got inf"),
        ("wait", -1, ValueError, "wait must be at least 0; got -1"),
        ("wait", None, TypeError, "wait takes a number; got None"),
        ("limit", -1, ValueError, "limit must be at least 0; got -1"),
        ("limit", math.nan, ValueError, "limit must be at least 0; got nan"),
        ("limit", "5", TypeError, "limit takes a number; got '5'"),
    ],
)
def test_validators_refuse(field: str, value: object, error: type[Exception], text: str) -> None:
    """Each validator refuses an invalid value, with an error that names the field."""
    with pytest.raises(error) as caught:
        Sample(**{field: value})
    assert str(caught.value) == text


def test_choice() -> None:
    """One of the choices passes; for anything else the error lists them."""
    choice("mode", "b", ("a", "b"))
    for value in ("c", None, ["a"]):
        with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole text is compared
            choice("mode", value, ("a", "b"))
        assert str(caught.value) == f"mode must be one of 'a', 'b'; got {value!r}"


def storable(value: str) -> bool:
    """Return whether every store can hold a text: valid UTF-8 without NUL."""
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


@given(ANY_TEXT)
def test_text(value: str) -> None:
    """A text passes unchanged, unless it holds NUL or a lone surrogate."""
    if storable(value):
        assert text("x", value) is value
    else:
        with pytest.raises(InvalidPayload, match=r"^x holds NUL or a lone surrogate: .*; remove it$"):
            text("x", value)


@pytest.mark.parametrize("bad", ["\0", "a\0", "\ud800", "\udfff", "ok\udc80ok"])
def test_text_refused(bad: str) -> None:
    """NUL and both ends of the surrogate range are refused, in an error that can be printed."""
    with pytest.raises(InvalidPayload) as caught:
        text("x", bad)
    assert storable(str(caught.value))


@pytest.mark.parametrize("neighbour", ["\x01", "\ud7ff", "\ue000", chr(sys.maxunicode)])
def test_text_next_to_what_is_refused(neighbour: str) -> None:
    """The characters next to the refused ones pass."""
    assert text("x", neighbour) == neighbour


@pytest.mark.parametrize("value", [None, b"x", 1])
def test_text_of_another_type(value: object) -> None:
    """Only a `str` is text."""
    with pytest.raises(TypeError) as caught:
        text("x", value)
    assert str(caught.value) == f"x takes a str; got {value!r}"


@given(st.dictionaries(SHORT, SHORT, max_size=4))
def test_tags(value: dict[str, str]) -> None:
    """Tags are copied if every name and value is storable text, and refused otherwise."""
    if all(map(storable, [*value, *value.values()])):
        found = tags(MappingProxyType(value))
        assert found == value
        assert found is not value
    else:
        with pytest.raises(InvalidPayload, match="^tags"):
            tags(value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([("a", "b")], "tags takes a mapping such as {'user': '7'}; got [('a', 'b')]"),
        ("a=b", "tags takes a mapping such as {'user': '7'}; got 'a=b'"),
        ({"user": 7}, "tags['user'] takes a str; got 7"),
        ({7: "user"}, "tags takes a str; got 7"),
    ],
)
def test_no_tags(value: Any, said: str) -> None:
    """A value that does not map text to text is a `TypeError` that names the argument."""
    with pytest.raises(TypeError) as caught:
        tags(value)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (TypeError("no"), LookupError),
        (ValueError("no"), LookupError),
        (InvalidPayload("no"), InvalidPayload),
        (OSError("no"), OSError),
    ],
)
def test_what_refuses_is_raised_as_another_error(error: Exception, raised: type[Exception]) -> None:
    """Only a TypeError or ValueError is raised anew with its text; an error of the package is not."""
    with pytest.raises(raised, match=r"^no$") as caught, RefusedAs(LookupError):
        raise error
    assert caught.value.__cause__ is (None if caught.value is error else error)
