"""`submit` is typed: the checker accepts right calls, infers their results, and rejects others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.mark.deep
def test_the_checker_agrees() -> None:
    """mypy, strict, finds no error in accepts.py and each expected one in rejects.py."""
    pytest.importorskip("mypy", reason="the type checkers come with the extra `lint`")
    files = [str(HERE / "accepts.py"), str(HERE / "rejects.py")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", "--warn-unused-ignores", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
