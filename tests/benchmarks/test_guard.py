"""`benchmarks/guard.py` counts what it claims to count."""

from __future__ import annotations

import os

import pytest
import trio

from benchmarks import guard


def test_every_load_is_marked_where_it_begins_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each load has exactly two marks, as the counts between marks are compared in pairs."""
    marks: list[int] = []
    monkeypatch.setattr(os, "getpgrp", lambda: marks.append(1))
    for name, guarded in guard.LOADS.items():
        trio.run(guarded.load, 100)
        assert len(marks) == 2, name
        marks.clear()


def test_what_became_dearer_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A count up to a tenth above the stored one passes, and one without a stored count is only printed."""
    assert guard.show("submit", 100.0, 1.09, 1.0) == "fine"
    assert guard.show("submit", 100.0, 1.11, 1.0) == "DEARER"
    assert guard.show("submit", 100.0, 1.11, None) == "not stored yet"
    assert "DEARER, at most 1.10" in capsys.readouterr().out
