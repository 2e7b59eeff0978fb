"""Programs of Node.js that drive clients of other projects: `npm install --prefix tests/node` brings these.

Without, such tests are skipped, and fail on CI.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, Final

import pytest
import trio

PACKAGES: Final = Path(__file__).parents[2] / "node" / "node_modules"


def needs(package: str) -> None:
    """Skip a test if a package is missing; fail it on CI."""
    lacks = None
    if shutil.which("node") is None:
        lacks = "Node.js is not installed (Debian's package `nodejs`)"
    elif not (PACKAGES / package).exists():
        lacks = f"the npm package {package} is not installed: npm install --prefix tests/node"
    if lacks is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(lacks)
    pytest.skip(lacks)


async def run(program: Path, *args: str) -> Any:
    """Run a program, and return the JSON that it prints."""
    done = await trio.run_process(
        ["node", str(program), *args], capture_stdout=True, capture_stderr=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)
