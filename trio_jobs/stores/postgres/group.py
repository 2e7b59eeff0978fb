"""Group commit: send the calls of many tasks together, as one transaction and in one round trip.

While calls are on their way, others collect, and go out together when the answers are there. So a lone call
is served at once, and under load many calls share the cost of a commit, that of waiting for the disk.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import Final, Generic, TypeVar

import attrs
import msgspec
import psycopg
import trio

from ..._common.bell import Bell
from ..._common.errors import StoreUnavailable
from ..._model.retry import Retry
from .answers import Answer, Changes
from .connection import Connection, Kept, Row, Statement
from .failures import AGAIN, READ_ONLY, passes, translated
from .statements import quote

MOST: Final = 1000
"""Calls that go out together."""
LIMIT: Final = 5.0
"""Seconds after which what is on its way is given up: below a third of the lease of a worker."""
_AGAIN: Final = 3  # times
_PAUSE: Final = 0.02  # seconds before the first of them
_RECONNECT: Final = Retry(attempts=2, initial=0.05, factor=2, maximum=2.0)

_BEGIN: Final[Statement] = (b"BEGIN ISOLATION LEVEL READ COMMITTED", ())
_COMMIT: Final[Statement] = (b"COMMIT", ())
_ROLLBACK: Final[Statement] = (b"ROLLBACK", ())
_IMPATIENT: Final[Statement] = (b"SET LOCAL lock_timeout = 250", ())  # with what is tried again, a second


@attrs.define(eq=False)
class Call:
    """A call, the task that waits for it, and its answer or error."""

    task: trio.lowlevel.Task = attrs.field(factory=trio.lowlevel.current_task, init=False)
    error: BaseException | None = attrs.field(default=None, init=False)
    is_answered: bool = attrs.field(default=False, init=False)

    def answer(self, error: BaseException | None = None) -> None:
        """Resume the task, unless it has its answer."""
        if not self.is_answered:
            self.is_answered = True
            self.error = error
            trio.lowlevel.reschedule(self.task)


@attrs.define(eq=False)
class Write(Call):
    """A call of a function that writes.

    Attributes:
        verb: The function.
        json: What it takes.
        reply: What it says.
    """

    verb: str
    json: bytes
    reply: Answer | None = attrs.field(default=None, init=False)


@attrs.define(eq=False)
class Read(Call):
    """A statement that reads.

    Attributes:
        statement: The statement.
        key: What the row begins with that is wanted, if the statement takes an array and gives such a row for
            each of its elements: then it is one statement for many calls.
        rows: Its rows.
    """

    statement: Statement
    key: str | None = None
    rows: Sequence[Row] = attrs.field(default=(), init=False)


C = TypeVar("C", bound=Call)


class Group(Generic[C]):
    """Serves calls on one connection, which is made when it is needed, and made anew when it was lost.

    Args:
        connect: Makes a connection.
        where: What the database is called in errors.
        first: A connection to begin with.
        most: How many calls are served together.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        where: str,
        first: Connection | None = None,
        *,
        most: int = MOST,
    ) -> None:
        self._connect = connect
        self._where = where
        self._connection = first
        self._most = most
        self._waiting: list[C] = []
        self._bell = Bell()
        self._closed = False
        self._failures = 0
        self._retry_at = 0.0

    async def call(self, call: C) -> None:
        """Have a call of this task served, together with those of others. A checkpoint.

        If it is cancelled before it is sent, nothing is done. Then its answer is waited for, `LIMIT` seconds
        at most.

        Raises:
            StoreUnavailable: The database could not do it now, or its answer was lost.
            StoreCorrupt: What the call needs is damaged, or was removed.
            psycopg.Error: The call, or what it met, was not expected.
            trio.ClosedResourceError: The store is closed.
        """
        if self._closed:
            raise self._is_closed()
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

    async def run(self) -> None:
        """Serve calls until cancelled; what has been sent is finished first."""
        try:
            while True:
                while not self._waiting:
                    await self._bell.wait()
                await trio.lowlevel.checkpoint()  # calls that other tasks make in the same step join
                connection = await self._connected()
                calls, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                if connection is not None:
                    await self._served(connection, calls)
        finally:
            self._closed = True
            for call in self._waiting:
                call.answer(self._is_closed())
            if self._connection is not None:
                self._connection.close()

    def _is_closed(self) -> trio.ClosedResourceError:
        return trio.ClosedResourceError(f"{self._where} is closed: its 'async with' block was left")

    async def _connected(self) -> Connection | None:
        """Return the connection; if none can be made, all that wait get an error."""
        if self._connection is None or not self._connection.is_open:
            await trio.sleep_until(self._retry_at)
            try:
                self._connection = await self._connect()
            except (OSError, ValueError, psycopg.Error, StoreUnavailable, RuntimeError) as error:
                self._failures += 1
                self._retry_at = trio.current_time() + _RECONNECT.delay(self._failures)
                calls, self._waiting = self._waiting, []
                for call in calls:
                    call.answer(StoreUnavailable(str(error)))
                return None
            self._failures = 0
        return self._connection

    async def _served(self, connection: Connection, calls: Sequence[C]) -> None:
        """Serve calls in time, or tell them that they were not."""
        error: Exception = psycopg.OperationalError(f"no answer within {LIMIT:g} seconds")
        # To serve them is to wait for the server.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + LIMIT):  # noqa: ASYNC912
            try:
                await self._serve(connection, calls)
            except Exception as raised:  # noqa: BLE001  # each caller gets it
                error = raised
                if getattr(raised, "sqlstate", None) == READ_ONLY:  # another server may have taken its place
                    connection.close()
        for call in calls:
            call.answer(translated(error, self._where))

    async def _serve(self, connection: Connection, calls: Sequence[C]) -> None:
        """Serve calls, and answer them. An error is that of all which have no answer then."""


class Reads(Group[Read]):
    """Serves statements that read; none is affected by the error of another."""

    async def _serve(self, connection: Connection, calls: Sequence[Read]) -> None:
        groups: dict[object, list[Read]] = {}
        for call in calls:
            groups.setdefault(call.statement[0] if call.key else call, []).append(call)
        answers = await connection.run(*([_for_all(group)] for group in groups.values()))
        for group, answer in zip(groups.values(), answers, strict=True):
            if isinstance(answer, psycopg.Error):
                for call in group:
                    call.answer(translated(answer, self._where))
                continue
            (rows,) = answer
            known = {row[0]: [row] for row in rows} if group[0].key else {}
            for call in group:
                call.rows = known.get(call.key, ()) if call.key else rows
                call.answer()


def _for_all(calls: Sequence[Read]) -> Statement:
    """Return the statement of calls that have the same one, for all their elements."""
    sql, values = calls[0].statement
    if len(calls) == 1:
        return sql, values
    arrays = [(call.statement[1][0] or b"")[1:-1] for call in calls]
    return sql, [b"{" + b",".join(arrays) + b"}"]


class Writes(Group[Write]):
    """Serves calls of functions that write, many in one transaction.

    Args:
        connect: Makes a connection.
        where: What the database is called in errors.
        schema: The schema of the functions.
        changed: Called with what a transaction has changed, before its calls return; with None if the answer
            was lost, and anything may have changed.
        first: A connection to begin with.
        own: What holds for all calls, as JSON; the first of each statement says it.
        alone: Whether each call has a transaction of its own, and may wait a second for a lock.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        where: str,
        schema: str,
        changed: Callable[[Changes | None], object],
        first: Connection | None = None,
        *,
        own: bytes,
        alone: bool = False,
    ) -> None:
        super().__init__(connect, where, first, most=1 if alone else MOST)
        self._schema = quote(schema)
        self._own = own
        self._changed = changed
        self._begin = (_BEGIN, _IMPATIENT) if alone else (_BEGIN,)

    async def _serve(self, connection: Connection, calls: Sequence[Write]) -> None:
        try:
            changes = await self._together(connection, calls)
        except psycopg.Error as error:
            if not connection.is_open:
                self._changed(None)
                raise
            if error.sqlstate not in AGAIN and passes(error):  # the others would meet it too
                raise
            if len(calls) == 1:
                calls[0].answer(translated(error, self._where))
                return
            for call in calls:
                await self._serve(connection, [call])
            return
        except trio.Cancelled:
            self._changed(None)
            raise
        self._changed(changes)
        for call in calls:
            call.answer()

    async def _together(self, connection: Connection, calls: Sequence[Write]) -> Changes:
        """Serve calls in one transaction, which is tried again if it met another one."""
        for again in range(1, _AGAIN + 1):
            try:
                return await self._transact(connection, calls)
            except psycopg.Error as error:
                if error.sqlstate not in AGAIN:
                    raise
            await trio.sleep(_PAUSE * 2**again * random.random())  # noqa: S311  # spreads load, guards nothing
        return await self._transact(connection, calls)

    async def _transact(self, connection: Connection, calls: Sequence[Write]) -> Changes:
        verbs: dict[str, list[Write]] = {}
        for call in calls:
            verbs.setdefault(call.verb, []).append(call)
        statements = [(_statement(self._schema, verb), [self._array(found)]) for verb, found in verbs.items()]
        (answer,) = await connection.run([*self._begin, *statements, _COMMIT])
        if isinstance(answer, psycopg.Error):
            await connection.run([_ROLLBACK])
            raise answer
        changes = Changes()
        replies = answer[len(self._begin) : -1]
        for found, rows in zip(verbs.values(), replies, strict=True):
            for place, text in rows:
                reply = msgspec.json.decode(text or "{}", type=Answer)
                changes.add(reply)
                if place is not None:  # else it tells only what changed
                    found[int(place)].reply = reply
        return changes

    def _array(self, calls: Sequence[Write]) -> bytes:
        """Return calls of a function as the JSON array that it takes."""
        first, *others = [call.json for call in calls]
        both = self._own[:-1] + (first[1:] if first == b"{}" else b"," + first[1:])
        return b"[" + b",".join([both, *others]) + b"]"


@cache
def _statement(schema: str, verb: str) -> Kept:
    return Kept(f"SELECT place, answer FROM {schema}.{verb}($1)".encode())  # noqa: S608  # both are checked
