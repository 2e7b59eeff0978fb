"""The torture itself, briefly: `run.py` is for more."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("run.py")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="forks, and uses Linux's clock")
def test_a_few_kills() -> None:
    """Workers that are killed, stopped and terminated on one file break no promise."""
    done = subprocess.run(
        [sys.executable, str(RUN), "--kills", "12", "--seed", "1"],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^0 faults, \d+ s$", done.stdout, re.MULTILINE)
    assert "tokens" in done.stdout
