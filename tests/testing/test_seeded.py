"""The hook by which Trio's scheduler follows a seed. If Trio changes it, these tests fail first."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from tests.inside import scheduler
from trio_jobs.testing._seeded import run_seeded


async def race() -> str:
    """Return the order in which twenty ready tasks run, five times over."""
    order: list[str] = []

    async def step(name: str) -> None:
        for _ in range(5):
            order.append(name)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(step, str(number))
    return " ".join(order)


def test_a_seed_says_the_order() -> None:
    """The same seed gives the same schedule, and ten seeds give several schedules."""
    first = [run_seeded(race, seed) for seed in range(10)]
    assert first == [run_seeded(race, seed) for seed in range(10)]
    assert len(set(first)) > 1


def test_a_seed_says_what_random_gives() -> None:
    """`random` follows the seed too, and with it the jitter of retries."""

    async def dice() -> float:
        return random.random()

    assert run_seeded(dice, 1) == run_seeded(dice, 1) != run_seeded(dice, 2)


def test_what_was_is_put_back() -> None:
    """After a seeded run, the states of `random`, Trio's generator and its switch are restored."""
    random.seed(5)
    expected = random.random()
    random.seed(5)
    (switch, dice), state = scheduler(), scheduler()[1].getstate()

    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_seeded(fail, 3)
    run_seeded(race, 3)
    assert random.random() == expected
    assert scheduler() == (switch, dice)
    assert dice.getstate() == state


def test_a_trio_without_the_hook_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version of Trio that cannot be seeded raises an error that says so."""
    without: dict[str, Any] = {}
    monkeypatch.setattr("trio_jobs.testing._seeded._TRIO", without)
    with pytest.raises(RuntimeError, match="cannot be made to schedule by a seed"):
        run_seeded(race, 0)
