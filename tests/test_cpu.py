"""Work without a checkpoint, in a child process that ends with its job's scope."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.skipif(sys.platform == "win32", reason="asking for a process by its pid is POSIX")
@pytest.mark.deep
def test_a_busy_loop_is_gone_with_its_job(tmp_path: Path) -> None:
    """A job in a busy loop is FAILED by its timeout, CANCELLED by a cancel, and ended by leaving the
    registry; each time its process has ended."""
    program = HERE / "cpu_work.py"
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout.splitlines() == [
        "by_timeout failed timeout gone",
        "by_cancel cancelled user gone",
        "by_leaving left gone",
    ], done.stderr
    (warning,) = done.stderr.splitlines()  # of the job that failed, and of nothing else
    assert warning.startswith("job ")
    assert warning.endswith("(timeout): Job timed out after 2s")
    assert done.returncode == 0
