"""All commands as one program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import trio_jobs

COMMANDS = [
    "worker",
    "serve",
    "submit",
    "list",
    "show",
    "explain",
    "stream",
    "cancel",
    "prune",
    "statistics",
    "check",
    "schedules",
    "demo",
]


def test_help_names_every_command(cli: Any) -> None:
    """Without a command, and with --help, all commands are listed; each has its own help."""
    status, out, err = cli("--help")
    assert (status, err) == (0, "")
    assert cli() == (status, out, err)
    for name in COMMANDS:
        assert f"  {name}: " in out
        status, told, _ = cli(name, "--help")
        assert status == 0
        assert told.startswith(f"Usage: trio-jobs {name}")


def test_it_says_its_version(cli: Any) -> None:
    """--version prints only the version."""
    assert cli("--version")[1].strip()[0].isdigit()


@pytest.mark.parametrize(
    "arguments", [["lisst"], ["list", "extra"], ["list", "--nope"], ["show"], ["--nope"]]
)
def test_what_is_typed_wrong_is_one_line(cli: Any, arguments: list[str]) -> None:
    """The error of a wrong command is one line with the fault and how to get help; the status is 2."""
    status, out, err = cli(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("trio-jobs: ")
    assert "--help'" in err


def test_without_the_extra_it_says_how_to_get_it(tmp_path: Path) -> None:
    """If a package of the extra is missing, one line names the extra, and the status is 1."""
    (tmp_path / "cyclopts.py").write_text("raise ImportError('not here')", encoding="utf-8")
    paths = os.pathsep.join([str(tmp_path), str(Path(trio_jobs.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "trio_jobs", "list"],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "pip install 'trio-jobs[cli]'" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_line(cli: Any) -> None:
    """Output that cannot be written is reported on one line."""
    cli.submit("add", "1", "2")
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "trio_jobs", "list"],
            env={**os.environ, "PYTHONPATH": str(Path(trio_jobs.__file__).parents[1])},
            cwd=cli.folder,
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("trio-jobs: No space left on device\n")
    assert "Traceback" not in done.stderr
