"""Plant each bug in a copy of the package and see it found: `python tests/planted/hunt.py`.

Lanes: `store` runs `check_store` on the store in memory and counts checks, `file` does so on the one in a
file, `postgres` on the one in a database; `simulation` counts seeds, `lives` the examples of `JobMachine`,
`cancel` the checkpoints of `cancel_at_every_checkpoint`, `serving` the sessions of `ServerMachine`, `damage`
the kinds of it in rows of a file, until the first that fails. Checks and seeds do not depend on each other:
they begin just before the one that has found the bug by the page, and those before come last; `--all` begins
at the first.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.planted.bug import Bug  # noqa: E402  # found only now
from tests.planted.bugs import BUGS  # noqa: E402  # found only now

LANES = Path(__file__).with_name("lanes.py")
PAGE = ROOT / "docs" / "testing" / "planted-bugs.md"
UNITS = {
    "store": "check",
    "file": "check",
    "postgres": "check",
    "simulation": "seed",
    "lives": "example",
    "streams": "example",
    "file-streams": "example",
    "cancel": "checkpoint",
    "serving": "session",
    "damage": "kind",
}
EARLIER = 5  # checks and seeds, as some may have been removed since
LONGEST = 1200  # seconds after which a lane hangs, which is a find too; one that spins stops itself earlier


class Found(NamedTuple):
    """The result of the hunt for a bug."""

    bug: Bug
    tries: int | None
    seconds: float
    output: str


def plant(bug: Bug, folder: Path) -> None:
    """Copy the package into `folder`, with the bug in it."""
    shutil.copytree(ROOT / "trio_jobs", folder / "trio_jobs", ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "trio_jobs" / bug.file
    text = file.read_text(encoding="utf-8")
    if text.count(bug.before) != 1:
        raise ValueError(f"{bug.name}: its text is in {bug.file} {text.count(bug.before)} times, not once")
    file.write_text(text.replace(bug.before, bug.after), encoding="utf-8")


def finders() -> dict[str, int]:
    """Return where to begin the hunt for each bug: a little before what found it, by the page."""
    row = re.compile(r"^\| ([^|]+) \| [^|]+ \| `[^`]+` \| (\d+) ", re.MULTILINE)
    found = row.findall(PAGE.read_text(encoding="utf-8"))
    return {name: max(1, int(number) - EARLIER) for name, number in found}


def hunt(bug: Bug | None, lane: str, first: int = 1) -> tuple[int | None, str]:
    """Run a lane on a package with a bug, or without one, from its `first` check or seed on.

    Returns:
        The number of the try that failed, or None if none did, and what it printed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if bug is not None:
            plant(bug, folder)
        path = str(folder if bug is not None else ROOT)
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, str(LANES), lane, str(first)]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=LONGEST,
                check=True,
            )
        except subprocess.TimeoutExpired:
            return 0, "it hangs"
        except subprocess.CalledProcessError as error:
            if error.returncode != -signal.SIGXCPU:
                raise
            return 0, "it spins"
    word, _, tries = done.stdout.strip().rpartition("\n")[2].partition(" ")
    return (int(tries), done.stdout) if word == "found" else (None, done.stdout)


@contextmanager
def server_for(bugs: Iterable[Bug]) -> Iterator[None]:
    """Have one database server running for the lanes that need one."""
    if all(bug.lane != "postgres" for bug in bugs):
        yield
        return
    from tests.postgres import shared  # needs a driver

    with tempfile.TemporaryDirectory() as folder, shared(Path(folder)):
        os.environ["TRIO_JOBS_SERVER"] = folder
        yield


def _one(bug: Bug, first: int) -> Found:
    began = time.monotonic()
    tries, output = hunt(bug, bug.lane, first)
    return Found(bug, tries, time.monotonic() - began, output)


def _row(found: Found) -> str:
    unit = UNITS[found.bug.lane]
    tries = f"{found.tries} {unit}{'s' * (found.tries != 1)}"
    if not found.tries:
        tries = "NOT FOUND" if found.tries is None else "a hang"
    return f"| {found.bug.name} | {found.bug.seen} | `{found.bug.lane}` | {tries} |"


def main() -> int:
    """Hunt all bugs, or those whose name holds a word; exit with 1 if one is not found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("word", nargs="?", default="", help="hunt only bugs whose name holds this")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="hunts at once")
    parser.add_argument("--all", action="store_true", help="begin with the first check or seed")
    given = parser.parse_args()
    known = {} if given.all else finders()
    bugs = [bug for bug in BUGS if given.word in bug.name]
    began = time.monotonic()
    print("| bug | what a user would see | found by | after |\n|---|---|---|---|")
    with server_for(bugs), ThreadPoolExecutor(given.jobs) as pool:
        found = []
        for one in pool.map(lambda bug: _one(bug, known.get(bug.name, 1)), bugs):
            found.append(one)
            print(_row(one), flush=True)
    lost = [one.bug.name for one in found if one.tries is None]
    took = time.monotonic() - began
    print(f"\n{len(found) - len(lost)} of {len(found)} planted bugs found, in {took:.0f} s", file=sys.stderr)
    return 1 if lost or not found else 0


if __name__ == "__main__":
    sys.exit(main())
