"""When clients reconnect: after growing waits, each at a random moment."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import trio
from trio.testing import MockClock

from trio_jobs.client.backoff import BACKOFF, SUSPECT, Backoff


def test_waits_grow_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound of the wait doubles up to the maximum, and is reset once the server has answered."""
    monkeypatch.setattr(random, "random", lambda: 0.0)
    backoff = Backoff()
    waits = [backoff.delay(None, served=False) for _ in range(8)]
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert backoff.delay(None, served=True) == 0.2
    assert backoff.delay(None, served=False, least=3) == 3.4


def test_a_server_that_is_busy_is_given_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a server's reply that it stops or is full, the bound is longer at once."""
    monkeypatch.setattr(random, "random", lambda: 0.0)
    assert Backoff().delay(1001, served=True) == 0.8
    assert Backoff().delay(1013, served=False) == 1.6


@pytest.mark.parametrize("code", sorted(SUSPECT))
def test_what_may_come_again_is_not_hurried(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a request seems to end connections, reconnecting slows down, though each connection is opened."""
    monkeypatch.setattr(random, "random", lambda: 0.0)
    backoff = Backoff()
    assert [backoff.delay(code, served=True) for _ in range(3)] == [0.2, 0.4, 0.8]


@pytest.mark.parametrize("down", [0.0, 1.0, 5.0, 20.0])
def test_clients_do_not_come_back_together(down: float) -> None:
    """500 clients that lost a server at the same moment reconnect spread over time: never more than a fifth
    of them in the same 100 ms, and all of them within two longest waits."""

    async def come_back(arrivals: list[float]) -> None:
        backoff = Backoff()
        began = trio.current_time()
        await trio.sleep(backoff.delay(1001, served=True))
        while trio.current_time() - began < down:
            await trio.sleep(backoff.delay(None, served=False))
        arrivals.append(trio.current_time() - began - down)

    async def main() -> list[float]:
        arrivals: list[float] = []
        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(come_back, arrivals)
        return arrivals

    arrivals = trio.run(main, clock=MockClock(autojump_threshold=0))
    crowd = Counter(int(when / 0.1) for when in arrivals).most_common(1)[0][1]
    assert len(arrivals) == 500
    assert crowd <= 100
    assert max(arrivals) <= 2 * BACKOFF.maximum
