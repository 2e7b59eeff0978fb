"""The ticks of a schedule, and which of them is to fire. Times are seconds since 1970.

`cronsim` reads the fields of a cron rule and finds the local times that fit. It is asked without a time zone;
which moments these local times are, is decided here.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from .._common.errors import quoted

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from .schedule import Schedule

_DAY: Final = 86400
_FIELDS: Final = 5
_YEARS: Final = 50
"""How many years ahead a tick is looked for; so does cronsim."""
_ANY: Final = 946684800.0
"""The beginning of the year 2000, from when on a rule has to fire some day."""


def next_tick(rule: Schedule, after: float, anchor: float) -> float:
    """Return the first tick after a moment, or `inf` if there is none.

    Args:
        rule: The schedule.
        after: The moment.
        anchor: From when on the ticks of `every` are counted.
    """
    if rule.every is None:
        return _next_of_cron(rule.cron or "", rule.timezone, after)
    number = math.floor((after - anchor) / rule.every)
    while (tick := anchor + number * rule.every) <= after:  # a quotient is rounded
        number += 1
    return tick


def due_tick(rule: Schedule, last: float, now: float, anchor: float) -> float | None:
    """Return the tick that is to fire now, or None.

    It is the oldest one that is due and not missed; else, with `latest`, the newest one that was missed.

    Args:
        rule: The schedule.
        last: The newest tick that has fired, or the moment behind which ticks count.
        now: The moment.
        anchor: As for `next_tick`.
    """
    tick = next_tick(rule, max(last, math.nextafter(now - rule.late, -math.inf)), anchor)
    if tick <= now:
        return tick
    if rule.missed == "skip" or (tick := next_tick(rule, last, anchor)) > now:
        return None
    end = now
    while end - tick >= 0.5:  # no two ticks are closer  # noqa: PLR2004
        middle = (tick + end) / 2
        found = next_tick(rule, middle, anchor)
        if found <= now:
            tick = found
        else:
            end = middle
    return tick


def check_cron(cron: object, timezone: object) -> None:
    """Raise unless a cron rule fires some day in a time zone that there is.

    Raises:
        TypeError: One of them is not text.
        ValueError: The rule is wrong or never fires, or there is no such zone.
        ImportError: The extra is not installed.
    """
    if not isinstance(cron, str):
        raise TypeError(f"cron takes a str such as '0 7 * * 1-5'; got {quoted(cron)}")
    if not isinstance(timezone, str | None):
        raise TypeError(f"timezone takes a str such as 'Europe/Berlin'; got {quoted(timezone)}")
    zone_of(timezone)
    if (fields := len(cron.split())) != _FIELDS:
        raise ValueError(
            "cron takes five fields: minute, hour, day of month, month and day of week, as in '0 7 * * 1-5'; "
            f"got {fields} in {quoted(cron)}"
        )
    try:
        from cronsim import CronSimError
    except ImportError as error:
        raise ImportError(f"cron needs the extra: pip install 'trio-jobs[cron]' ({error})") from error
    try:
        first = _next_of_cron(cron, timezone, _ANY)
    except (CronSimError, ValueError) as error:  # it says which field
        raise ValueError(f"cron is wrong, or never fires: {error} in {quoted(cron)}") from error
    if first == math.inf:
        raise ValueError(f"cron never fires: no time fits {quoted(cron)}")


def zone_of(timezone: str | None) -> ZoneInfo:
    """Return a time zone; without a name, UTC. Raises `ValueError` if there is none of that name."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # which takes long

    try:
        return ZoneInfo("UTC" if timezone is None else timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # a folder, say
        raise ValueError(
            f"there is no time zone {quoted(timezone)}; they have names such as 'Europe/Berlin'; "
            "where the system has none, pip install tzdata"
        ) from error


def _next_of_cron(cron: str, timezone: str | None, after: float) -> float:
    from cronsim import CronSim

    zone = zone_of(timezone)
    passing = any(sign in cron.split()[1] for sign in "*/")  # follows the time that passes
    # Where the clocks are set back, local times do not come in the order of their moments.
    around = [_offset(after + days * _DAY, zone) for days in (-1, 0, 1)]
    start = datetime.fromtimestamp(math.ceil(after) - 1, zone).replace(tzinfo=None)
    start -= max(around) - min(around)
    found = math.inf
    for local in CronSim(cron, start):
        moments = _moments(local, zone, passing=passing)
        found = min([found, *(moment for moment in moments if moment > after)])
        if (moments and moments[0] >= found) or local.year > start.year + _YEARS:
            break
    return found


def _moments(local: datetime, zone: ZoneInfo, *, passing: bool) -> list[float]:
    """Return when a local time is, in order; see `Schedule` for times that are skipped, or shown twice."""
    first, second = (local.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    if first == second:
        return [first]
    if first < second:  # it is shown twice
        return [first, second] if passing else [first]
    if passing:
        return []
    # It is skipped. Read with the offset of before it lies behind the gap, and with that of after before it.
    before, start = _offset(second, zone), int(second)
    gap = range(start, int(first))
    return [float(start + bisect_left(gap, True, key=lambda one: _offset(one, zone) != before))]  # noqa: FBT003


def _offset(moment: float, zone: ZoneInfo) -> timedelta:
    return datetime.fromtimestamp(moment, zone).utcoffset() or timedelta()
