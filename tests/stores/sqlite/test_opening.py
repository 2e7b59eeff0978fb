"""Opening a file: its polling, and the errors of its block."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from trio_jobs.stores.sqlite import open_sqlite


@pytest.mark.parametrize("poll", [0, -1, math.nan])
async def test_looking_all_the_time_is_refused(tmp_path: Path, poll: float) -> None:
    """A store polls for the writes of others with a pause: a pause of 0 is refused."""
    with pytest.raises(ValueError, match="poll must be at least 0.001"):
        async with open_sqlite(tmp_path / "jobs.db", poll=poll):
            pass
