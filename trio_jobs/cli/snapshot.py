"""Read a file of jobs as it is at one moment, over a connection that cannot write."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import apsw

from .._common.errors import SchemaTooNew
from .._common.states import State
from .._model.job import Event, Job, Retention
from .._model.limits import LimitStatus
from .._model.summary import Page, page_of, place_of
from ..stores.contract import Where
from ..stores.pauses import Pauses
from ..stores.rows import Rows
from ..stores.sqlite import chunks, lanes, limits, listing, looking, pauses
from ..stores.sqlite.clock import time_of
from ..stores.sqlite.files import create, prepare_reader, translated, version
from ..stores.sqlite.group import Limits, Transaction
from ..stores.sqlite.queries import SCHEMAS
from .faults import FAILED, Fault
from .options import file_of
from .reading import FITS, ReadOnlyStore

_EVERY_ID: Final = 2**31
_ORPHANS: Final = (
    "SELECT DISTINCT id >> 32 FROM trio_jobs_event WHERE id >> 32 NOT IN (SELECT number FROM trio_jobs_job)"
)
_JOBS: Final = """
SELECT number, id, kept, state = 'running' AND parent IS NULL AND lease IS NULL FROM trio_jobs_job
"""
_TOTALS: Final = """
WITH waits AS (
    SELECT owner, reason FROM trio_jobs_job WHERE state = 'retrying' AND reason = 'awaiting_input'
),
there AS (
    SELECT 'all' AS what, '' AS name, state, count(*) AS jobs FROM trio_jobs_job GROUP BY state
    UNION ALL SELECT 'handler', handler, state, count(*) FROM trio_jobs_job GROUP BY handler, state
    UNION ALL SELECT 'owner', owner, state, count(*) FROM trio_jobs_job
        WHERE owner IS NOT NULL GROUP BY owner, state
    UNION ALL SELECT 'all', '', reason, count(*) FROM waits GROUP BY reason
    UNION ALL SELECT 'owner', owner, reason, count(*) FROM waits WHERE owner IS NOT NULL GROUP BY owner
)
SELECT what, name, state, coalesce(total.jobs, 0) AS said, coalesce(there.jobs, 0) AS counted
FROM trio_jobs_total AS total FULL JOIN there USING (what, name, state) WHERE said <> counted
"""


class ReadOnlyFile(ReadOnlyStore):
    """Answers what a file holds at one moment.

    Args:
        db: A connection in a transaction.
        path: The file.
    """

    called = "file"

    def __init__(self, db: apsw.Connection, path: Path) -> None:
        self._path = path
        self.db: Any = db  # its stubs leave types open
        self._rows = Rows({})
        self._tx = Transaction(db, time_of(db), Limits(1, Retention()))

    @property
    def now(self) -> float:
        """The time by the file's clock."""
        return self._tx.now

    def ask(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows that a statement gives."""
        return list(self.db.execute(sql, values))

    # ------------------------------------------------------------ jobs

    def job(self, job_id: str) -> Job:
        """Return a job."""
        return lanes.job_now(self._tx, job_id, self._rows.job_of)

    def limits(self) -> list[LimitStatus]:
        """Return the limits of handlers, and those that are pinned."""
        return limits.listed(self._tx)

    def page(self, where: Where, limit: int, after: str | None) -> Page:
        """Return a page of the jobs that match, the newest first."""
        make = self._rows.summary_of
        rows, examined = listing.find(self._tx, where, limit, place_of(after), newest=True, make=make)
        return page_of(rows, limit, examined)

    def count(self, where: Where) -> dict[State, int]:
        """Return how many jobs match in each state."""
        return dict(listing.count(self._tx, where))

    def pauses(self) -> Pauses:
        """Return what is paused."""
        return pauses.paused(self._tx)

    def history(self, job_id: str) -> list[Event]:
        """Return the events of a job but for tokens, progress and inputs."""
        return looking.history(self._tx, job_id)

    def log(self, number: int, job_id: str) -> list[Event]:  # noqa: ARG002  # another store asks by its id
        """Return every event of a job."""
        return chunks.read(self._tx, number, 0, _EVERY_ID)

    def handlers(self) -> list[str]:
        """Return the names of the handlers that have had jobs."""
        named = self.ask("SELECT name FROM trio_jobs_total WHERE what = 'handler' GROUP BY name")
        return [name for (name,) in named]

    def size(self) -> int:
        """Return the size of the file, with its write-ahead log, which may be the larger of them."""
        size = 0
        for one in (self._path, Path(f"{self._path}-wal")):
            with suppress(FileNotFoundError):
                size += one.stat().st_size
        return size

    def begin_with(self, prefix: str) -> list[str]:
        """Return ids that begin with a prefix in order, at most `FITS` of them."""
        sql = "SELECT id FROM trio_jobs_job WHERE id >= ?1 AND id < ?1 || '\x7f' ORDER BY id LIMIT ?2"
        return [row[0] for row in self.ask(sql, prefix, FITS)]

    def near(self, job_id: str) -> Sequence[str | None]:
        """Return the ids before and after one."""
        found = self.ask(
            "SELECT max(id) FROM trio_jobs_job WHERE id < ?1 UNION ALL "
            "SELECT min(id) FROM trio_jobs_job WHERE id > ?1",
            job_id,
        )
        return [one for (one,) in found]

    def copy_to(self, path: Path) -> int:
        """Copy the file as it is at this moment into a new one, its owner's alone; return its size.

        Raises:
            Fault: There is such a file already.
            StoreUnavailable: It cannot be written. Nothing is left of it then.
        """
        if path.exists():
            raise Fault(f"{path} is there already; give another name, or move it away first", FAILED)
        create(path)
        try:
            with closing(apsw.Connection(str(path))) as into, into.backup("main", self.db, "main") as copying:
                copying.step()
            return path.stat().st_size
        except apsw.Error as error:
            path.unlink()
            raise translated(error, path) from error

    def damage(self) -> list[str]:
        """Return what SQLite says is damaged."""
        return [row[0] for row in self.ask("PRAGMA integrity_check") if row[0] != "ok"]

    def wrong_totals(self) -> list[Any]:
        """Return what is counted wrongly."""
        return self.ask(_TOTALS)

    def orphans(self) -> list[Any]:
        """Return the numbers of jobs that have a log and do not exist."""
        return [number for (number,) in self.ask(_ORPHANS)]

    def to_check(self) -> list[Any]:
        """Return of each job its number, id, what is kept, and whether it runs without a lease."""
        return self.ask(_JOBS)


@contextmanager
def open_snapshot(store: str, *, alone: bool = False) -> Generator[ReadOnlyFile]:
    """See `opening.open_store`.

    Args:
        store: The address of the file.
        alone: Whether to hold the file for the block, so that no other program has it open meanwhile.
    """
    path = Path(file_of(store)).absolute()
    if not path.exists():
        raise Fault(
            f"there is no file {path}; name another with --store, or start with 'trio-jobs submit'", FAILED
        )
    try:
        flags = apsw.SQLITE_OPEN_READWRITE if alone else apsw.SQLITE_OPEN_READONLY  # else it holds no lock
        db: Any = apsw.Connection(str(path), flags=flags)
        try:
            if alone:
                db.execute("PRAGMA locking_mode = EXCLUSIVE")
            prepare_reader(db)
            db.execute("BEGIN")
            _check_version(db, path)
            yield ReadOnlyFile(db, path)
        finally:
            db.close()
    except apsw.BusyError as error:
        if not alone:
            raise translated(error, path) from error
        raise Fault(
            f"{path} is open elsewhere; stop the workers and servers that use it first", FAILED
        ) from error
    except apsw.Error as error:
        raise translated(error, path) from error


def _check_version(db: apsw.Connection, path: Path) -> None:
    found = version(db, path)
    if found > len(SCHEMAS):
        raise SchemaTooNew(str(path), found, len(SCHEMAS))
    if found < len(SCHEMAS):
        what = "holds no jobs" if found == 0 else f"has version {found} of the schema"
        raise Fault(
            f"{path} {what}; name another with --store, or have 'trio-jobs worker' bring it up to date",
            FAILED,
        )
