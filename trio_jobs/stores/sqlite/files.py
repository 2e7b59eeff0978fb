"""Open a file, and refuse one that is no store of this package, or too new, before anything is written."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeVar

import apsw

from ..._common.errors import SchemaTooNew, StoreCorrupt, StoreUnavailable
from . import clock, locks
from .clock import Db
from .queries import SCHEMAS

T = TypeVar("T")
logger = logging.getLogger("trio_jobs")
Stat = tuple[int, int] | None
Synchronous = Literal["full", "normal"]
_BUSY_MILLISECONDS: Final = 5000
_ALONE: Final = 2  # a process brings a file to this version only while no other has it open
_PAGE: Final = 4096
_FEWEST_PAGES: Final = 16
_MOST_PAGES: Final = 1000  # SQLite's own choice
DAMAGED: Final = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError)
_HINTS: Final[Mapping[type[apsw.Error], str]] = {
    apsw.BusyError: "another program has it locked, and did not release it in time",
    apsw.FullError: "free some space on its disk; calls that wait then go on by themselves",
    apsw.ReadOnlyError: "this process may not write to the file, or not create the files beside it; see to "
    "the permissions of the file and of its folder",
    apsw.CantOpenError: "see that it is a file, and that this process may read and write it, and create "
    "files in its folder",
    apsw.IOError: "its disk, or the system, refused to read or to write",
}
_TOO_MANY: Final = "this process has too many files open; raise its limit, as with ulimit -n 4096"
_NO_THREAD: Final = "can't start new thread"  # as Python says it
_TOO_LITTLE: Final = (
    "this process has too little memory, or too many threads; raise its limits, see ulimit -a"
)
_VALUE: Final = " value in trio_jobs_"
"""Part of SQLite's message about a value that its column may not hold."""
_INDEX: Final = ("row ", "wrong # of entries in index ")
"""How its messages begin about an index that does not match its table."""
_NEEDED: Final = 4  # descriptors: the file, the two beside it, and its folder when these are created
_WORLD: Final = (
    *(*_HINTS, apsw.LockedError, apsw.NoMemError, apsw.PermissionsError, apsw.InterruptError),
    *(apsw.ProtocolError, apsw.NoLFSError),
)


def translated(error: BaseException, where: Path) -> BaseException:
    """Return an error of SQLite as `StoreUnavailable` or `StoreCorrupt`; return any other error as it is."""
    if isinstance(error, apsw.NotADBError):
        return StoreCorrupt(
            f"{where} is no SQLite file, or its beginning is damaged. Nothing was written over it; give "
            "another path, or restore a copy"
        )
    if isinstance(error, DAMAGED):
        return damaged(where, error)
    if isinstance(error, _WORLD):
        hints = [hint for kind, hint in _HINTS.items() if isinstance(error, kind)]
        if isinstance(error, apsw.CantOpenError) and _few_descriptors():
            hints = [_TOO_MANY]
        return StoreUnavailable("; ".join([f"{where}: {error}", *hints]))
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_THREAD in str(error)):
        return StoreUnavailable(f"{where}: {str(error) or 'out of memory'}; {_TOO_LITTLE}")
    return error


def damaged(where: Path, what: object) -> StoreCorrupt:
    """Return the error for a file that holds something which this package cannot have written."""
    return StoreCorrupt(
        f"{where} is damaged: {what}. Nothing was written over it; restore a copy, or recover what is there "
        "with: sqlite3 FILE .recover"
    )


def is_world(error: BaseException) -> bool:
    """Return whether an error concerns the file, and not only the call that met it."""
    return isinstance(error, (*_WORLD, *DAMAGED))


def _few_descriptors() -> bool:
    """Return whether there are fewer left than SQLite needs to open a file."""
    found: list[int] = []
    try:
        found += [os.open(os.devnull, os.O_RDONLY) for _ in range(_NEEDED)]
    except OSError as error:
        return error.errno in {errno.EMFILE, errno.ENFILE}
    finally:
        for number in found:
            os.close(number)
    return False


def create(path: Path) -> None:
    """Create an empty file that only its owner may read, unless there is one.

    A file that is there is not opened here: to close it would drop the locks of this process on it.

    Raises:
        StoreUnavailable: The folder does not exist or cannot be written to.
        StoreCorrupt: There is a file that SQLite would take for an empty one.
    """
    try:
        if path.is_dir():
            raise StoreUnavailable(f"{path} is a folder; give the path of a file in it")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            path.chmod(0o600)  # in spite of the umask; SQLite gives the files beside it the same mode
        except FileExistsError:
            if path.stat().st_size == 1:
                raise translated(apsw.NotADBError(), path) from None
    except FileNotFoundError:
        raise StoreUnavailable(f"{path}: there is no folder {path.parent}; create it first") from None
    except OSError as error:
        hint = f"see that {path.parent} is a folder in which this process may create files"
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            hint = _TOO_MANY
        raise StoreUnavailable(f"{path}: {error.strerror}; {hint}") from None


def identity(path: Path) -> tuple[Stat, ...]:
    """Return what distinguishes a file, and those beside it, from other files of the same names.

    For each that is its device and number, zeros if it is gone, and None if the system does not say. The
    files are not opened: to close them would drop the locks of this process.
    """
    name = str(path)
    return _identity(name), _identity(f"{name}-wal"), _identity(f"{name}-shm")


def _identity(name: str) -> Stat:
    try:
        status = os.stat(name)  # noqa: PTH116  # a path of its own for each look, many times a second, costs more
    except FileNotFoundError:
        return 0, 0
    except OSError:
        return None
    return status.st_dev, status.st_ino


def check_there(path: Path, before: Sequence[Stat]) -> None:
    """Check that a file and those beside it are still the same files.

    Raises:
        StoreCorrupt: One of them was removed or replaced.
    """
    found = identity(path)
    if found == before:  # the usual case, many times a second
        return
    if any(None not in both and both[0] != both[1] for both in zip(before, found, strict=True)):
        raise StoreCorrupt(
            f"{path}, or its -wal or -shm file, was removed or replaced while it was open; nothing more is "
            "written"
        )


def in_time(work: Callable[[], T], refused: Callable[[], object] = lambda: None) -> T:
    """Do something, and try again while the file is busy, up to the time limit for locks; see `patiently`."""
    return locks.patiently(work, _BUSY_MILLISECONDS / 1000, refused)


def version(db: Db, path: Path) -> int:
    """Return the version of the schema in a file; 0 if there is none.

    Raises:
        StoreCorrupt: Tables have names of this package, but another program made them.
    """
    names = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE name GLOB 'trio_jobs_*'")}
    if not names:
        return 0
    try:
        return int(db.execute("SELECT value FROM trio_jobs_meta WHERE name = 'version'").fetchone()[0])
    except (apsw.SQLError, TypeError, ValueError):
        raise StoreCorrupt(
            f"{path} has {min(names)} in it, and not the version of trio_jobs that made it: it is damaged, "
            "or another program made it. Nothing was changed; give another path, or restore a copy"
        ) from None


def prepare_writer(
    db: Db, path: Path, synchronous: Synchronous, schemas: Sequence[str] = SCHEMAS
) -> float | None:
    """Make a connection fit to write, bring the file up to date, and return the epoch of its clock.

    Raises:
        SchemaTooNew: The file is of a newer version; it was not touched.
        StoreCorrupt: The file is damaged.
        StoreUnavailable: It cannot be written now.
    """
    try:
        return in_time(partial(_prepare_writer, db, path, synchronous, schemas))
    except apsw.Error as error:
        raise translated(error, path) from error


def _prepare_writer(db: Db, path: Path, synchronous: Synchronous, schemas: Sequence[str]) -> float | None:
    _configure(db)
    if (found := version(db, path)) > len(schemas):
        raise SchemaTooNew(str(path), found, len(schemas))
    if _is_small(path):
        _check_whole(db, path)
    if 0 < found < _ALONE:
        _check_alone(db, path)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    db.execute(f"PRAGMA wal_autocheckpoint = {_log_pages(path)}")
    db.execute("PRAGMA foreign_keys = OFF")
    db.execute("BEGIN IMMEDIATE")
    try:
        _bring_up(db, path, schemas)
        epoch = clock.begin(db)
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
    db.set_busy_timeout(0)  # `in_time` waits for the lock, and reports how long
    return epoch


def _check_whole(db: Db, path: Path) -> None:
    """Check the contents of a file, and rebuild its indexes if they alone are damaged.

    Raises:
        StoreCorrupt: The file is damaged beyond single values, each of which concerns one job only.
    """
    faults = _faults(db)
    if not faults:
        return
    if all(fault.startswith(_INDEX) for fault in faults):
        db.execute("BEGIN IMMEDIATE")
        db.execute("REINDEX")
        faults = _faults(db)
        db.execute("ROLLBACK" if faults else "COMMIT")
    if faults:
        raise damaged(path, faults[0])
    logger.error("indexes of %s were damaged, and have been made anew", path)


def _faults(db: Db) -> list[str]:
    found = [fault for (fault,) in db.execute("PRAGMA integrity_check") if fault != "ok"]
    return [fault for fault in found if _VALUE not in fault]


def _check_alone(db: Db, path: Path) -> None:
    """Check that no other process has a file open that is about to get the version which has `compat`.

    Older versions do not look for `compat`, and would run on. SQLite gives up the log of writes only if no
    other process has the file open.
    """
    try:
        db.execute("PRAGMA journal_mode = DELETE")
    except apsw.BusyError:
        raise StoreUnavailable(
            f"{path} has version 1 of the schema and is open elsewhere; to bring it up to date, stop the "
            "other processes first"
        ) from None


def _bring_up(db: Db, path: Path, schemas: Sequence[str]) -> None:
    """Run the scripts that the file lacks; another process may have run them a moment ago."""
    found = version(db, path)
    if found > len(schemas):
        raise SchemaTooNew(str(path), found, len(schemas))
    for script in schemas[found:]:
        db.execute(script)
    if found < len(schemas):
        db.execute("REPLACE INTO trio_jobs_meta VALUES ('version', ?)", (len(schemas),))


def prepare_reader(db: Db) -> None:
    """Make a connection fit for reading only."""
    _configure(db)
    db.execute("PRAGMA query_only = ON")


def _configure(db: Db) -> None:
    db.set_busy_timeout(_BUSY_MILLISECONDS)
    # Otherwise a statement that may use a partial index is planned anew for each value bound to it.
    db.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)


def _log_pages(path: Path) -> int:
    """Return how many pages the log of writes may hold before SQLite copies them into the file.

    On a small disk these are few: a log that fills it could not be emptied any more, as that takes room too.
    """
    return max(_FEWEST_PAGES, min(_MOST_PAGES, shutil.disk_usage(path).free // (8 * _PAGE)))


def _is_small(path: Path) -> bool:
    """Return whether a file is so small that checking all of it takes no time worth noticing."""
    return path.stat().st_size <= 4 * 2**20
