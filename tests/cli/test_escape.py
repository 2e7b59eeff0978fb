"""Text from jobs cannot control a terminal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_jobs.cli.escape import as_json, lines, one_line, shown


@given(st.text())
def test_nothing_is_obeyed(text: str) -> None:
    """The output for any text is printable, except line ends and tabs where these are allowed."""
    assert one_line(text).isprintable()
    assert lines(text).replace("\n", "").replace("\t", "").isprintable()
    assert as_json(text).isprintable()


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_json_says_the_same_when_it_is_escaped(value: Any) -> None:
    """Escaped JSON is decoded as the same value."""
    assert json.loads(as_json(value)) == value


@pytest.mark.parametrize(
    ("text", "written"),
    [("\x1b[31m", r"\x1b[31m"), ("\u202e", r"\u202e"), ("ü\n", "ü\n"), ("\U000e0001", r"\U000e0001")],
)
def test_escapes_are_those_of_python(text: str, written: str) -> None:
    """Characters that are not printable are shown as Python escapes, and the others unchanged."""
    assert lines(text) == written


def test_values_are_shown_as_json_and_text_as_text() -> None:
    """A token that is text has no quotes; any other value is JSON."""
    assert shown("a b") == "a b"
    assert shown({"a": [1, None]}) == '{"a": [1, null]}'
