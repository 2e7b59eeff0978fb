"""Wait for the locks of a file, and know when nobody could write to it.

SQLite itself waits for some locks only. To the change to its log of writes, to the first look at a new one
and some more it answers at once that the file is busy.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, repeat
from time import monotonic, sleep  # noqa: TID251  # in a thread, which may wait
from typing import Final, TypeVar

import apsw

T = TypeVar("T")
BUSY: Final = (apsw.BusyError, apsw.ProtocolError, apsw.LockedError)
# Seconds to the next time, as SQLite has them.
_PAUSES: Final = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.025, 0.025, 0.025, 0.05, 0.05)
_LONGEST: Final = 0.1
_SHORT: Final = 0.2
_GRACE: Final = 6.0
"""Seconds that it may take a worker to say that it lives, once it can: it tries again every five at least."""


def patiently(work: Callable[[], T], seconds: float, refused: Callable[[], object] = lambda: None) -> T:
    """Do something as often as the file is found busy, for so many seconds, in a thread.

    Args:
        work: What to do; it has to leave nothing behind when it raises.
        seconds: How long.
        refused: Called each time that the file is busy.
    """
    began = monotonic()
    pauses = chain(_PAUSES, repeat(_LONGEST))
    while True:
        try:
            return work()
        except BUSY:
            refused()
            pause = next(pauses)
            if monotonic() - began + pause > seconds:
                raise
            sleep(pause)


class WriteOutages:
    """Up to when the workers could be heard: nobody renews a lease while the file is locked.

    After a silence that was longer than a moment, the leases that have lapsed since it began say nothing
    about their workers, until these have had the time to speak.
    """

    def __init__(self) -> None:
        self._refused: float | None = None
        self._outages: list[tuple[float, float]] = []  # since when, and until when that counts

    def refused(self, now: float) -> None:
        """Note that the file could not be written."""
        if self._refused is None:
            self._refused = now

    def reached(self, now: float) -> None:
        """Note that it can be written."""
        if self._refused is not None:
            self.add(self._refused, now)
            self._refused = None

    def add(self, since: float, now: float) -> None:
        """Note that it may be that nobody was heard for a while."""
        if now - since > _SHORT:
            lately = [one for one in self._outages if one[1] > now]
            self._outages = [*lately, (since, now + _GRACE)]

    def judged_until(self, now: float) -> float:
        """Return the time up to which it is known what the workers said."""
        return min((since for since, until in self._outages if now < until), default=now)

    def judged_at(self, lapses: float) -> float:
        """Return when it is known what the silence of a worker means whose lease lapses at a time."""
        return max([lapses, *(until for since, until in self._outages if since < lapses < until)])
