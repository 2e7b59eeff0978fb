"""Open a file: what is no store of ours, or too new, is refused before anything is written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import apsw

from ..._errors import SchemaTooNew, StoreCorrupt, StoreUnavailable
from . import clock
from .queries import SCHEMAS

Db: TypeAlias = Any
"""An `apsw.Connection`: the stub of its `execute` has a type that checkers cannot resolve."""

Synchronous = Literal["full", "normal"]
_BUSY_MILLISECONDS: Final = 5000
_CORRUPT: Final = (apsw.CorruptError, apsw.NotADBError)
_WORLD: Final = (
    *(apsw.BusyError, apsw.LockedError, apsw.FullError, apsw.IOError, apsw.ReadOnlyError, apsw.NoMemError),
    *(apsw.CantOpenError, apsw.PermissionsError, apsw.InterruptError, apsw.ProtocolError, apsw.NoLFSError),
)


def translated(error: BaseException, where: Path) -> BaseException:
    """Return what an error of SQLite means to us: the world's fault, the file's, or an error in our code."""
    if isinstance(error, _CORRUPT):
        return StoreCorrupt(
            f"{where} is damaged, or no SQLite file: {error}. Nothing was written over it; restore a copy, "
            "or recover what is there with: sqlite3 FILE .recover"
        )
    if isinstance(error, _WORLD):
        return StoreUnavailable(f"{where}: {error}")
    return error


def is_world(error: BaseException) -> bool:
    """Return whether an error concerns the file, and not only the call that met it."""
    return isinstance(error, (*_WORLD, *_CORRUPT))


def create(path: Path) -> None:
    """Create an empty file that only its owner may read, unless there is one.

    Raises:
        StoreUnavailable: The folder does not exist or cannot be written to.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        pass
    except FileNotFoundError:
        raise StoreUnavailable(f"{path}: there is no folder {path.parent}; create it first") from None
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}") from None


def identity(path: Path) -> tuple[int, ...]:
    """Return what tells a file, and the log of writes beside it, from others of the same names."""
    found: list[int] = []
    for one in (path, path.with_name(f"{path.name}-wal")):
        try:
            status = one.stat()
            found += (status.st_dev, status.st_ino)
        except OSError:
            found.append(0)
    return tuple(found)


def version(db: Db) -> int:
    """Return the version of the schema in a file; 0 if there is none."""
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'trio_jobs_meta'").fetchone() is None:
        return 0
    return int(db.execute("SELECT value FROM trio_jobs_meta WHERE name = 'version'").fetchone()[0])


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
        _configure(db)
        if (found := version(db)) > len(schemas):
            raise SchemaTooNew(str(path), found, len(schemas))
        if (fault := db.execute("PRAGMA quick_check(1)").get if _is_small(path) else "ok") != "ok":
            raise StoreCorrupt(f"{path} is damaged: {fault}. Nothing was written; restore a copy")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {synchronous}")
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute("BEGIN IMMEDIATE")
        try:
            _bring_up(db, path, schemas)
            epoch = _epoch(db)
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
    except apsw.Error as error:
        raise translated(error, path) from error
    return epoch


def _bring_up(db: Db, path: Path, schemas: Sequence[str]) -> None:
    """Run the scripts that the file has not seen; another process may have done so a moment ago."""
    found = version(db)
    if found > len(schemas):
        raise SchemaTooNew(str(path), found, len(schemas))
    for script in schemas[found:]:
        db.execute(script)
    if found < len(schemas):
        db.execute("REPLACE INTO trio_jobs_meta VALUES ('version', ?)", (len(schemas),))


def _epoch(db: Db) -> float | None:
    """Return what the file's clock counts from; after a boot that is new, and no worker can be left."""
    boot = clock.boot()
    if boot is None:
        return None
    kept: dict[Any, Any] = dict(db.execute("SELECT name, value FROM trio_jobs_meta"))
    if kept.get("boot") != boot:
        kept["epoch"] = clock.ahead()
        db.execute("REPLACE INTO trio_jobs_meta VALUES ('boot', ?), ('epoch', ?)", (boot, kept["epoch"]))
        db.execute("UPDATE trio_jobs_job SET lease = 0 WHERE lease IS NOT NULL")
    return float(kept["epoch"])


def prepare_reader(db: Db) -> None:
    """Make a connection fit to read, and unfit to write."""
    _configure(db)
    db.execute("PRAGMA query_only = ON")


def _configure(db: Db) -> None:
    db.set_busy_timeout(_BUSY_MILLISECONDS)
    # Otherwise a statement that may use a partial index is planned anew for each value bound to it.
    db.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)


def _is_small(path: Path) -> bool:
    """Return whether the whole file can be checked without anybody noticing how long that takes."""
    return path.stat().st_size <= 4 * 2**20
