"""The clock of a file: one for all processes on it, that no setting of the wall clock moves.

It is the machine's time since boot, which runs on through sleep and is the same in every process, plus what
the wall clock was ahead of it when the file was first opened since the machine booted; that number is kept in
the file. So leases and delays pass at the right speed whatever is done to the wall clock, and times are still
dates. Where the system has no such clock (other than Linux), it is the wall clock itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

Clock = Callable[[], float]


def boot() -> str | None:
    """Return what names this run of the machine; None where the system does not say."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return None


def since_boot() -> float:
    """Return the seconds since the machine booted, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def ahead() -> float:
    """Return what the wall clock is ahead of the time since boot now."""
    return time.time() - since_boot()


def clock_of(epoch: float | None) -> Clock:
    """Return the clock of a file, which counts from `epoch`; None is the wall clock."""
    if epoch is None:
        return time.time
    return lambda: since_boot() + epoch
