"""Where the demo keeps its jobs, so that a run that was killed can go on."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def place() -> Path:
    """Return the file: one for each user, in a folder among the temporary ones that is the user's own.

    Where somebody else has taken that name, a new folder is made, and nothing is found again.
    """
    # A system without `getuid` gives each user a temporary folder.
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"trio-jobs-demo-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        ours = not folder.is_symlink() and folder.stat().st_uid == user
    except OSError:
        ours = False
    return (folder if ours else Path(tempfile.mkdtemp(prefix="trio-jobs-demo-"))) / "demo.db"
