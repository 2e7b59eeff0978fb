"""Keys with hashes that an attacker chose are refused before a set or a dict is made of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import attrs
import pytest

from tests._json.coding import Arguments
from trio_jobs import InvalidPayload

MODULUS = sys.hash_info.modulus


class Pair(NamedTuple):
    one: int
    other: UUID


@attrs.frozen
class Deep:
    inner: list[Deep] = attrs.field(factory=list)
    ids: frozenset[UUID] = frozenset()


def taking(kind: Any) -> Arguments:
    async def take(job: object, value: Any) -> None: ...

    take.__annotations__["value"] = kind
    return Arguments(take)


def alike(number: int) -> str:
    return str(UUID(int=5 + MODULUS * number))


SHAPES: list[tuple[Any, Callable[[int], Any]]] = [
    (set[UUID], lambda n: [alike(one) for one in range(n)]),
    (set[UUID], lambda n: [alike(one).replace("-", "") for one in range(n)]),
    (dict[UUID, int], lambda n: {alike(one): one for one in range(n)}),
    (dict[Decimal, int], lambda n: {str(MODULUS * one): one for one in range(n)}),
    (dict[int, None], lambda n: dict.fromkeys(str(MODULUS * one) for one in range(n))),
    (frozenset[Decimal], lambda n: [f"{MODULUS * one}.0" for one in range(n)]),
    (set[tuple[int, Decimal]], lambda n: [[1, str(MODULUS * one)] for one in range(n)]),
    (set[Pair], lambda n: [[1, alike(one)] for one in range(n)]),
    (list[dict[str, set[UUID] | None]], lambda n: [{}, {"a": [alike(one) for one in range(n)]}]),
    (Deep, lambda n: {"inner": [{"ids": [alike(one) for one in range(n)]}]}),
]


def calls(work: Callable[[], object]) -> int:
    """Return how many functions are called in Python."""
    count = 0

    def note(frame: object, event: str, arg: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        work()
    except InvalidPayload:
        pass
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(("kind", "shape"), SHAPES, ids=map(str, range(len(SHAPES))))
def test_made_up_keys_are_refused(kind: Any, shape: Callable[[int], Any]) -> None:
    """They are refused however they are nested, in at most one step per key; a few of them are accepted."""
    codec = taking(kind)
    codec.convert([shape(3)])
    few, many = shape(200), shape(800)
    for value in (few, many):
        with pytest.raises(InvalidPayload, match="hold .* different keys or members with one hash"):
            codec.convert([value])
    assert calls(lambda: codec.convert([many])) <= 5 * calls(lambda: codec.convert([few]))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (set[UUID], [str(UUID(int=one)) for one in range(200)]),
        (dict[int, int], {str(one): one for one in range(200)}),
        (set[int], [1] * 200),
        (set[str], ["x" * 2000 + str(one) for one in range(200)]),
        (dict[UUID, list[dict[str, int]]], {str(UUID(int=1)): [{"a": one} for one in range(200)]}),
        (dict[Decimal, list[str]], {"1": ["sNaN", "a", *map(str, range(100))]}),
        (list[UUID], [alike(one) for one in range(200)]),
        (dict[str, Any], {alike(one): one for one in range(200)}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_others_are_taken(kind: Any, value: Any) -> None:
    """Many ordinary keys, repeated keys, and any keys that are never hashed are accepted."""
    taking(kind).convert([value])
