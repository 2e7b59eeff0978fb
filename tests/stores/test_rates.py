"""The rule of a rate, compared with the starts that it allowed."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_jobs._model.limits import Limit
from trio_jobs.stores.rates import UNUSED, Use, after_return, after_start, known, opens_at

RATES = st.sampled_from([0.1, 1.0, 3.0, 7.5, 1000.0])
LIMITS = st.builds(Limit, per_second=RATES, burst=st.none() | st.integers(1, 5))


def started(limit: Limit, times: list[float], moment: float = UNUSED) -> tuple[list[float], float]:
    """Return the times at which a job that asks then starts, and the moment after them."""
    starts: list[float] = []
    for now in times:
        if opens_at(limit, moment, now) <= now:
            starts.append(now)
            moment = after_start(limit, moment, now)
    return starts, moment


def most_in(limit: Limit, seconds: float) -> float:
    """Return how many may start in so many seconds, and a little more for inexact sums."""
    return limit.most + (limit.per_second or 0) * seconds + 1e-5


@given(LIMITS, st.lists(st.integers(0, 40), max_size=60))
def test_it_is_never_overshot_and_never_late(limit: Limit, steps: list[int]) -> None:
    """In any t seconds at most burst + per_second * t start, and whatever keeps to that does start."""
    now, moment = 1000.0, UNUSED
    starts: list[float] = []
    for step in steps:
        now += step / 8 / (limit.per_second or 1)
        opens = opens_at(limit, moment, now)
        fits = all(
            len(starts) - place + 1 <= most_in(limit, now - before) for place, before in enumerate(starts)
        )
        assert (opens <= now) is fits
        assert opens_at(limit, moment, opens) <= opens, "it opens when it said that it would"
        if fits:
            starts.append(now)
            moment = after_start(limit, moment, now)
    for (one, early), (other, late) in combinations(enumerate(starts), 2):
        assert other - one + 1 <= most_in(limit, late - early)


@pytest.mark.parametrize(
    ("per_second", "burst", "at_once"),
    [(0.01, None, 1), (1, None, 1), (2.5, None, 3), (10, None, 10), (10, 1, 1), (0.5, 4, 4), (7, 1000, 1000)],
)
@pytest.mark.parametrize("now", [0.0, 0.1, 987_654.321])
def test_burst(per_second: float, burst: int | None, at_once: int, now: float) -> None:
    """After a pause exactly `burst` start at one moment, by default `per_second` rounded up."""
    limit = Limit(per_second=per_second, burst=burst)
    starts, _ = started(limit, [now] * (at_once + 5))
    assert len(starts) == at_once


def test_a_clock_that_is_set_back_costs_a_full_burst_at_most() -> None:
    """The next job waits at most as long as it would if the whole burst had started just now."""
    limit = Limit(per_second=2, burst=3)
    _, moment = started(limit, [1000.0] * 3)
    assert known(limit, moment, 1000.0) == moment == 1001.5
    assert opens_at(limit, moment, 1000.0) == 1000.5
    moment = known(limit, moment, 10.0)
    assert moment == known(limit, moment, 10.5) == 11.5
    assert opens_at(limit, moment, 10.0) == opens_at(limit, moment, 10.2) == 10.5
    assert started(limit, [10.4, 10.5, 10.9, 11.0], moment)[0] == [10.5, 11.0]


@given(LIMITS, st.integers(1, 5), st.integers(0, 8))
def test_what_did_not_begin_costs_nothing(limit: Limit, count: int, late: int) -> None:
    """A start that is taken back, with none behind it, leaves the rate as if it had never been."""
    now = 50.0 + late / 4 / (limit.per_second or 1)
    _, before = started(limit, [50.0] * (limit.most - 1))
    moment = before
    for _ in range(count):
        moment = after_start(limit, moment, 50.0)
    for _ in range(count):
        moment = after_return(limit, moment)
    assert opens_at(limit, moment, now) == pytest.approx(opens_at(limit, before, now))
    assert max(moment, 50.0) == pytest.approx(max(before, 50.0), abs=1e-9)


def test_a_start_may_come_a_millionth_early() -> None:
    """Of the time between two starts, as sums of floats are inexact; and no more."""
    one, four = Limit(per_second=1, burst=1), Limit(per_second=4, burst=1)
    assert opens_at(one, 1e-6, 0.0) == 0.0
    assert opens_at(one, 1.1e-6, 0.0) == 1.1e-6
    assert opens_at(four, 0.24e-6, 0.0) == 0.0
    assert opens_at(four, 0.26e-6, 0.0) == 0.26e-6


def test_without_a_rate_it_is_always_open() -> None:
    """A limit of places alone changes nothing."""
    limit = Limit(at_once=3)
    assert opens_at(limit, UNUSED, 5.0) == 5.0
    assert after_start(limit, 7.0, 5.0) == after_return(limit, 7.0) == known(limit, 7.0, 5.0) == UNUSED


def test_a_use_of_places() -> None:
    """As many jobs start as there are places, and each that ends gives one back."""
    use = Use(Limit(at_once=2))
    assert (use.places, use.moment, use.last, use.opens_at(5.0)) == (0, UNUSED, UNUSED, 5.0)
    use.start(5.0)
    assert (use.places, use.last, use.opens_at(5.0)) == (1, 5.0, 5.0)
    use.start(5.0)
    assert (use.places, use.opens_at(6.0)) == (2, math.inf)
    use.free(5.0, begun=True)
    assert (use.places, use.opens_at(6.0)) == (1, 6.0)
    assert Use(Limit(at_once=2), 3).opens_at(0.0) == math.inf
    assert Use(Limit(per_second=1), 3).opens_at(0.0) == 0.0


def test_a_use_of_a_rate() -> None:
    """A start is given back if it did not begin, and no other one came behind it."""
    use = Use(Limit(per_second=1, burst=2))
    use.start(10.0)
    use.start(10.5)
    assert (use.moment, use.opens_at(10.5)) == (12.0, 11.0)
    use.free(10.0, begun=False)
    assert (use.places, use.moment) == (1, 12.0)
    use.free(10.5, begun=True)
    assert (use.places, use.moment) == (0, 12.0)
    use.start(11.0)
    use.free(11.0, begun=False)
    assert (use.places, use.moment) == (0, 12.0)


def test_a_use_takes_over_another_limit() -> None:
    """What is used of its rate is at most a full burst from then on."""
    use, other = Use(Limit(per_second=1, burst=3)), Limit(per_second=1, burst=1)
    for _ in range(3):
        use.start(0.0)
    use.define(other, 0.0)
    assert (use.limit, use.places, use.moment, use.opens_at(0.0)) == (other, 3, 1.0, 1.0)
