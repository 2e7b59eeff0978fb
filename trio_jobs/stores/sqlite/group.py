"""Group commit: the calls of many tasks in one transaction, with one hop to the connection's thread.

While a transaction runs, calls collect; the next one takes them all. So a lone call is served at once, and
under load the cost of a commit, which is that of waiting for the disk, is shared by all that came meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

import apsw
import attrs
import trio

from ..._bell import Bell
from ..._job import Retention
from .files import Db, is_world, translated
from .queries import QUERIES

T = TypeVar("T")
Row: TypeAlias = tuple[Any, ...]
_MOST: Final = 1000


@attrs.frozen
class Limits:
    """What a file is to hold at most.

    Attributes:
        queue: Jobs that wait.
        keep: What of each job, and how many that have ended.
    """

    queue: int
    keep: Retention


FOREVER: Final = 2**62
"""As `Retention.finished`: no job goes but by `remove` and `prune`."""
UNLIMITED: Final = Limits(FOREVER, Retention(finished=FOREVER))


@attrs.frozen
class Transaction:
    """What a call may do in the connection's thread.

    Attributes:
        db: The connection.
        now: When the transaction began, on the file's clock.
        limits: What the file is to hold at most.
        grown: The ids of the jobs whose logs have grown.
        ended: The ids of those that have ended.
    """

    db: Db
    now: float
    limits: Limits
    grown: list[str] = attrs.field(factory=list[str])
    ended: list[str] = attrs.field(factory=list[str])

    def run(self, query: str, /, **values: Any) -> Iterator[Row]:
        """Run a statement of `queries.sql`. One that gives rows is over when they have been taken."""
        return cast("Iterator[Row]", self.db.execute(QUERIES[query], values))

    def select(self, sql: str, values: Mapping[str, Any]) -> Iterator[Row]:
        """Run a statement that was put together from parts of ours; only `values` are from outside."""
        return cast("Iterator[Row]", self.db.execute(sql, values))

    def one(self, query: str, /, **values: Any) -> Row | None:
        """Run a statement, and return the only row it gives, if it does."""
        try:
            return cast("Row | None", self.db.execute(QUERIES[query], values).fetchone())
        except UnicodeEncodeError:  # what no file can hold is the name of nothing in this one
            return None


@attrs.define(eq=False)
class Call(Generic[T]):
    """A call on its way: what is to be done, who waits for it, and what came of it."""

    work: Callable[[Transaction], T]
    task: trio.lowlevel.Task
    result: tuple[T, Transaction] | None = None
    error: BaseException | None = None

    def answer(self) -> None:
        """Wake who waits."""
        trio.lowlevel.reschedule(self.task)


class Group:
    """A connection and the calls that wait for it.

    Args:
        db: The connection; its statements run in a thread of its own.
        path: The file, for errors.
        now: The file's clock.
        limits: What the file is to hold at most.
        writes: Whether the calls write.
    """

    def __init__(self, db: Db, path: Path, now: Callable[[], float], limits: Limits, *, writes: bool) -> None:
        self._db = db
        self._path = path
        self._now = now
        self._limits = limits
        self._begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
        self._waiting: list[Call[Any]] = []
        self._bell = Bell()
        self._closed = False

    async def call(self, work: Callable[[Transaction], T]) -> tuple[T, Transaction]:
        """Have something done in the next transaction, and return what came of it. A checkpoint.

        If it is cancelled before that transaction begins, nothing was done. One that has begun is waited
        for, and its answer returned.

        Args:
            work: What to do, in the connection's thread. What it raises is raised here, and nothing that it
                wrote stays.

        Raises:
            StoreUnavailable: SQLite could not do it now.
            StoreCorrupt: The file is damaged.
            trio.ClosedResourceError: The store is closed.
        """
        if self._closed:
            raise _closed(self._path)
        call = Call(work, trio.lowlevel.current_task())
        self._waiting.append(call)
        self._bell.ring()

        def abort(_: object) -> trio.lowlevel.Abort:
            if call not in self._waiting:
                return trio.lowlevel.Abort.FAILED
            self._waiting.remove(call)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        if call.error is not None:
            raise call.error
        return cast("tuple[T, Transaction]", call.result)

    async def version(self, before: int) -> int:
        """Return a number that changes when another connection has written; `before` if it cannot be told."""
        db = self._db
        try:
            return int(await db.async_run(lambda: db.execute("PRAGMA data_version").get))
        except apsw.Error:
            return before

    async def run(self) -> None:
        """Serve calls until cancelled; what has begun is finished first."""
        try:
            while True:
                while not self._waiting:
                    await self._bell.wait()
                calls, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                await self._serve(calls)
                await trio.lowlevel.checkpoint_if_cancelled()
        finally:
            self._closed = True
            for call in self._waiting:
                call.error = _closed(self._path)
                call.answer()

    async def _serve(self, calls: list[Call[Any]]) -> None:
        try:
            with trio.CancelScope(shield=True):  # noqa: ASYNC912  # the thread is always waited for
                await self._db.async_run(self.transact, calls, self._now())
        except Exception as error:  # noqa: BLE001  # each caller gets it
            for call in calls:
                call.error = translated(error, self._path)
        for call in calls:
            call.answer()

    def transact(self, calls: list[Call[Any]], now: float) -> None:
        """Serve calls in one transaction, in the connection's thread."""
        db = self._db
        self.begin(db)
        try:
            for call in calls:
                self.serve(Transaction(db, now, self._limits), call)
            self.commit(db)
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def begin(self, db: Db) -> None:
        """Begin a transaction."""
        db.execute(self._begin)

    def commit(self, db: Db) -> None:
        """Commit it."""
        db.execute("COMMIT")

    def serve(self, transaction: Transaction, call: Call[Any]) -> None:
        """Serve one call, whole or not at all; its own errors concern nobody else."""
        db = transaction.db
        db.execute("SAVEPOINT one")
        try:
            call.result = call.work(transaction), transaction
        except Exception as error:
            if is_world(error):
                raise
            db.execute("ROLLBACK TO one")
            call.error = error
        db.execute("RELEASE one")


def _closed(path: Path) -> trio.ClosedResourceError:
    return trio.ClosedResourceError(f"{path} is closed: its 'async with' block was left")
