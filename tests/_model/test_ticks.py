"""When a schedule fires: against brute force over time zones and years, and the cases one by one."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

import pytest

from trio_jobs import Schedule
from trio_jobs._model.ticks import due_tick, next_tick

QUARTER = 900  # no zone's clocks are set in these years but at a quarter of an hour, by quarters
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # by half an hour
    "Africa/Cairo",  # at midnight, and for some years not at all
    "America/Santiago",  # at midnight, in the south
    "Africa/Casablanca",  # set back for a month each year, another one each time
)
ALL = frozenset(range(60))


async def work(job: object, *args: object) -> None:
    """Stand in for a handler."""


class Rule(NamedTuple):
    """A cron rule, and what its fields say; days are taken if both fields fit, or either if `either`."""

    cron: str
    passing: bool = False
    minutes: frozenset[int] = frozenset({0})
    hours: frozenset[int] = ALL
    days: frozenset[int] = ALL
    months: frozenset[int] = ALL
    weekdays: frozenset[int] = ALL
    either: bool = False

    def fits(self, local: datetime) -> bool:
        """Return whether a local time fits."""
        day = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        return (
            local.minute in self.minutes
            and local.hour in self.hours
            and local.month in self.months
            and (any(day) if self.either else all(day))
        )


def some(*numbers: int) -> frozenset[int]:
    """Return a set."""
    return frozenset(numbers)


QUARTERS = some(0, 15, 30, 45)
RULES = (
    Rule("30 2 * * *", hours=some(2), minutes=some(30)),
    Rule("0 0 * * *", hours=some(0)),
    Rule("*/15 0-3 * * *", hours=some(0, 1, 2, 3), minutes=QUARTERS),
    Rule("0,30 1,2,23 * * SUN", hours=some(1, 2, 23), minutes=some(0, 30), weekdays=some(0)),
    Rule("0 7 * * 1-5", hours=some(7), weekdays=some(1, 2, 3, 4, 5)),
    Rule("45 1 1,29 * 6", hours=some(1), minutes=some(45), days=some(1, 29), weekdays=some(6), either=True),
    Rule("0 12 29 2 *", hours=some(12), days=some(29), months=some(2)),
    Rule("45 * * * *", passing=True, minutes=some(45)),
    Rule("30 */2 * 3,4,10,11 *", passing=True, minutes=some(30), hours=frozenset(range(0, 24, 2)),
         months=some(3, 4, 10, 11)),
    Rule("*/15 * * 4,9 0", passing=True, minutes=QUARTERS, months=some(4, 9), weekdays=some(0)),
    Rule("0 0-23/3 * * *", passing=True, hours=frozenset(range(0, 24, 3))),
)  # fmt: skip


@cache
def clock(zone: str, first: int, last: int) -> list[tuple[int, datetime]]:
    """Return what the clocks of a zone show at each quarter of an hour of some years."""
    begin, end = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (first, last))
    there = ZoneInfo(zone)
    return [
        (when, datetime.fromtimestamp(when, there).replace(tzinfo=None, fold=0))
        for when in range(begin, end, QUARTER)
    ]


def by_force(rule: Rule, zone: str, first: int, last: int) -> list[float]:
    """Return all ticks of some years, by looking at each quarter of an hour."""
    shown = clock(zone, first, last)
    if rule.passing:
        return [float(when) for when, local in shown if rule.fits(local)]
    ticks = list[float]()
    latest = shown[0][1] - timedelta(minutes=15)  # the latest local time that was shown
    for when, local in shown:
        while latest < local:  # each local time up to this one comes now; those before it were skipped
            latest += timedelta(minutes=15)
            if rule.fits(latest) and ticks[-1:] != [when]:
                ticks.append(float(when))
    return ticks


def chain(rule: Schedule, after: float, end: float) -> Iterator[float]:
    """Yield the ticks, each found from the one before."""
    while (after := next_tick(rule, after, 0.0)) < end:
        yield after


def compare(rule: Rule, zone: str, first: int, last: int) -> None:
    """Compare the ticks of some years, and those after moments in between."""
    made = Schedule(work, cron=rule.cron, timezone=zone)
    begin, end = (datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (first, last))
    wanted = by_force(rule, zone, first, last)
    assert wanted
    assert list(chain(made, begin - 1, end)) == wanted
    dice = random.Random(rule.cron + zone)
    for _ in range(300):
        near = dice.choice(wanted[:-1]) + dice.choice([-7200, -1800, -0.25, 0, 0.25, 1800, 5400, 90000])
        if begin <= near < wanted[-1]:
            assert next_tick(made, near, 0.0) == wanted[bisect_right(wanted, near)], near


@pytest.mark.deep
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("rule", RULES, ids=[rule.cron for rule in RULES])
def test_ten_years_are_as_by_brute_force(rule: Rule, zone: str) -> None:
    """The ticks of ten years in six zones are those that looking at each quarter of an hour finds."""
    compare(rule, zone, 2020, 2030)


@pytest.mark.parametrize(
    ("rule", "zone"), [(RULES[0], "Europe/Berlin"), (RULES[8], "Australia/Lord_Howe")], ids=["day", "hours"]
)
def test_a_year_is_as_by_brute_force(rule: Rule, zone: str) -> None:
    """The same for one year, of two rules."""
    compare(rule, zone, 2025, 2026)


@pytest.mark.parametrize(
    ("cron", "zone", "after", "wanted"),
    [
        pytest.param("30 2 * * *", "Europe/Berlin", "2026-03-29T00:00", ["29T01:00", "30T00:30"], id="gap"),
        pytest.param("* 2 * * *", "Europe/Berlin", "2026-03-29T00:00", ["29T01:00", "30T00:00"], id="share"),
        pytest.param("0 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00", ["29T01:00", "30T00:00"], id="edge"),
        pytest.param("30 2 * * *", "Europe/Berlin", "2026-10-25T00:00", ["25T00:30", "26T01:30"], id="fold"),
        pytest.param("0 * * * *", "Europe/Berlin", "2026-10-24T23:30", ["25T00:00", "25T01:00"], id="hours"),
        pytest.param("15,45 * * * *", "Europe/Berlin", "2026-10-25T00:20",
                     ["25T00:45", "25T01:15", "25T01:45", "25T02:15"], id="both hours of a fold"),
        pytest.param("30 */2 * * *", "Europe/Berlin", "2026-03-28T23:00",
                     ["28T23:30", "29T02:30"], id="step in a gap"),
        pytest.param("30 */2 * * *", "Europe/Berlin", "2026-10-25T00:00",
                     ["25T00:30", "25T01:30", "25T03:30"], id="step in a fold"),
        pytest.param("45 * * * *", "Australia/Lord_Howe", "2026-04-04T14:00",
                     ["04T14:45", "04T15:15", "04T16:15"], id="half an hour"),
        pytest.param("0 12 30 * *", "Pacific/Apia", "2011-12-30T00:00",
                     ["30T10:00", "29T22:00"], id="a day that never was"),
        pytest.param("7 7 * * *", None, "2026-03-29T07:07", ["30T07:07"], id="UTC, strictly after"),
    ],
)  # fmt: skip
def test_clocks_that_are_set(cron: str, zone: str | None, after: str, wanted: list[str]) -> None:
    """A named hour fires once, after a gap and first in a fold; a wildcard or a step follows the time."""
    rule = Schedule(work, cron=cron, timezone=zone)
    when = datetime.fromisoformat(after).replace(tzinfo=UTC).timestamp()
    for one in wanted:
        when = next_tick(rule, when, 0.0)
        assert datetime.fromtimestamp(when, UTC).isoformat()[8:16] == one


@pytest.mark.parametrize("every", [1, 1.1, 7.3, 60, 86400 / 7])
def test_every_is_anchored(every: float) -> None:
    """The ticks of `every` are its multiples from the anchor on, each after the one before, none left out."""
    rule, anchor = Schedule(work, every=every), 1.7e9 + 0.123
    tick = anchor
    for number in range(1, 500):
        assert next_tick(rule, tick - every / 3, anchor) == tick
        tick = next_tick(rule, tick, anchor)
        assert tick == anchor + number * every


T = 1_700_000_000.0


def due(
    now: float, *, last: float = 0, missed: Literal["skip", "latest"] = "skip", late: float = 60
) -> float | None:
    """Return what is due, of ticks at each 30 s; all times count from T."""
    rule = Schedule(work, every=30, missed=missed, late=late)
    found = due_tick(rule, T + last, T + now, T)
    return None if found is None else found - T


def test_what_is_due() -> None:
    """Each tick that is not missed is due, the oldest first; nothing is due at or before the last one."""
    assert due(29.9) is None
    assert due(30) == 30
    assert due(90, last=0) == 30  # exactly `late` is not missed
    assert due(91, last=0) == 60
    assert due(91, last=60) == 90
    assert due(91, last=90) is None
    assert due(10, last=90) is None, "a clock that was set back"


def test_what_was_missed() -> None:
    """`skip` drops what was missed; `latest` fires the newest of it, unless a later tick is due anyway."""
    for missed in ("skip", "latest"):
        assert due(3000, missed=missed) == 2940
    assert due(3029, late=10, missed="skip") is None
    assert due(3029, late=10, missed="latest") == 3000
    assert due(3029, late=10, missed="latest", last=3000) is None
    assert due(3029, late=10, missed="latest", last=2990) == 3000


def test_the_newest_of_millions_is_found() -> None:
    """The newest missed tick is found however many were missed, and however long it is over."""
    february = datetime(2026, 2, 15, tzinfo=UTC).timestamp()
    rule = Schedule(work, cron="* * * 1 *", missed="latest")
    found = due_tick(rule, february - 40 * 365 * 86400, february, 0.0)
    assert found == datetime(2026, 1, 31, 23, 59, tzinfo=UTC).timestamp()
    often = Schedule(work, every=1, missed="latest", late=1)
    assert due_tick(often, T, T + 1e9 + 0.5, T) == T + 1e9
    brief = Schedule(work, every=1.25, missed="latest", late=1)
    for number in range(2, 400):  # a moment before the next tick the one before it is missed
        assert due_tick(brief, T, T + number * 1.25 - 0.125, T) == T + (number - 1) * 1.25


def test_a_rule_may_have_no_more_ticks() -> None:
    """If no time fits for fifty years there is no next tick."""
    rule = Schedule(work, cron="0 0 29 2 MON#5")
    assert next_tick(rule, datetime(2000, 1, 1, tzinfo=UTC).timestamp(), 0.0) < math.inf
    object.__setattr__(rule, "cron", "* * */20 * 1L")
    assert next_tick(rule, T, 0.0) == math.inf
