"""One Chromium for all tests of the page, and a server for each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from .chromium import Browser, chromium
from .site import Site


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start Chromium once."""
    started = Browser(chromium())
    yield started
    started.stop()


@pytest.fixture
async def site(nursery: trio.Nursery, tmp_path: Path) -> AsyncIterator[Site]:
    """Yield a server without authentication."""
    started = Site(nursery, tmp_path / "jobs.db")
    await started.start()
    yield started
    await started.stop()
