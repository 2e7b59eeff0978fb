"""The torture and the failpoints, briefly: `nox -s torture` runs more."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="forks, and uses Linux's clock")


def run(script: str, *arguments: str) -> str:
    """Run a script of this folder without an error, and return its output."""
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@linux
@pytest.mark.deep
def test_a_few_kills() -> None:
    """Workers that are killed, stopped and terminated on one file break no promise."""
    printed = run("run.py", "--kills", "12", "--seed", "1")
    assert re.search(r"^0 faults, \d+ s$", printed, re.MULTILINE)
    assert "tokens" in printed


@linux
@pytest.mark.deep
def test_a_few_kills_on_a_server(postgres_installed: None) -> None:
    """Workers that are killed, and a server that is, too, break no promise."""
    printed = run("run.py", "--store", "postgresql", "--kills", "12", "--seed", "1")
    assert re.search(r"^0 faults, \d+ s$", printed, re.MULTILINE)


@linux
@pytest.mark.deep
def test_a_few_stops() -> None:
    """Workers that repeatedly leave in order cost no job anything."""
    assert re.search(r"^0 faults, \d+ s$", run("run.py", "--stops", "20", "--seed", "1"), re.MULTILINE)


@linux
@pytest.mark.deep
def test_some_failpoints() -> None:
    """Some cases of the failpoint matrix, one of most verbs, are reached, and pass."""
    assert re.search(r"^17 cases, 17 of them met, 0 broken, \d+ s$", run("failpoints.py", "--every", "26"))
