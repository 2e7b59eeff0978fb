"""Journals: what each process says that it did, a line of JSON for each step.

A line is written by one call on a file opened for appending, so a process that is killed leaves whole lines.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def now() -> float:
    """Return the seconds since the machine booted: the same clock in every process."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Journal:
    """One process's journal.

    Args:
        path: Its file; lines are added to what is there.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)

    def note(self, what: str, **facts: Any) -> None:
        """Write a line."""
        os.write(self._file, json.dumps({"what": what, "at": now(), **facts}).encode() + b"\n")


def entries(folder: Path) -> Iterator[dict[str, Any]]:
    """Return the lines of all journals in a folder, each with the name of its file as `who`."""
    for path in sorted(folder.glob("*.jsonl")):
        yield from entries_of(path)


def entries_of(path: Path) -> Iterator[dict[str, Any]]:
    """Return the lines of one journal."""
    if path.exists():
        for line in path.read_text().splitlines():
            yield {"who": path.stem, **json.loads(line)}
