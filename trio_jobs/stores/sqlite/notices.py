"""Learn that another process has written, on systems that report changes of a file (Linux).

Each process touches the log of writes after a commit. A change of its contents would be reported too early:
before the commit can be seen. Where the system reports nothing, or gives no watch, the store still looks at
the file at intervals.
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
    """Return the path of the log of writes of a file."""
    return path.with_name(f"{path.name}-wal")


def notify(path: Path) -> None:
    """Notify the processes that watch a file that it was written to."""
    with suppress(OSError):  # it is a hint
        os.utime(f"{path}-wal")


class Notices:
    """Waits until a file may have been written to.

    Args:
        file: A descriptor that is readable then; None if there is none.
    """

    def __init__(self, file: int | None = None) -> None:
        self._file = file

    async def wait(self, seconds: float) -> bool:
        """Wait until the file may have been written to, but not longer than so many seconds. A checkpoint.

        Where the system reports writes, wait up to four times as long: waking is the cost of an idle
        process, and would only find what a process wrote without a notice.

        Returns:
            Whether the file may have been written to; False if only the time has passed.
        """
        with trio.move_on_after(seconds if self._file is None else _NET * seconds):
            if self._file is None:
                await trio.sleep_forever()
            await trio.lowlevel.wait_readable(self._file)
            self.clear()
            return True
        return False

    def clear(self) -> None:
        """Discard the notices up to now."""
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
