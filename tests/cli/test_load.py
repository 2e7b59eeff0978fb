"""`module:attribute` gives handlers, or an error on one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from trio_jobs.cli.faults import Fault
from trio_jobs.cli.load import load_handlers, load_schedules


def test_handlers_are_an_attribute_or_the_module(cli: object) -> None:
    """A module gives its marked functions, and an attribute the handlers that it lists, or is."""
    names = ["add", "fail", "polite", "endless", "stubborn", "spin", "ask", "styled"]
    assert list(load_handlers("program:fail")) == ["fail"]
    assert list(load_handlers("program")) == list(load_handlers("program:handlers")) == names


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("missing", "there is no module 'missing'"),
        ("missing.deep:x", "there is no module 'missing.deep'"),
        ("program:missing", "module program has no 'missing'"),
        ("program.py", "a module is named without .py"),
        ("./program.py", "a module is named without .py"),
        ("program:nothing", "program:nothing: handlers takes an iterable"),
        ("program:trio", "program:trio: module trio defines no handlers"),
        ("program:", "write module:attribute"),
        ("pro gram", "write module:attribute"),
        ("", "write module:attribute"),
        ("broken", "importing broken failed: SyntaxError"),
        ("quitting", "importing quitting failed: SystemExit"),
        ("lost", "importing lost failed: ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_what_is_no_handlers_is_told(cli: object, tmp_path: Path, address: str, said: str) -> None:
    """A wrong name is an error on one line, with status 2."""
    (tmp_path / "broken.py").write_text("def", encoding="utf-8")
    (tmp_path / "quitting.py").write_text("raise SystemExit(3)", encoding="utf-8")
    (tmp_path / "lost.py").write_text("import nowhere", encoding="utf-8")
    with pytest.raises(Fault) as caught:
        load_handlers(address)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.status == 2


SCHEDULED = """
from trio_jobs import Schedule, handler

@handler
async def work(job): ...

schedules = {}
handlers = [work]
"""


def test_schedules_are_a_list_of_the_module(cli: object, tmp_path: Path) -> None:
    """The list `schedules` of the module is taken, whatever the attribute; what else has that name is not."""
    for name, told in (("listed", "[Schedule(work, every=5)]"), ("function", "print"), ("none", "[]")):
        (tmp_path / f"{name}.py").write_text(SCHEDULED.replace("{}", told), encoding="utf-8")
        found = [one.every for one in load_schedules(f"{name}:handlers")]
        assert found == ([5] if name == "listed" else [])
    assert load_schedules("program") == []
