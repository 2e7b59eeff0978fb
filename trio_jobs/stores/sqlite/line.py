"""Connect to a file, and again if it seems damaged, as a fault of the disk looks like damage of the file."""

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
    """Holds a connection to a file, which it can replace; call its methods in threads only.

    Args:
        path: The file.
        prepare: Called to make a connection fit for use.

    Attributes:
        db: The connection, once there is one.
        is_open: Whether the connection is fit for use.
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
            SchemaTooNew: A newer version wrote the file.
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
        """Do something; if the file seems damaged, do it once more on a new connection.

        Where the disk fails to read, SQLite raises the same error as where it reads nonsense.

        Args:
            work: The function to call; it has to leave nothing behind when it raises.
            signs: The errors it raises when the file seems damaged.

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
        """Disconnect; an error of the disk is only logged."""
        if self.db is None:
            return
        try:
            self.db.close()
        except apsw.Error as error:  # when tidying up: accepted jobs are safe in the -wal file
            logger.warning("%s could not be tidied up while it was closed: %s", self.path, error)


def _connected(path: Path) -> Db:
    return cast("Any", apsw.Connection(str(path), apsw.SQLITE_OPEN_READWRITE, None, _STATEMENTS))


def _failed_to_read(db: Db) -> bool:
    """Return whether the system has reported an error for the file of a connection, or for its log."""
    number = ctypes.c_int(0)
    db.file_control("main", apsw.SQLITE_FCNTL_LAST_ERRNO, ctypes.addressof(number))
    return bool(number.value or _errno_of_log(db))


def _errno_of_log(db: Db) -> int:
    """Return `SQLITE_FCNTL_LAST_ERRNO` of the -wal, which `file_control` cannot be called for by name.

    The -wal is a `sqlite3_file`: a pointer to its methods comes first
    (https://sqlite.org/c3ref/io_methods.html).
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
