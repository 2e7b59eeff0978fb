"""The health of a server is that of its store, and to ask for it costs little."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_jobs import StoreUnavailable
from trio_jobs.serving.health import Health


class Jobs:
    """A registry whose store answers as it is told."""

    def __init__(self) -> None:
        self.asked = 0
        self.takes = 0.0
        self.raises: Exception | None = None

    async def count(self) -> int:
        """Answer."""
        self.asked += 1
        await trio.sleep(self.takes)
        if self.raises is not None:
            raise self.raises
        return 0


async def test_a_fault_comes_and_goes(autojump_clock: MockClock) -> None:
    """What is wrong is said in words that give nothing away, and no longer than a second after it is over."""
    jobs: Any = Jobs()
    health = Health(jobs)
    assert await health.fault() is None
    jobs.raises = StoreUnavailable("/secret/path is gone")
    await trio.sleep(1)
    assert await health.fault() == "the store is unavailable"
    jobs.raises, jobs.takes = None, 60.0
    await trio.sleep(1)
    assert await health.fault() == "the store did not answer within 5s"
    jobs.takes = 0.0
    await trio.sleep(1)
    assert await health.fault() is None


@pytest.mark.parametrize("takes", [0.0, 3.0])
async def test_many_who_ask_are_one_question(takes: float, autojump_clock: MockClock) -> None:
    """All who ask within a second, and while the store has not answered, get the answer to one question."""
    jobs: Any = Jobs()
    jobs.takes = takes
    health = Health(jobs)
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(health.fault)
    assert jobs.asked == 1
