"""Group commit: the calls of many tasks in one transaction, with one hop to a thread.

While a transaction runs, calls collect; the next one takes them all. So a lone call is served at once, and
under load the cost of a commit, which is that of waiting for the disk, is shared by all that came meanwhile.
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


@attrs.define
class Transaction:
    """What the calls of a group may do, in a thread.

    Attributes:
        db: The connection.
        now: When it began to write, on the file's clock.
        limits: What the file is to hold at most.
        judged_until: Up to when it is known which workers live; see `WriteOutages`.
        log: What `insert_event` is to add to logs, at the end, as one statement for all calls.
        started: The ids of the jobs that run now, by this transaction.
        grown: The ids of those whose logs have grown, once for each time.
        rows: By the place in `grown`, what was added to the log, if that is all that happened to it.
        ended: The ids of those that have ended, and the rows of their snapshots; None for what is gone.
        announced: Whether those who wait for any of this were told.
    """

    db: Db
    now: float
    limits: Limits
    judged_until: float = math.inf
    log: list[Row] = attrs.field(factory=list[Row])
    started: list[str] = attrs.field(factory=list[str])
    grown: list[str] = attrs.field(factory=list[str])
    rows: dict[int, list[Row]] = attrs.field(factory=dict[int, list[Row]])
    ended: dict[str, Row | None] = attrs.field(factory=dict[str, "Row | None"])
    announced: bool = False
    _compatible: bool = False

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

    def check_compat(self) -> None:
        """Check that this version may still claim, submit and sweep: a newer one may have opened the file.

        Raises:
            SchemaTooNew: It may not.
        """
        if not self._compatible:
            least = int((self.one("compat") or (0,))[0])
            if least > len(SCHEMAS):
                raise SchemaTooNew("the file", least, len(SCHEMAS))
            self._compatible = True

    def write_log(self) -> None:
        """Write the rows of `log`, now."""
        if self.log:
            self.db.executemany(QUERIES["insert_event"], self.log)
            self.log.clear()

    def alone(self, work: Callable[[], object]) -> Exception | None:
        """Do something of which nothing stays if it fails, and return what it raised."""
        self.write_log()
        self.db.execute("SAVEPOINT alone")
        error, told = None, len(self.ended)
        try:
            work()
            self.write_log()
        except Exception as raised:
            if is_world(raised):
                raise
            error = raised
            self.log.clear()
            while len(self.ended) > told:
                self.ended.popitem()
            self.db.execute("ROLLBACK TO alone")
        self.db.execute("RELEASE alone")
        return error


@attrs.define(eq=False)
class StoreCall(Generic[T]):
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
        line: The connection; its statements run in threads, one at a time.
        now: The file's clock.
        limits: What the file is to hold at most.
        writes: Whether the calls write.
        begun: Called at the beginning of each transaction.
        ending: Called before each commit; nothing is written if it raises.
        committed: Called when something was written.

    Attributes:
        outages: When it could not write to the file.
        in_doubt: Whether a commit was answered by an error, since this was last set to False: it may have
            come about all the same, and what is tried again then finds its work done.
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
        """Have something done in the next transaction. A checkpoint.

        If it is cancelled before that transaction begins, nothing was done. One that has begun is waited
        for, and its answer returned.

        Args:
            work: What to do, in a thread; perhaps twice, see `transact`. What it raises is raised here, and
                nothing that it wrote stays.

        Returns:
            What it returned, and the transaction.

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
        """Return a number that changes when another connection has written; `before` if it cannot be told.

        All calls that were served before it was looked up have returned by then.
        """
        if self._unanswered:
            async with self._turn:
                return self._version(before)
        return self._version(before)

    def _version(self, before: int) -> int:
        try:
            return int(self._line.db.execute("PRAGMA data_version").get)  # sooner done than in a thread
        except apsw.Error:
            return before

    async def run(self) -> None:
        """Serve calls until cancelled; what has begun is finished first."""
        try:
            while True:
                while not self._waiting:
                    await self._bell.wait()
                async with self._turn:  # a checkpoint: what others call in the same step comes along
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

        Each is served whole or not at all, and its own errors concern nobody else. These are rare, and being
        ready to take back each call by itself costs much; so all is taken back, and done again with care.
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
        """Commit it."""
        db.execute("COMMIT")

    def _commit(self, db: Db) -> None:
        try:
            self.commit(db)
        except BaseException:
            self.in_doubt = True
            raise

    def serve(self, tx: Transaction, call: StoreCall[Any]) -> None:
        """Serve one call."""
        call.error = None  # of a time before
        call.result = call.work(tx), tx

    def _transaction(self, db: Db) -> Transaction:
        now = self._now()
        return Transaction(db, now, self._limits, self.outages.judged_until(now))

    def _together(self, db: Db, calls: list[StoreCall[Any]]) -> bool:
        """Serve calls; return False if one failed, and all that was written has to be taken back."""
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
        """Serve one call; if it fails, take back what it wrote."""
        tx = self._transaction(db)
        call.error = tx.alone(lambda: self.serve(tx, call))


def _closed(path: Path) -> trio.ClosedResourceError:
    return trio.ClosedResourceError(f"{path} is closed: its 'async with' block was left")
