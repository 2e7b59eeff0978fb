"""Be told when another process has written, on systems that tell who watches a file (Linux).

Whoever commits touches the log of writes afterwards. That its contents change would be told too early: before
the commit can be seen. Where nothing is told, or no watch is to be had, there is still the look now and then.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import trio

_IN_ATTRIB: Final = 0x4
_FLAGS: Final = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)  # inotify(7): the same numbers
_LIBRARY: Final = None if os.name == "posix" else "msvcrt"  # of C
_ENOUGH: Final = 65536
_NET: Final = 4


def log_of(path: Path) -> Path:
    """Return where the log of writes of a file is."""
    return path.with_name(f"{path.name}-wal")


def notify(path: Path) -> None:
    """Tell who watches a file that it was written to."""
    with suppress(OSError):  # it is a hint
        os.utime(f"{path}-wal")


class Notices:
    """What tells that a file may have been written to.

    Args:
        file: What is readable then; None if nothing is.
    """

    def __init__(self, file: int | None = None) -> None:
        self._file = file

    async def wait(self, seconds: float) -> bool:
        """Wait until it may have been, but not for longer than so many seconds. A checkpoint.

        Where the system tells, four times as long: to wake is what an idle process pays for, and only what
        was written by somebody who told nobody is found then.

        Returns:
            Whether it may have been; not if only the time is over.
        """
        with trio.move_on_after(seconds if self._file is None else _NET * seconds):
            if self._file is None:
                await trio.sleep_forever()
            await trio.lowlevel.wait_readable(self._file)
            self.clear()
            return True
        return False

    def clear(self) -> None:
        """Take what was told up to now."""
        if self._file is not None:
            with suppress(BlockingIOError):
                os.read(self._file, _ENOUGH)


@contextmanager
def watching(path: Path) -> Generator[Notices]:
    """Watch a file for the length of a block."""
    file = _watch(log_of(path))
    try:
        yield Notices(file)
    finally:
        if file is not None:
            os.close(file)


def _watch(path: Path) -> int | None:
    library = ctypes.CDLL(_LIBRARY)
    if not hasattr(library, "inotify_init1"):
        return None
    file = int(library.inotify_init1(_FLAGS))
    if file < 0:  # there are limits
        return None
    if library.inotify_add_watch(file, os.fsencode(path), _IN_ATTRIB) < 0:
        os.close(file)
        return None
    return file
