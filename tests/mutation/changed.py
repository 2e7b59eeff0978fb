"""The lines that have changed since a commit, according to git."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

_HUNK: Final = re.compile(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@", re.MULTILINE)


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True)  # noqa: S607
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def base_of(root: Path) -> str | None:
    """Return the commit at which this work began: where it left the main branch, or else the one before."""
    head = _git(root, "rev-parse", "HEAD")
    for branch in ("origin/HEAD", "origin/main", "main"):
        base = _git(root, "merge-base", "HEAD", branch)
        if base is not None and base != head:
            return base
    return _git(root, "rev-parse", "--verify", "HEAD~1")


def changed_lines(root: Path, base: str, file: str) -> set[int]:
    """Return the lines of a file that differ from those at `base`."""
    diff = _git(root, "diff", "--unified=0", "--no-color", "--no-ext-diff", base, "--", file)
    return lines_in(diff or "")


def lines_in(diff: str) -> set[int]:
    """Return the lines that a diff without context adds; where it only removes lines, those around them."""
    found = set[int]()
    for first, count in _HUNK.findall(diff):
        found.update(range(int(first), int(first) + (2 if count == "0" else int(count or 1))))
    return found
