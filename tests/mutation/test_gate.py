"""Mutants of a toy module are killed or survive as expected; the list and the sample are right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.changed import lines_in
from tests.mutation.mutants import Key, mutants, mutants_of
from tests.mutation.run import LIST, ROOT, sample
from tests.mutation.survivors import entry, listed, stale
from tests.mutation.targets import TARGETS

TOY = """
def is_larger(value, other):
    return value > other
"""
TESTS = """
from toy import is_larger
def test_larger(): assert is_larger(2, 1)
def test_smaller(): assert not is_larger(1, 2)
def test_equal(): assert is_larger(1, 1), "what is wrong"
"""
TRY = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.mutation.gate import TestsFailed, tried
from tests.mutation.mutants import mutants
every, good = mutants("toy.py", Path()), ["test_toy.py::test_larger", "test_toy.py::test_smaller"]
killed = {one.mutant.key.after: one.verdict.killed for one in tried(every, good, Path(), 2)}
try:
    list(tried(every, ["test_toy.py"], Path()))
except TestsFailed as error:
    print(json.dumps([killed, str(error)]))
"""


@pytest.mark.deep
def test_a_toy(tmp_path: Path) -> None:
    """A mutant that a test detects is killed, with the test's name; one that no test detects survives. Tests
    that fail without a mutant raise an error."""
    (tmp_path / "toy.py").write_text(TOY, encoding="utf-8")
    (tmp_path / "test_toy.py").write_text(TESTS, encoding="utf-8")
    # In a process that has loaded nothing of what is mutated.
    command = [sys.executable, "-c", TRY, str(ROOT)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    killed, failed = json.loads(done.stdout)
    assert killed.keys() == {"return value >= other", "return value <= other", "return"}
    assert killed["return value >= other"] is None
    assert killed["return value <= other"].startswith("test_toy.py::test_")
    assert killed["return"] == "test_toy.py::test_larger"
    assert "test_toy.py::test_equal" in failed
    assert "what is wrong" in failed


# ------------------------------------------------------------ the list


def key(after: str) -> Key:
    """Return a key."""
    return Key("file.py", "A.f", "it = \"\\d\" + 'ä'", after)


def test_the_list(tmp_path: Path) -> None:
    """An entry that is printed, with a reason, is on the list; one without a mutant is stale."""
    keys = [key("it = ''"), key("pass")]
    text = "\n".join(entry(one).replace('why = ""', 'why = "equivalent: it is so"') for one in keys)
    (tmp_path / "list.toml").write_text(text, encoding="utf-8")
    found = listed(tmp_path / "list.toml")
    assert found == dict.fromkeys(keys, "equivalent: it is so")
    assert stale(found, keys[:1]) == keys[1:]
    assert stale(found, keys) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (entry(key("pass")), "why"),
        (entry(key("pass")).replace('why = ""', 'why = "because"'), "equivalent"),
        ("[[survivor]]\nfile = 'a'", "needs file, function"),
        (2 * entry(key("pass")).replace('why = ""', 'why = "accepted: so"'), "twice"),
    ],
)
def test_a_list_that_is_none(text: str, wrong: str, tmp_path: Path) -> None:
    """An entry without a reason or another field, or a duplicate one, is refused."""
    (tmp_path / "list.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=wrong):
        listed(tmp_path / "list.toml")


def test_the_list_is_true() -> None:
    """Each entry of the list belongs to a mutant of today's source."""
    present = {one.key for file in TARGETS for one in mutants(file, ROOT)}
    assert stale(listed(LIST), present) == []


# ------------------------------------------------------------ the choice


def test_the_sample_is_by_hash() -> None:
    """A sample depends on no order, keeps its members when mutants are added, and differs by seed."""
    every = mutants_of("file.py", "\n".join(f"a{n} = {n}" for n in range(1, 60)))
    names = [one.key.name for one in sample(every, 10, "0")]
    assert len(set(names)) == 10
    assert [one.key.name for one in sample(every[::-1], 10, "0")] == names
    assert set(names) <= {one.key.name for one in sample(every, 11, "0")}
    assert [one.key.name for one in sample(every, 10, "1")] != names


def test_changed_lines() -> None:
    """The lines that a diff adds or alters have changed; where it removes lines, those around them."""
    assert lines_in("") == set()
    assert lines_in("@@ -1 +1,2 @@ class A:\n@@ -9,2 +10 @@\n@@ -30,3 +28,0 @@\n") == {1, 2, 10, 28, 29}
