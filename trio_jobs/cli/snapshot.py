"""Read a file of jobs as it is at one moment, over a connection that cannot write."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from os.path import commonprefix
from pathlib import Path
from typing import Any, Final

import apsw

from .._common.errors import SchemaTooNew
from .._common.states import State
from .._model.job import Event, Job, Retention
from .._model.limits import LimitStatus
from .._model.summary import PAGE_JOBS, JobSummary, page_of, place_of
from ..stores.contract import Where
from ..stores.pauses import Pauses
from ..stores.rows import Rows
from ..stores.sqlite import chunks, lanes, limits, listing, looking, pauses
from ..stores.sqlite.clock import time_of
from ..stores.sqlite.files import prepare_reader, translated, version
from ..stores.sqlite.group import Limits, Transaction
from ..stores.sqlite.queries import SCHEMAS
from .faults import FAILED, Fault
from .options import file_of

SHORTEST: Final = 8
_EVERY_ID: Final = 2**31
_FITS: Final = 4


class ReadOnlyFile:
    """Answers what a file holds at one moment.

    Args:
        db: A connection in a transaction.
    """

    def __init__(self, db: apsw.Connection) -> None:
        self.db: Any = db  # its stubs leave types open
        self._rows = Rows({})
        self._tx = Transaction(db, time_of(db), Limits(1, Retention()))

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

    def newest(self, where: Where, limit: int) -> list[JobSummary]:
        """Return the newest jobs that match, the oldest of them first."""
        find = partial(listing.find, self._tx, where, newest=True, make=self._rows.summary_of)
        found: list[JobSummary] = []
        after: str | None = None
        while (wanted := min(limit - len(found), PAGE_JOBS)) > 0:
            rows, examined = find(wanted, place_of(after))
            page = page_of(rows, wanted, examined)
            found += page
            if (after := page.next) is None:
                break
        return found[::-1]

    def count(self, where: Where) -> dict[State, int]:
        """Return how many jobs match in each state."""
        return dict(listing.count(self._tx, where))

    def pauses(self) -> Pauses:
        """Return what is paused."""
        return pauses.paused(self._tx)

    def history(self, job_id: str) -> list[Event]:
        """Return the events of a job but for tokens, progress and inputs."""
        return looking.history(self._tx, job_id)

    def log(self, number: int) -> list[Event]:
        """Return every event of the job of that number."""
        return chunks.read(self._tx, number, 0, _EVERY_ID)

    # ------------------------------------------------------------ ids

    def resolve(self, prefix: str) -> str:
        """Return the one id that begins with a prefix.

        Raises:
            Fault: No id begins with it, or several do.
        """
        if not prefix:
            raise Fault("an id cannot be empty; 'trio-jobs list' shows those that there are")
        found: list[str] = []
        if prefix.isascii():  # as all ids are
            sql = "SELECT id FROM trio_jobs_job WHERE id >= ?1 AND id < ?1 || '\x7f' ORDER BY id LIMIT ?2"
            found = [row[0] for row in self.ask(sql, prefix, _FITS)]
        if prefix in found:
            return prefix
        if not found:
            raise Fault(
                f"no job has an id that begins with {prefix!r}; 'trio-jobs list' shows those that there are"
            )
        if len(found) > 1:
            some = ", ".join(self.short(one) for one in found[: _FITS - 1])
            more = ", …" if len(found) == _FITS else ""
            raise Fault(f"several jobs have ids that begin with {prefix!r}: {some}{more}; write more of it")
        return found[0]

    def short(self, job_id: str) -> str:
        """Return the shortest beginning of an id that no other id has."""
        ((before,), (after,)) = self.ask(
            "SELECT max(id) FROM trio_jobs_job WHERE id < ?1 UNION ALL "
            "SELECT min(id) FROM trio_jobs_job WHERE id > ?1",
            job_id,
        )
        near = [commonprefix([job_id, other or ""]) for other in (before, after)]  # noqa: RUF071  # no paths
        return job_id[: max(SHORTEST, max(map(len, near)) + 1)]


@contextmanager
def open_snapshot(store: str) -> Generator[ReadOnlyFile]:
    """See `readonly.open_readonly`."""
    path = Path(file_of(store)).absolute()
    if not path.exists():
        raise Fault(
            f"there is no file {path}; name another with --store, or start with 'trio-jobs submit'", FAILED
        )
    try:
        db: Any = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            prepare_reader(db)
            db.execute("BEGIN")
            _check_version(db, path)
            yield ReadOnlyFile(db)
        finally:
            db.close()
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
