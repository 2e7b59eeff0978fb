"""A connection to a file that can be made anew, as a fault of the disk may look like damage of the file."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import apsw

from ..._common.errors import StoreCorrupt
from .clock import Db
from .files import DAMAGED, translated

T = TypeVar("T")
logger = logging.getLogger("trio_jobs")
_STATEMENTS: Final = 200  # kept prepared
_FILE_CONTROL: Final = 10  # the place of xFileControl among the methods of a file


class Line:
    """A connection; all of its methods are for threads.

    Args:
        path: The file.
        prepare: What makes a connection fit for use.

    Attributes:
        db: The connection, once there is one.
        is_open: Whether it is fit for use.
    """

    def __init__(self, path: Path, prepare: Callable[[Db], object]) -> None:
        self.path = path
        self.db: Db = None
        self._prepare = prepare
        self.is_open = False

    def open(self) -> None:
        """Connect.

        Raises:
            StoreUnavailable: SQLite could not do it now.
            StoreCorrupt: The file is damaged.
            SchemaTooNew: It is of a newer version.
        """
        try:
            self.db = _connected(self.path)
            self.sound(self._prepare, (*DAMAGED, StoreCorrupt))
            self.is_open = True
        except apsw.Error as error:
            self.close()
            raise translated(error, self.path) from error
        except BaseException:
            self.close()
            raise

    def sound(self, work: Callable[[Db], T], signs: tuple[type[Exception], ...] = DAMAGED) -> T:
        """Do something that leaves nothing behind when it raises; if the file seems damaged, look once more.

        Where the disk fails to read, SQLite says the same as where it reads nonsense.

        Args:
            work: What to do.
            signs: What it raises when the file seems damaged.

        Raises:
            apsw.IOError: The disk fails, so that it is not known whether the file is damaged.
        """
        try:
            return work(self.db)
        except signs:
            self.close()
        self.db = _connected(self.path)
        try:
            self._prepare(self.db)
            return work(self.db)
        except (*DAMAGED, StoreCorrupt) as error:
            if _failed_to_read(self.db):
                raise apsw.IOError("disk I/O error") from error
            raise

    def close(self) -> None:
        """Disconnect, whatever the disk does."""
        if self.db is None:
            return
        try:
            self.db.close()
        except apsw.Error as error:  # of tidying up: what was accepted is safe in the -wal file
            logger.warning("%s could not be tidied up while it was closed: %s", self.path, error)


def _connected(path: Path) -> Db:
    return cast("Any", apsw.Connection(str(path), apsw.SQLITE_OPEN_READWRITE, None, _STATEMENTS))


def _failed_to_read(db: Db) -> bool:
    """Return whether the system has refused a connection something, from the file or the log beside it."""
    number = ctypes.c_int(0)
    db.file_control("main", apsw.SQLITE_FCNTL_LAST_ERRNO, ctypes.addressof(number))
    return bool(number.value or _errno_of_log(db))


def _errno_of_log(db: Db) -> int:
    """Return what `SQLITE_FCNTL_LAST_ERRNO` says of the -wal, which has no name that could be asked by.

    That is a `sqlite3_file`: a pointer to its methods first (https://sqlite.org/c3ref/io_methods.html).
    """
    log = ctypes.c_void_p()
    db.file_control("main", apsw.SQLITE_FCNTL_JOURNAL_POINTER, ctypes.addressof(log))
    methods = ctypes.cast(log, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p)))[0]
    if not methods:  # there is none
        return 0
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    number = ctypes.c_int(0)
    kind(methods[_FILE_CONTROL])(log.value, apsw.SQLITE_FCNTL_LAST_ERRNO, ctypes.addressof(number))
    return number.value
