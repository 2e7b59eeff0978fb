"""Inputs become JSON by the type that their handler declares, and come back in it."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from tests._json.coding import Inputs, decode
from trio_jobs import InvalidPayload, JobContext, handler


@attrs.frozen
class Steer:
    """What a chat may be told while it generates."""

    text: str
    urgent: bool = False


@attrs.frozen
class Other:
    """A second record, which JSON cannot tell from the first."""

    text: str


@handler(inputs=Steer | None)
async def chat(job: JobContext[str]) -> None:
    """Declare a record."""


@handler(inputs=set[int])
async def numbers(job: JobContext[str]) -> None:
    """Declare a set, whose members may be chosen to be slow."""


@handler
async def anything(job: JobContext[str]) -> None:
    """Declare nothing."""


@pytest.mark.parametrize("value", [Steer("left"), Steer("right", urgent=True), None])
def test_an_input_comes_back_in_its_type(value: object) -> None:
    """What is encoded comes back equal, in the declared type."""
    inputs = Inputs(chat)
    data = inputs.encode(value)
    assert inputs.decode(decode(data)) == value
    assert inputs.convert(decode(data)) == value


@pytest.mark.parametrize("value", ["left", {"txt": "left"}, {"text": 3}, {"text": "a", "more": 1}, object()])
def test_an_input_that_does_not_fit_is_refused(value: Any) -> None:
    """The sender is told, whether it sends an object or JSON, and a field too many is not dropped."""
    inputs = Inputs(chat)
    with pytest.raises(InvalidPayload, match="an input of chat"):
        inputs.encode(value)
    with pytest.raises(InvalidPayload, match="an input of chat"):
        inputs.convert(value)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"text": 3}, "Expected `str`, got `int` - at `$.text`"),
        ({"text": "a", "$[0]": 1}, "$['$[0]'] is no field of Steer"),
        ("left", "Expected `object | null`, got `str` - at `$`"),
    ],
)
def test_the_place_is_that_in_the_value(value: Any, why: str) -> None:
    """An error says where in the value it is, and of several values in which one."""
    inputs = Inputs(chat)
    with pytest.raises(InvalidPayload) as caught:
        inputs.each(inputs.convert, [value])
    assert str(caught.value) == f"an input of chat does not fit: {why}"
    with pytest.raises(InvalidPayload) as caught:
        inputs.each(inputs.convert, [None, value, None])
    assert str(caught.value) == f"value 2 of 3: an input of chat does not fit: {why}"


def test_an_input_that_no_longer_fits_is_refused() -> None:
    """The handler was changed after the input was sent."""
    with pytest.raises(InvalidPayload, match="an input of chat does not fit"):
        Inputs(chat).decode(7)


def test_without_a_type_any_json_will_do() -> None:
    """A handler that declares nothing takes what JSON holds unchanged, and nothing else."""
    inputs = Inputs(anything)
    assert inputs.decode(decode(inputs.encode({"a": [1, None, "x"]}))) == {"a": [1, None, "x"]}
    with pytest.raises(InvalidPayload, match="an input of anything"):
        inputs.encode(float("nan"))


def test_keys_that_were_chosen_to_be_slow_are_refused() -> None:
    """As in arguments: many numbers with one hash would make a slow set."""
    assert Inputs(numbers).convert([1, 2]) == {1, 2}
    with pytest.raises(InvalidPayload, match="an input of numbers"):
        Inputs(numbers).convert([(2**61 - 1) * n for n in range(200)])


def test_a_type_that_json_cannot_make_is_refused_at_once() -> None:
    """The error comes when the handlers are looked at, and names the handler."""

    @handler(inputs=int | Steer | Other)
    async def odd(job: JobContext[str]) -> None: ...

    with pytest.raises(TypeError, match="handler odd has an input that cannot be made from JSON"):
        Inputs(odd)
