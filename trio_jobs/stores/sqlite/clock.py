"""The clock of a file: one for all its processes, which setting the wall clock never moves back.

It is the machine's time since boot, which runs on through sleep and is the same in every process, plus an
epoch: by how much the wall clock was ahead of it when the file was first opened since the machine booted. The
file keeps its epoch. So leases and delays pass at the right speed even if the wall clock is set, and times
are still dates. Where the system has no such clock (other than Linux), the wall clock is used.

A machine may boot with its wall clock behind, and correct it only later. So after a boot no time is before
the newest in the file, which is noted in it at intervals. The file's clock is set forward, and the leases
with it, if the wall clock was found behind and is ahead now, or if it is far ahead for a while.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_NOTED: Final = 10.0
"""Seconds by which the newest time in a file may be later than the one that is noted."""
_FAR: Final = 6 * 3600.0
"""Seconds by which the wall clock is ahead of a file's only if it has been corrected."""
_NEAR: Final = 1.0
_STEADY: Final = 60.0
"""Seconds after which such a wall clock is trusted, as it may be set forward and back again."""

Clock = Callable[[], float]
Db: TypeAlias = Any
"""An `apsw.Connection`: the stub of its `execute` has a type that checkers cannot resolve."""


def boot() -> str | None:
    """Return the id of the machine's present boot; None where the system has none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return None


def since_boot() -> float:
    """Return the seconds since the machine booted, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def ahead() -> float:
    """Return by how much the wall clock is ahead of the time since boot now."""
    return time.time() - since_boot()


class FileClock:
    """Tells the time by the clock of a file.

    Args:
        epoch: What it counts from; None is the wall clock.

    Attributes:
        epoch: The epoch as it was when it was last read from the file.
    """

    def __init__(self, epoch: float | None) -> None:
        self.epoch = epoch
        self._behind = False
        self._noted = 0.0
        self._far_since = math.inf

    def __call__(self) -> float:
        """Return the time."""
        return time.time() if self.epoch is None else since_boot() + self.epoch

    def look(self, db: Db) -> None:
        """Read the epoch from the file again, because another process may have set its clock."""
        if self.epoch is not None:
            kept = _kept(db)
            self.epoch, self._behind = float(kept["epoch"]), bool(kept.get("behind"))

    def keep(self, db: Db) -> None:
        """Look, in a transaction that writes, and note the time in the file if the note there is old."""
        self.look(db)
        if self.epoch is not None and abs((now := self()) - self._noted) >= _NOTED:
            db.execute("REPLACE INTO trio_jobs_meta VALUES ('newest', ?)", (now,))
            self._noted = now

    def is_off(self) -> bool:
        """Return whether the clock may have to be set; call this at intervals."""
        if self.epoch is None:
            return False
        jump, now = ahead() - self.epoch, since_boot()
        self._far_since = min(self._far_since, now) if jump > _FAR else math.inf
        return now - self._far_since >= _STEADY or (self._behind and jump > _NEAR)

    def set_right(self, db: Db) -> bool:
        """Set the clock forward, in a transaction, if the wall clock was corrected; return whether it was."""
        self.look(db)
        jump = ahead() - (self.epoch or 0.0)
        if jump <= (_NEAR if self._behind else _FAR):
            return False
        self.epoch = ahead()
        _note(db, epoch=self.epoch, behind=0)
        db.execute("UPDATE trio_jobs_job SET lease = lease + ? WHERE lease > 0", (jump,))
        db.execute("UPDATE trio_jobs_job SET expires = expires + ? WHERE expires IS NOT NULL", (jump,))
        return True


def begin(db: Db) -> float | None:
    """Return the epoch of a file; after a boot, choose a new one and let all leases lapse."""
    name = boot()
    if name is None:
        return None
    kept = _kept(db)
    if kept.get("boot") != name:
        wall = ahead()
        newest = kept["newest"] + _NOTED if "newest" in kept else _newest(db)
        kept["epoch"] = max(wall, newest - since_boot())
        _note(db, boot=name, epoch=kept["epoch"], behind=int(kept["epoch"] > wall))
        db.execute("UPDATE trio_jobs_job SET lease = 0 WHERE lease IS NOT NULL")
    return float(kept["epoch"])


def time_of(db: Db) -> float:
    """Return the time by the clock of a file; if it was not opened since the machine booted, the wall's."""
    kept = _kept(db)
    return FileClock(float(kept["epoch"]) if kept.get("boot", "") == boot() else None)()


def _kept(db: Db) -> dict[str, Any]:
    return dict(db.execute("SELECT name, value FROM trio_jobs_meta"))


def _note(db: Db, **values: object) -> None:
    db.executemany("REPLACE INTO trio_jobs_meta VALUES (?, ?)", values.items())


def _newest(db: Db) -> float:
    """Return about the newest time in a file that has no note of it."""
    found = db.execute(
        "SELECT max(coalesce((SELECT max(finished) FROM trio_jobs_job), 0),"
        " coalesce((SELECT created FROM trio_jobs_job ORDER BY number DESC LIMIT 1), 0),"
        " coalesce((SELECT max(started) FROM trio_jobs_job WHERE lease IS NOT NULL), 0))"
    ).get
    return float(found)
