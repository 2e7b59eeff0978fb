"""Resting tasks share one timer, which no cancelled task takes away from the others."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_jobs.serving.pace import MANY, Pace

SOON = 0.002
"""What a task may be woken too early, and a float be wrong."""


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 50), st.none() | st.integers(0, 60)),
        min_size=1,
        max_size=8,
    )
)
def test_each_is_woken_in_its_time(plans: list[tuple[int, int, int | None]]) -> None:
    """In any order of arrivals and cancellations, all other tasks wake when they should."""
    woken: dict[int, float] = {}

    async def rest(pace: Pace, number: int, comes: int, until: int, cancelled: int | None) -> None:
        await trio.sleep_until(comes / 10)
        with trio.CancelScope(deadline=float("inf") if cancelled is None else cancelled / 10 + 0.03):
            await pace.sleep_until(until / 10)
            woken[number] = trio.current_time()

    async def main() -> None:
        pace = Pace(0.01)
        async with trio.open_nursery() as nursery:
            for number, plan in enumerate(plans):
                nursery.start_soon(rest, pace, number, *plan)
        due = trio.current_time() + 1
        await pace.sleep_until(due)
        assert trio.current_time() == pytest.approx(due), "the timer of those who left is left, too"

    trio.run(main, clock=MockClock(autojump_threshold=0))
    for number, (comes, until, cancelled) in enumerate(plans):
        due = max(comes, until) / 10
        if cancelled is None or due < cancelled / 10 + 0.02:
            assert due - SOON <= woken[number] <= due + SOON
        elif number in woken:
            assert woken[number] >= due - SOON


async def test_one_timer_for_all(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred tasks that rest until about the same time are woken by one timer."""
    pace, timers, sleep_forever = Pace(0.01), list[float](), trio.sleep_forever

    async def counted() -> None:
        timers.append(trio.current_time())
        await sleep_forever()

    monkeypatch.setattr(trio, "sleep_forever", counted)
    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(pace.sleep_until, 1 + number / 1e6)
        await wait_all_tasks_blocked()
    assert len(timers) == 1


async def test_the_rest_grows_and_falls(autojump_clock: MockClock) -> None:
    """The rest is as long as the sends of one turn of each feed; if they are quick, it is the linger."""
    pace = Pace(0.01)
    assert pace.next_turn(5.0, 1) == 5.01
    assert pace.next_turn(5.0, MANY) == 5.0
    due = [0.0, 0.0, 0.0]
    for _ in range(30):
        number = due.index(min(due))
        autojump_clock.jump(max(0.0, due[number] - trio.current_time()))
        began = trio.current_time()
        autojump_clock.jump(0.1)
        pace.worked(0.1)
        due[number] = pace.next_turn(began, 1)
    assert 0.4 <= pace.rest <= 0.8  # three feeds that take 0.1 s each: about twice 0.3
    for _ in range(2):
        await trio.sleep(10)
        pace.worked(0.001)
    assert pace.next_turn(5.0, 1) == 5.01
