"""Group commit: serve the calls of many tasks in one transaction, with one hop to a thread.

While a transaction runs, calls collect; the next transaction serves all of them. So a lone call is served at
once, and under load many calls share the cost of a commit, which is that of waiting for the disk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

import apsw
import attrs
import trio

from ..._common.bell import Bell
from ..._common.errors import SchemaTooNew
from ..._model.job import Retention
from ..pauses import Pauses
from .clock import Clock, Db
from .files import in_time, is_world, translated
from .line import Line
from .locks import WriteOutages
from .queries import QUERIES, SCHEMAS
from .threads import RUN

T = TypeVar("T")
Row: TypeAlias = tuple[Any, ...]
_MOST: Final = 1000


@attrs.frozen
class Limits:
    """How much a file may hold.

    Attributes:
        queue: How many jobs may wait.
        keep: How much of each job is kept, and how many jobs that have ended.
    """

    queue: int
    keep: Retention


FOREVER: Final = 2**62
"""As `Retention.finished`: only `remove` and `prune` delete jobs."""
UNLIMITED: Final = Limits(FOREVER, Retention(finished=FOREVER))


@attrs.define
class Transaction:
    """Gives the calls of a group access to the file, in a thread, and records what they did.

    Attributes:
        db: The connection.
        now: When it began to write, on the file's clock.
        limits: How much the file may hold.
        judged_until: A lease that lapsed before this time means that its worker is lost; see `WriteOutages`.
        log: The rows that `insert_event` adds to logs at the end, as one statement for all calls.
        started: The ids of the jobs that this transaction started.
        grown: The ids of the jobs whose logs have grown, once for each time.
        rows: By the place in `grown`, the rows added to the log, if nothing else happened to it.
        heard: The jobs that got inputs, with the newest cursor of these; infinity for a deleted job.
        ended: The ids of the jobs that have ended, with the rows of their snapshots; None for a deleted job.
        asked: Whether a cancellation was requested, or a grace shortened, of a job that runs.
        handed_on: Whether another job may hold the exclusive name of one that has ended, or take its place.
        limited: Whether any handler has limits, once `check_compat` has looked.
        pausing: Whether any is paused.
        announced: Whether the tasks that wait for any of this have been woken.
        pauses: What is paused, once a call has asked.
    """

    db: Db
    now: float
    limits: Limits
    judged_until: float = math.inf
    log: list[Row] = attrs.field(factory=list[Row])
    started: list[str] = attrs.field(factory=list[str])
    grown: list[str] = attrs.field(factory=list[str])
    rows: dict[int, list[Row]] = attrs.field(factory=dict[int, list[Row]])
    heard: dict[str, float] = attrs.field(factory=dict[str, float])
    ended: dict[str, Row | None] = attrs.field(factory=dict[str, "Row | None"])
    asked: bool = False
    handed_on: bool = False
    limited: bool = False
    pausing: bool = False
    announced: bool = False
    pauses: Pauses | None = None
    _compatible: bool = False

    def run(self, query: str, /, **values: Any) -> Iterator[Row]:
        """Run a statement of `queries.sql`. One that gives rows is done when all of them have been read."""
        rows: Iterator[Row] = self.db.execute(QUERIES[query], values)
        return rows

    def select(self, sql: str, values: Mapping[str, Any]) -> Iterator[Row]:
        """Run a statement that this package put together; only `values` come from outside."""
        rows: Iterator[Row] = self.db.execute(sql, values)
        return rows

    def one(self, query: str, /, **values: Any) -> Row | None:
        """Run a statement that gives at most one row, and return that row or None."""
        try:
            row: Row | None = self.db.execute(QUERIES[query], values).fetchone()
        except UnicodeEncodeError:  # no file can hold such a name, so this one has nothing of it
            return None
        return row

    def check_compat(self) -> None:
        """Check that this version may still claim, submit and sweep.

        Raises:
            SchemaTooNew: A newer version has opened the file, and this one may not.
        """
        if not self._compatible:
            least, limited, pausing = self.one("compat") or (0, False, False)
            if int(least) > len(SCHEMAS):
                raise SchemaTooNew("the file", int(least), len(SCHEMAS))
            self.limited, self.pausing = bool(limited), bool(pausing)
            self._compatible = True

    def write_log(self) -> None:
        """Write the rows of `log` to the file now."""
        if self.log:
            self.db.executemany(QUERIES["insert_event"], self.log)
            self.log.clear()

    def alone(self, work: Callable[[], object]) -> Exception | None:
        """Do something; if it fails, undo all that it wrote and return its error."""
        self.write_log()
        self.db.execute("SAVEPOINT alone")
        error, before = None, len(self.ended)
        try:
            work()
            self.write_log()
        except Exception as raised:
            if is_world(raised):
                raise
            error = raised
            self.log.clear()
            while len(self.ended) > before:
                self.ended.popitem()
            self.db.execute("ROLLBACK TO alone")
        self.db.execute("RELEASE alone")
        return error


@attrs.define(eq=False)
class StoreCall(Generic[T]):
    """A call to the store: the work to do, the task that waits for it, and its result or error."""

    work: Callable[[Transaction], T]
    task: trio.lowlevel.Task
    result: tuple[T, Transaction] | None = None
    error: BaseException | None = None

    def answer(self) -> None:
        """Resume the task that waits for the call."""
        trio.lowlevel.reschedule(self.task)


class Group:
    """Serves calls on one connection, as many as wait in one transaction.

    Args:
        line: The connection; its statements run in threads, one at a time.
        now: The file's clock.
        limits: How much the file may hold.
        writes: Whether the calls write.
        begun: Called at the beginning of each transaction.
        ending: Called before each commit; nothing is written if it raises.
        committed: Called when something was written.

    Attributes:
        outages: The times in which the file could not be written.
        in_doubt: Whether a commit has raised an error since this was last set to False. Such a commit may
            have been written all the same; a call that is tried again then finds its work done.
    """

    def __init__(
        self,
        line: Line,
        now: Clock,
        limits: Limits,
        *,
        writes: bool,
        begun: Callable[[Db], object] = lambda _: None,
        ending: Callable[[], object] = lambda: None,
        committed: Callable[[], object] = lambda: None,
    ) -> None:
        self.outages = WriteOutages()
        self.in_doubt = False
        self._line = line
        self._path = line.path
        self._now = now
        self._begun = begun
        self._ending = ending
        self._committed = committed
        self._limits = limits
        self._writes = writes
        self._waiting: list[StoreCall[Any]] = []
        self._bell = Bell()
        self._turn = trio.Lock()
        self._run = RUN.get()
        self._closed = False
        self._unanswered = 0

    async def call(self, work: Callable[[Transaction], T]) -> tuple[T, Transaction]:
        """Do something in the next transaction. A checkpoint.

        If the call is cancelled before that transaction begins, nothing is done. A transaction that has
        begun is waited for, and its result is returned.

        Args:
            work: The function to call, in a thread; perhaps twice, see `transact`. If it raises, all that it
                wrote is undone, and the error is raised here.

        Returns:
            The result of `work`, and the transaction.

        Raises:
            StoreUnavailable: SQLite could not do it now.
            StoreCorrupt: The file is damaged.
            trio.ClosedResourceError: The store is closed.
        """
        if self._closed:
            raise _closed(self._path)
        call = StoreCall(work, trio.lowlevel.current_task())
        self._waiting.append(call)
        self._bell.ring()

        def abort(_: object) -> trio.lowlevel.Abort:
            if call not in self._waiting:
                return trio.lowlevel.Abort.FAILED
            self._waiting.remove(call)
            return trio.lowlevel.Abort.SUCCEEDED

        self._unanswered += 1
        try:
            await trio.lowlevel.wait_task_rescheduled(abort)
        finally:
            self._unanswered -= 1
        if call.error is not None:
            raise call.error
        return cast("tuple[T, Transaction]", call.result)

    async def version(self, before: int) -> int:
        """Return a number that changes when another connection has written; `before` if it cannot be read.

        All calls that were served before the number was read have returned by then.
        """
        if self._unanswered:
            async with self._turn:
                return self._version(before)
        return self._version(before)

    def _version(self, before: int) -> int:
        try:
            return int(self._line.db.execute("PRAGMA data_version").get)  # quicker than a hop to a thread
        except apsw.Error:
            return before

    async def run(self) -> None:
        """Serve calls until cancelled; a transaction that has begun is finished first."""
        try:
            while True:
                while not self._waiting:
                    await self._bell.wait()
                async with self._turn:  # a checkpoint: calls that other tasks make in the same step join
                    calls, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                    await self._serve(calls)
        finally:
            self._closed = True
            for call in self._waiting:
                call.error = _closed(self._path)
                call.answer()

    async def _serve(self, calls: list[StoreCall[Any]]) -> None:
        try:
            await self._run(self.transact, calls)
        except Exception as error:  # noqa: BLE001  # each caller gets it
            for call in calls:
                call.error = translated(error, self._path)
        for call in calls:
            call.answer()

    def transact(self, calls: list[StoreCall[Any]]) -> None:
        """Serve calls in one transaction, in a thread, once the file is not locked by others."""
        in_time(partial(self._line.sound, partial(self._transact, calls)), self._refused)

    def _refused(self) -> None:
        self.outages.refused(self._now())

    def _transact(self, calls: list[StoreCall[Any]], db: Db) -> None:
        """Serve calls in one transaction.

        Each call is served whole or not at all, and its errors affect no other call. Errors are rare, and a
        savepoint for each call costs much. So if one call fails, all are undone, and then served again, each
        in a savepoint.
        """
        try:
            self.begin(db)
            before = db.total_changes()
            if not self._together(db, calls):
                db.execute("ROLLBACK")
                self.begin(db)
                for call in calls:
                    self._apart(db, call)
            if self._writes:
                self._ending()
            self._commit(db)
            if db.total_changes() != before:
                self._committed()
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def begin(self, db: Db) -> None:
        """Begin a transaction."""
        db.execute("BEGIN IMMEDIATE" if self._writes else "BEGIN")
        self._begun(db)
        self.outages.reached(self._now())

    def commit(self, db: Db) -> None:
        """Commit the transaction."""
        db.execute("COMMIT")

    def _commit(self, db: Db) -> None:
        try:
            self.commit(db)
        except BaseException:
            self.in_doubt = True
            raise

    def serve(self, tx: Transaction, call: StoreCall[Any]) -> None:
        """Serve one call."""
        call.error = None  # of an earlier attempt
        call.result = call.work(tx), tx

    def _transaction(self, db: Db) -> Transaction:
        now = self._now()
        return Transaction(db, now, self._limits, self.outages.judged_until(now))

    def _together(self, db: Db, calls: list[StoreCall[Any]]) -> bool:
        """Serve calls; return False if one failed, and everything written has to be undone."""
        tx = self._transaction(db)
        try:
            for call in calls:
                self.serve(tx, call)
            tx.write_log()
        except Exception as error:
            if is_world(error):
                raise
            return False
        return True

    def _apart(self, db: Db, call: StoreCall[Any]) -> None:
        """Serve one call; if it fails, undo what it wrote."""
        tx = self._transaction(db)
        call.error = tx.alone(lambda: self.serve(tx, call))


def _closed(path: Path) -> trio.ClosedResourceError:
    return trio.ClosedResourceError(f"{path} is closed: its 'async with' block was left")
