"""Arguments as JSON: by place as a list, and beside others by name as an object."""

from __future__ import annotations

import functools
from typing import Any
from uuid import UUID

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests._json.coding import Arguments, plain_arguments, texts, values
from trio_jobs import InvalidPayload


@attrs.frozen
class Point:
    x: int


class NoJson:
    """A type that no job can be given."""


async def draw(
    job: object, at: Point, name: str = "", *more: int, size: Point, bold: bool = False
) -> None: ...


async def anything(job: object, /, *args: Any, **kwargs: Any) -> None: ...


async def points(job: object, **named: Point) -> None: ...


async def injected(job: object, *, size: int = 1, client: list[NoJson | Point] | None = None) -> None: ...


@functools.wraps(draw)
async def passes_on(*args: Any, **kwargs: Any) -> None:
    await draw(*args, **kwargs)


@pytest.mark.parametrize("fn", [draw, passes_on], ids=["itself", "decorated"])
@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((Point(1),), {"size": Point(2)}),
        ((), {"at": Point(1), "size": Point(2), "name": "n", "bold": True}),
        ((Point(1), "n", 3, 4), {"size": Point(2)}),
    ],
)
def test_they_come_back_in_their_types(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """By place or by name, arguments come back in the types of their parameters, through a decorator too."""
    data = Arguments(fn).encode(args, kwargs)
    assert Arguments(fn).decode(data) == (args, kwargs)
    assert Arguments(fn).decode(data.decode()) == (args, kwargs)
    plain = plain_arguments(data)
    assert Arguments(fn).convert(*plain) == (args, kwargs)


@given(st.lists(values), st.dictionaries(texts, values, min_size=1))
def test_the_form_has_one_order(args: list[Any], kwargs: dict[str, Any]) -> None:
    """Names are in order, whatever order they were given in; without names, the form is the list alone."""
    codec = Arguments(anything)
    data = codec.encode(tuple(args), kwargs)
    assert data == codec.encode(tuple(args), dict(reversed(kwargs.items())))
    found = msgspec.json.decode(data)
    assert [*found] == ["args", "kwargs"]
    assert [*found["kwargs"]] == sorted(kwargs)
    assert msgspec.json.decode(codec.encode(tuple(args))) == found["args"]
    assert codec.encode(tuple(args), {}) == codec.encode(tuple(args))


def test_what_takes_the_rest_has_a_type() -> None:
    """Arguments that `**` takes have its type, each by itself."""
    codec = Arguments(points)
    assert codec.convert([], {"a": {"x": 1}, "b": {"x": 2}}) == ((), {"a": Point(1), "b": Point(2)})
    with pytest.raises(
        InvalidPayload, match="^the keyword argument 'a' of points does not fit: Expected `int`"
    ):
        codec.convert([], {"a": {"x": "one"}})


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        (
            (Point(1),),
            {"size": 2},
            "the keyword argument 'size' of draw does not fit: Expected `object`, got `int`",
        ),
        (
            (Point(1),),
            {"size": Point("2")},  # type: ignore[arg-type]  # the mistake under test
            r"the keyword argument 'size' of draw does not fit: Expected `int`, got `str` - at `\$.x`",
        ),
        ((1,), {"size": Point(2)}, "the arguments of draw do not fit: Expected `object`, got `int`"),
    ],
)
def test_the_error_says_which(args: Any, kwargs: Any, said: str) -> None:
    """An argument that does not fit is named, and the place in it that does not."""
    with pytest.raises(InvalidPayload, match=f"^{said}"):
        Arguments(draw).encode(args, kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs", "why"),
    [
        ([{"x": 1}], {}, "it needs the keyword argument 'size'"),
        ([{"x": 1}], {"size": {"x": 2}, "colour": 3}, "got an unexpected keyword argument 'colour'"),
        ([{"x": 1}], {"size": {"x": 2}, "at": {"x": 3}}, "multiple values for argument 'at'"),
    ],
)
def test_a_handler_that_was_changed(args: list[Any], kwargs: dict[str, Any], why: str) -> None:
    """What was stored, or was sent, for a handler with other parameters is refused with the reason."""
    data = msgspec.json.encode({"args": args, "kwargs": kwargs} if kwargs else args)
    with pytest.raises(InvalidPayload, match=f"^the arguments of draw do not fit: {why}"):
        Arguments(draw).decode(data)
    with pytest.raises(InvalidPayload, match=f"^the arguments of draw do not fit: {why}"):
        Arguments(draw).convert(args, kwargs)


def test_a_parameter_that_no_job_can_be_given() -> None:
    """A keyword-only parameter of any type does no harm; it is refused when it is given."""
    codec = Arguments(injected)
    assert codec.decode(codec.encode((), {"size": 2})) == ((), {"size": 2})
    with pytest.raises(InvalidPayload, match="^the keyword argument 'client' of injected cannot be given: "):
        codec.encode((), {"client": []})


def test_keys_that_are_slow_are_refused_by_name_too() -> None:
    """Members of a set that share a hash are refused, given by name as by place."""

    async def take(job: object, *, members: set[UUID]) -> None: ...

    modulus = 2**61 - 1
    alike = [str(UUID(int=5 + modulus * number)) for number in range(100)]
    with pytest.raises(InvalidPayload, match="different keys or members with one hash"):
        Arguments(take).convert([], {"members": alike})
    assert Arguments(take).convert([], {"members": alike[:3]})[1] == {"members": {*map(UUID, alike[:3])}}
