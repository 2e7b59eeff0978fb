"""A server for each test of the page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from .site import Site


@pytest.fixture
async def site(nursery: trio.Nursery, tmp_path: Path) -> AsyncIterator[Site]:
    """Yield a server without authentication."""
    started = Site(nursery, tmp_path / "jobs.db")
    await started.start()
    yield started
    await started.stop()
