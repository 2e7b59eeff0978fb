"""The planted bugs fit today's source, and the hunt finds one and passes without."""

from __future__ import annotations

import ast
import builtins
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "planted"
sys.path.insert(0, str(HERE.parents[1]))

from tests.planted.bug import Bug  # noqa: E402  # found only now
from tests.planted.bugs import BUGS  # noqa: E402  # found only now
from tests.planted.hunt import UNITS, finders, hunt, plant  # noqa: E402


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_bug_fits(bug: Bug, tmp_path: Path) -> None:
    """The text that a bug replaces is in the package exactly once, and the result is valid Python.

    A bug with an undefined name would be found by that error, whatever the harness checks.
    """
    plant(bug, tmp_path)
    file = tmp_path / "trio_jobs" / bug.file
    if file.suffix != ".py":
        return
    text = file.read_text(encoding="utf-8")
    compile(text, str(file), "exec", dont_inherit=True)
    nodes = list(ast.walk(ast.parse(text)))
    used = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    known = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    for node in nodes:
        if isinstance(node, ast.alias):
            known.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.arg):
            known.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.ExceptHandler):
            known.add(node.name or "")
    assert used <= known | set(dir(builtins)) | {"__file__"}


def test_there_are_enough() -> None:
    """There are at least 25 bugs, each with a name of its own, and every lane has some."""
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 25
    assert {bug.lane for bug in BUGS} == UNITS.keys()


@pytest.mark.deep
def test_a_bug_is_found() -> None:
    """The hunt finds a planted bug, and reports the number of tries."""
    (bug,) = [bug for bug in BUGS if "key is ignored" in bug.name]
    tries, _ = hunt(bug, bug.lane)
    assert tries is not None
    assert 0 < tries < 100


@pytest.mark.deep
def test_nothing_is_found_where_nothing_is() -> None:
    """A lane passes on the package as it is."""
    assert hunt(None, "store")[0] is None


def test_the_page_has_the_table() -> None:
    """The page of the documentation has a row for each bug and its lane, no others, and says how many."""
    page = (Path(__file__).parents[1] / "docs" / "testing" / "planted-bugs.md").read_text(encoding="utf-8")
    assert [bug.name for bug in BUGS if f"| {bug.name} | {bug.seen} | `{bug.lane}` |" not in page] == []
    assert finders().keys() <= {bug.name for bug in BUGS}
    assert f"So {len(BUGS)} real bugs" in page
    assert f"{len(BUGS)} of {len(BUGS)} planted bugs found" in page


def test_the_hunt_fails_if_it_finds_nothing() -> None:
    """A word that names no bug is an error, and not a successful hunt."""
    done = subprocess.run([sys.executable, str(HERE / "hunt.py"), "no such bug"], check=False, timeout=100)
    assert done.returncode == 1
