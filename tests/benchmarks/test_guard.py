"""What is counted by `benchmarks/guard.py` is what it says."""

from __future__ import annotations

import os

import pytest
import trio

from benchmarks import guard


def test_every_load_is_marked_where_it_begins_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counts are taken in pairs, so that one mark too many would compare the wrong loads."""
    marks: list[int] = []
    monkeypatch.setattr(os, "getpgrp", lambda: marks.append(1))
    for name, guarded in guard.LOADS.items():
        trio.run(guarded.load, 100)
        assert len(marks) == 2, name
        marks.clear()


def test_what_became_dearer_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A tenth more than stored is fine, and what is not stored is only printed."""
    assert guard.show("submit", 100.0, 1.09, 1.0) == "fine"
    assert guard.show("submit", 100.0, 1.11, 1.0) == "DEARER"
    assert guard.show("submit", 100.0, 1.11, None) == "not stored yet"
    assert "DEARER, at most 1.10" in capsys.readouterr().out
