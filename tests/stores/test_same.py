"""Which submissions are the same under a key: all stores agree."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from trio_jobs import KeyConflict
from trio_jobs.stores import Submission
from trio_jobs.stores._row import same
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.stores.sqlite import open_sqlite
from trio_jobs.testing.checks.kit import HOLDER, make, work


@dataclasses.dataclass(eq=False)
class Point:
    x: Any
    y: int = dataclasses.field(default=0, compare=False)


class Loose(Struct, eq=False):
    x: Any


PAIRS: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({"args": ((1, 2),)}, {"args": ([1, 2],)}, True),
    ({"args": ({"a": (1, [2])},)}, {"args": ({"a": [1, (2,)]},)}, True),
    ({"args": (1,)}, {"args": (True,)}, False),
    ({"kwargs": {"a": (1,), "b": 2}}, {"kwargs": {"b": 2, "a": [1]}}, True),
    ({"kwargs": {"a": 1}}, {"kwargs": {"a": 1.0}}, False),
    ({"kwargs": {"a": 1}}, {"args": (1,)}, False),
    ({"kwargs": {"a": 1}}, {}, False),
    ({"kwargs": {}}, {}, True),
    ({"args": (float("1.5"),)}, {"args": (float("1.5"),)}, True),  # two objects
    ({"args": (1,)}, {"args": (1.0,)}, False),
    ({"args": ([1],)}, {"args": ([True],)}, False),
    ({"args": (Point(1),)}, {"args": (Point(1),)}, True),
    ({"args": (Point(1, 2),)}, {"args": (Point(1, 3),)}, False),
    ({"args": (Point((1,)),)}, {"args": (Point([1]),)}, True),
    ({"args": (Loose(1),)}, {"args": (Loose(1),)}, True),
    ({"args": (Loose(1),)}, {"args": (Loose(True),)}, False),
    ({"metadata": {"a": 1}}, {"metadata": {"a": True}}, False),
    ({"metadata": {"a": (1,)}}, {"metadata": {"a": [1]}}, True),
    ({"linger": 1}, {"linger": 1.0}, True),
    ({"priority": 0}, {"priority": 3}, False),
    ({"tags": {"a": "b"}}, {"tags": {"a": "c"}}, False),
]


def submission(given: dict[str, Any]) -> Submission:
    options = dict(given)
    return make(*options.pop("args", ()), key="k", **options)


@pytest.mark.parametrize(("one", "other", "alike"), PAIRS, ids=map(str, range(len(PAIRS))))
async def test_stores_agree(one: dict[str, Any], other: dict[str, Any], alike: bool, tmp_path: Path) -> None:
    """In memory and in a file, the same submissions are equal, and values that JSON distinguishes are not."""

    async def taken(store: Any) -> bool:
        ids, _ = await store.submit([submission(one)], 0, HOLDER)
        try:
            return bool((await store.submit([submission(other)], 0, HOLDER))[0] == ids)
        except KeyConflict:
            return False

    async with open_sqlite(tmp_path / "jobs.db", handlers=[work]) as store:
        assert [await taken(MemoryStore()), await taken(store)] == [alike, alike]


def test_what_holds_itself() -> None:
    """The comparison of a value that contains itself ends."""
    one: list[Any] = [1]
    other: list[Any] = [1]
    one.append(one)
    other.append(other)
    assert same(make(one), make(other))
    other[0] = 2
    assert not same(make(one), make(other))
