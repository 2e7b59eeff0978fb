"""What is counted by `benchmarks/guard.py` is what it says."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest
import trio

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "guard.py"


@pytest.fixture(scope="module")
def guard() -> ModuleType:
    spec = importlib.util.spec_from_file_location("guard", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_load_is_marked_where_it_begins_and_ends(
    guard: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counts are taken in pairs, so that one mark too many would compare the wrong loads."""
    marks: list[int] = []
    monkeypatch.setattr(os, "getpgrp", lambda: marks.append(1))
    for name, guarded in guard.LOADS.items():
        trio.run(guarded.load, 100)
        assert len(marks) == 2, name
        marks.clear()


def test_what_became_dearer_is_said(guard: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """A tenth more than stored is fine, and what is not stored is only printed."""
    assert guard._show("submit", 100.0, 1.09, 1.0) == "fine"
    assert guard._show("submit", 100.0, 1.11, 1.0) == "DEARER"
    assert guard._show("submit", 100.0, 1.11, None) == "not stored yet"
    assert "DEARER, at most 1.10" in capsys.readouterr().out
