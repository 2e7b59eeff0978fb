"""Wait for the locks of a file, and record the times in which the file could not be written.

SQLite itself waits for some locks only. For others it reports at once that the file is busy: when it changes
to its log of writes, when it first reads a new one, and in some more cases.
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
"""Seconds in which a worker renews its leases once it can write: it tries at least every five."""


def patiently(work: Callable[[], T], seconds: float, refused: Callable[[], object] = lambda: None) -> T:
    """Do something, and try again while the file is busy, for so many seconds, in a thread.

    Args:
        work: The function to call; it has to leave nothing behind when it raises.
        seconds: For how long.
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
    """Records when the file could not be written, so that no job is reclaimed for a lease that lapsed then.

    No worker can renew a lease while the file is locked. After an outage that was longer than a moment, a
    lease that lapsed since it began does not mean that its worker is lost, until workers have had the time
    to renew their leases.
    """

    def __init__(self) -> None:
        self._refused: float | None = None
        self._outages: list[tuple[float, float]] = []  # since when each was, and until when it counts

    def refused(self, now: float) -> None:
        """Record that the file could not be written."""
        if self._refused is None:
            self._refused = now

    def reached(self, now: float) -> None:
        """Record that the file can be written."""
        if self._refused is not None:
            self.add(self._refused, now)
            self._refused = None

    def add(self, since: float, now: float) -> None:
        """Record that leases could perhaps not be renewed from `since` to `now`."""
        if now - since > _SHORT:
            lately = [one for one in self._outages if one[1] > now]
            self._outages = [*lately, (since, now + _GRACE)]

    def judged_until(self, now: float) -> float:
        """Return the time up to which a lapsed lease means that its worker is lost."""
        return min((since for since, until in self._outages if now < until), default=now)

    def judged_at(self, lapses: float) -> float:
        """Return when a lease that lapses at a time means that its worker is lost."""
        return max([lapses, *(until for since, until in self._outages if since < lapses < until)])
