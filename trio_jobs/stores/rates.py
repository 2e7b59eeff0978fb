"""Decide when a rate lets a job start: one moment per limit and key says how much of the rate is used.

The rule is known as GCRA. The moment is when everything is unused again: each start moves it on by the time
between two starts, and one is allowed while it lies less than `burst` of these ahead. Thus in any t seconds
at most `burst + per_second * t` attempts start, and nothing has to be counted or refilled.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .._model.limits import Limit

UNUSED: Final = -math.inf
"""The moment of a rate that was never used."""
_EARLY: Final = 1e-6
"""How much of the time between two starts a start may come early, as sums of floats are inexact."""


def known(limit: Limit, moment: float, now: float) -> float:
    """Return the moment as it counts, which is at most a full burst ahead.

    It may lie further ahead after the clock was set back, or the limit was changed. Who keeps it, keeps this
    in its place as soon as it is seen: seen again later, it would lie a full burst ahead of that.
    """
    rate = limit.per_second
    return UNUSED if rate is None else min(moment, now + limit.most / rate)


def opens_at(limit: Limit, moment: float, now: float) -> float:
    """Return from when on the rate lets a job start, by a moment that is `known`; up to `now` is now."""
    if (rate := limit.per_second) is None:
        return now
    opens = moment - (limit.most - 1) / rate
    return now if opens - _EARLY / rate <= now else opens


def after_start(limit: Limit, moment: float, now: float) -> float:
    """Return the moment after a start."""
    return UNUSED if limit.per_second is None else max(moment, now) + 1 / limit.per_second


def after_return(limit: Limit, moment: float) -> float:
    """Return the moment after a start was taken back, behind which there was no other start."""
    return UNUSED if limit.per_second is None else moment - 1 / limit.per_second


class Use:
    """What is used of a limit, for one key.

    Attributes:
        limit: The limit.
        places: How many jobs run under it.
        moment: See `rates`.
        last: When a job started last.
    """

    __slots__ = ("last", "limit", "moment", "places")

    def __init__(self, limit: Limit, places: int = 0) -> None:
        self.limit = limit
        self.places = places
        self.moment = self.last = UNUSED

    def define(self, limit: Limit, now: float) -> None:
        """Set the limit."""
        self.limit = limit
        self.moment = known(limit, self.moment, now)

    def opens_at(self, now: float) -> float:
        """Return from when on a job may start: `inf` if a place must become free first."""
        most = self.limit.at_once
        if most is not None and self.places >= most:
            return math.inf
        return opens_at(self.limit, self.moment, now)

    def start(self, now: float) -> None:
        """Give a place, and a start of the rate."""
        self.places += 1
        self.moment = after_start(self.limit, self.moment, now)
        self.last = now

    def free(self, started: float, *, begun: bool) -> None:
        """Take a place back; and the start, if nothing began. Behind it there must be no other start."""
        self.places -= 1
        if not begun and started == self.last:
            self.moment = after_return(self.limit, self.moment)
