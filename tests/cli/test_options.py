"""Options and arguments become values."""

from __future__ import annotations

from typing import Any

import pytest

from trio_jobs.cli.faults import Fault
from trio_jobs.cli.options import file_of, tags_of, value_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("[1, null]", [1, None]),
        ('"5"', "5"),
        ("five", "five"),
        ("[1,", "[1,"),
        ("NaN", "NaN"),
        ("", ""),
        ("[" * 100_000, "[" * 100_000),
        ("1" * 5000, "1" * 5000),
    ],
)
def test_arguments_are_json_or_else_text(text: str, value: Any) -> None:
    """An argument that is JSON becomes its value; any other one is text."""
    assert value_of(text) == value


def test_tags_are_names_and_values() -> None:
    """A tag is split at its first equals sign; a tag without one is refused."""
    assert tags_of(["a=1=2", "b="]) == {"a": "1=2", "b": ""}
    for bad in ("a", "=1"):
        with pytest.raises(Fault, match="name=value"):
            tags_of([bad])


@pytest.mark.parametrize("store", ["memory://", "redis://here", "sqlite://", "", "sqlite:///x?y=1"])
def test_only_files_are_looked_at(store: str) -> None:
    """An address of no file is a mistake on the command line."""
    with pytest.raises(Fault) as caught:
        file_of(store)
    assert caught.value.status == 2
