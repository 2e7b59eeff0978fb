"""The pytest plugin, in a user's project."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trio

from trio_jobs import JobContext, JobRegistry, State


async def hour(job: JobContext[str]) -> None:
    await trio.sleep(3600)


async def test_the_fixture_is_a_registry_in_virtual_time(jobs: JobRegistry) -> None:
    """A job of an hour ends at once, and the clock shows that an hour has passed."""
    began = trio.current_time()
    handle = await jobs.submit(hour)
    assert (await handle.wait()).state is State.COMPLETED
    assert trio.current_time() == began + 3600


OWN = """
import trio
from trio.testing import MockClock

async def test_own_clock(jobs, mock_clock):
    assert trio.lowlevel.current_clock() is mock_clock

async def test_none(autojump_clock):
    assert True

def test_not_async():
    assert True
"""
OWN_FIXTURE = """
import pytest, trio
from trio.testing import MockClock

@pytest.fixture
def jobs():
    return "mine"

async def test_mine(jobs):
    assert jobs == "mine"
    assert not isinstance(trio.lowlevel.current_clock(), MockClock)
"""
WITHOUT = """
def test_it(jobs):
    pass

def test_other():
    assert True
"""


def run(folder: Path, code: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(code, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-W",
        "error",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        ".",
    ]
    return subprocess.run(
        [*command, *options], cwd=folder, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.parametrize("code", [OWN, OWN_FIXTURE])
@pytest.mark.deep
def test_it_keeps_out_of_the_way(tmp_path: Path, code: str) -> None:
    """A test with its own clock or fixture `jobs` gets that one."""
    done = run(tmp_path, code, "-o", "trio_mode=true")
    assert done.returncode == 0, done.stdout


@pytest.mark.deep
def test_without_pytest_trio(tmp_path: Path) -> None:
    """Without pytest-trio only tests that use the fixture fail, with the reason."""
    code = (
        "import sys, pytest\n"
        "class Missing:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'pytest_trio': raise ImportError(name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "sys.exit(pytest.main(sys.argv[1:]))"
    )
    (tmp_path / "test_it.py").write_text(WITHOUT, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", code, "-q", "-p", "no:trio", "-p", "no:cacheprovider", "--rootdir", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "requested an async fixture 'jobs'" in done.stdout
    assert "1 passed" in done.stdout
