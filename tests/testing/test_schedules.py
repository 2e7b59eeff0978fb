"""Every schedule of a small function is run, each once, and a failing one is shown."""

from __future__ import annotations

import itertools
import math

import pytest
import trio

from trio_jobs.testing import all_schedules


async def race(orders: list[str], names: str, steps: int) -> None:
    """Let tasks record their names, so many times each, and return the whole order."""
    order = ""

    async def note(name: str) -> None:
        nonlocal order
        for _ in range(steps - 1):
            order += name
            await trio.lowlevel.checkpoint()
        order += name

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(note, name)
    orders.append(order)


@pytest.mark.parametrize(("names", "steps"), [("a", 3), ("ab", 1), ("ab", 3), ("abc", 2), ("abcd", 1)])
def test_every_schedule_is_taken_once(names: str, steps: int) -> None:
    """Tasks run in every order at every step: each order once."""
    orders: list[str] = []
    count = all_schedules(race, orders, names, steps)
    each = ["".join(one) for one in itertools.permutations(names)]
    assert sorted(orders) == sorted("".join(one) for one in itertools.product(each, repeat=steps))
    assert count == len(orders) == math.factorial(len(names)) ** steps


def test_all_orders_of_the_first_steps_only() -> None:
    """With `steps`, later steps have one order, and the count is of the schedules that ran."""
    orders: list[str] = []
    assert all_schedules(race, orders, "abc", 4, steps=2) == 36
    assert len({order[:6] for order in orders}) == 36
    assert {order[6:] for order in orders} == {"abcabc"}


def test_too_many_are_an_error() -> None:
    """More schedules than the limit raise an error; exactly the limit does not."""
    assert all_schedules(race, [], "abc", 2, limit=36) == 36
    with pytest.raises(RuntimeError, match="race has more than 35 schedules"):
        all_schedules(race, [], "abc", 2, limit=35)


def test_the_schedule_that_fails_is_shown() -> None:
    """The error is that of the function; its notes have the schedule and the tasks that ran."""

    async def overtaken() -> None:
        orders: list[str] = []
        await race(orders, "abc", 1)
        assert orders != ["cab"]

    with pytest.raises(AssertionError) as caught:
        all_schedules(overtaken)
    steps, which = caught.value.__notes__[-2:]
    assert [line.split()[0] for line in steps.splitlines()[2:5]] == ["note"] * 3
    assert which.startswith("It was so under schedule ")
    assert not trio.lowlevel.in_trio_run()


def test_a_deadlock_under_one_schedule_is_found() -> None:
    """For two locks taken in opposite orders, the tree of tasks shows where both wait."""

    async def take(first: trio.Lock, second: trio.Lock) -> None:
        async with first, second:
            pass

    async def cross() -> None:
        one, two = trio.Lock(), trio.Lock()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take, one, two)
            nursery.start_soon(take, two, one)

    with pytest.raises(AssertionError, match=r"(?s)cross was blocked for 3600 .*in take\n.*in take\n"):
        all_schedules(cross)


def test_what_depends_on_more_than_the_schedule_is_refused() -> None:
    """A function with a varying number of tasks cannot be enumerated, and raises an error."""
    runs = itertools.count(2)

    async def unsteady() -> None:
        await race([], "abcdefgh"[: next(runs)], 1)

    with pytest.raises(RuntimeError, match="unsteady took another course"):
        all_schedules(unsteady)
