"""Text from jobs cannot command a terminal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_jobs.cli.escape import as_json, lines, one_line, shown


@given(st.text())
def test_nothing_is_obeyed(text: str) -> None:
    """Whatever a text holds, what is written is printable, but for line ends and tabs where these may be."""
    assert one_line(text).isprintable()
    assert lines(text).replace("\n", "").replace("\t", "").isprintable()
    assert as_json(text).isprintable()


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_json_says_the_same_when_it_is_escaped(value: Any) -> None:
    """What is escaped in JSON is still the value."""
    assert json.loads(as_json(value)) == value


@pytest.mark.parametrize(
    ("text", "written"),
    [("\x1b[31m", r"\x1b[31m"), ("\u202e", r"\u202e"), ("ü\n", "ü\n"), ("\U000e0001", r"\U000e0001")],
)
def test_escapes_are_those_of_python(text: str, written: str) -> None:
    """What is not printable is shown as Python writes it, and the rest stays."""
    assert lines(text) == written


def test_values_are_shown_as_json_and_text_as_text() -> None:
    """A token that is text has no quotes; any other value is JSON."""
    assert shown("a b") == "a b"
    assert shown({"a": [1, None]}) == '{"a": [1, null]}'
