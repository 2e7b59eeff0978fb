"""Hand calls to the connections of a database, and wake the tasks that wait for what they did.

Each verb that writes is a function in the database, which takes an array of calls as JSON, of which the
first says what holds for all, and returns a row for each of them: the call's place and its answer, an
object. Its `value` is what the verb returns. An answer with an `error` names an exception, of which `values`
are the arguments; such a call did nothing. What else an answer says is what has changed, for tasks that
wait; see `answers.py`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, Final, cast

import attrs
import msgspec
import trio

from ..._common.errors import InvalidPayload, LeaseLost, UnknownJob
from ..._common.states import Reason
from ..._model.job import Retention
from ..rows import Rows
from ..signals import Signals
from .answers import Changes, error_in
from .connection import Connection, Row
from .group import Read, Reads, Write, Writes
from .statements import VERSION, queries


@attrs.frozen
class Database:
    """Where a store is.

    Attributes:
        where: What it is called in errors.
        schema: The name of the schema.
        connect: Makes a connection.
        listens: Whether LISTEN works on it, as it does without a pooler.
    """

    where: str
    schema: str
    connect: Callable[[], Awaitable[Connection]]
    listens: bool = True


class PostgresCalls:
    """Calls the functions of a schema.

    Args:
        database: Where the schema is.
        rows: Converts rows by the handlers of a registry.
        queue_limit: How many jobs may wait.
        retention: What is kept of each job.
        poll: Seconds after which to look at what other processes have written; None for what suits.
        first: A connection to begin with.
    """

    def __init__(
        self,
        database: Database,
        rows: Rows,
        *,
        queue_limit: int,
        retention: Retention,
        poll: float | None = None,
        first: Connection | None = None,
    ) -> None:
        self._database = database
        self._rows = rows
        self._signals = Signals()
        self._process = os.getpid()
        self._closed = False
        self._poll = poll or (1.0 if database.listens else 0.2)
        # What the first call of a flush says for all of them.
        self._own: dict[str, Any] = {
            "version": VERSION,
            "queue": queue_limit,
            "keep": attrs.asdict(retention),
        }
        self._queries = queries(database.schema)
        at = database.connect, database.where
        own = msgspec.json.encode(self._own)
        self._writer = Writes(*at, database.schema, self._changed, first, own=own)
        self._lonely = Writes(*at, database.schema, self._changed, own=own, alone=True)
        self._reader = Reads(*at)

    def tasks(self) -> list[Callable[[], Awaitable[None]]]:
        """Return the tasks that serve the store while it is open."""
        return [self._writer.run, self._lonely.run, self._reader.run]

    def close(self, reason: Reason) -> None:  # noqa: ARG002  # the contract's
        """Close this store object: tasks that wait get an error."""
        self._closed = True
        self._signals.ring_all()

    async def _write(self, verb: str, call: Mapping[str, Any], *, alone: bool = False) -> Any:
        """Call a function that writes, in one transaction with the calls of other tasks.

        Args:
            verb: The function.
            call: What it takes.
            alone: Whether the call may wait for a lock of another program: it gets a transaction of its own,
                on a connection of its own, so that nobody waits for it.

        Returns:
            The `value` of its answer.

        Raises:
            StoreUnavailable: The database could not do it now.
            InvalidPayload: The call holds what no text in the database can.
            TrioJobsError: What the answer says, or would say of a job with such an id.
        """
        self._check()
        write = Write(verb, _encoded(call))
        await (self._lonely if alone else self._writer).call(write)
        if write.reply is None:
            raise RuntimeError(f"{verb} gave no answer to a call")
        refusal = error_in(write.reply)
        if refusal is not None:
            raise refusal
        return write.reply.value

    async def _read(self, query: str, *values: Any) -> list[Row]:
        """Return the rows of a statement of `queries.sql`, its values as text.

        Args:
            query: The statement's name.
            values: Its parameters: None, text, numbers, booleans, or collections of these, as an array. If
                one holds what no text in the database can, there are no rows.

        Raises:
            StoreUnavailable: The database could not do it now.
        """
        return await self._select(self._queries[query], values)

    async def _row(self, query: str, key: str) -> Row | None:
        """Return the row that a statement gives for an element of the array that it takes; see `Read`."""
        rows = await self._select(self._queries[query], [[key]], key)
        return rows[0] if rows else None

    async def _select(self, sql: bytes, values: Iterable[Any], key: str | None = None) -> list[Row]:
        """Return the rows of a statement that this package put together; see `_read`."""
        self._check()
        try:
            written = [None if value is None else as_text(value).encode() for value in values]
        except UnicodeEncodeError:
            written = [b"\0"]
        if any(value is not None and b"\0" in value for value in written):
            await trio.lowlevel.checkpoint()
            return []
        read = Read((sql, written), key)
        await self._reader.call(read)
        return list(read.rows)

    def _changed(self, changes: Changes | None) -> None:
        """Wake the tasks that wait for what a transaction changed; all if that is not known."""
        if changes is None:
            self._signals.ring_all()
        else:
            self._signals.on_changes(changes)
            self._signals.alarm.ring(changes.alarm)

    def _check(self) -> None:
        if os.getpid() != self._process:
            raise RuntimeError(
                f"{self._database.where} was opened before this process was forked off; open it again there"
            )

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("the registry was left before the job had ended")


_UNFIT: Final = re.compile("[\0\ud800-\udfff]")


def is_text(text: str) -> bool:
    """Return whether the database can hold a text: it has neither NUL nor lone surrogates."""
    return _UNFIT.search(text) is None


def fitting(text: str) -> str:
    """Return a text for people, with U+FFFD for what the database cannot hold."""
    return _UNFIT.sub("\ufffd", text)


def holds_nul(data: bytes) -> bool:
    """Return whether a text in JSON holds NUL."""
    return rb"\u0000" in data and rb"\u0000" in data.replace(rb"\\", b"")


def _encoded(call: Mapping[str, Any]) -> bytes:
    """Return a call as JSON. What no text can hold is found here: all calls of a flush would meet it."""
    try:
        data = msgspec.json.encode(call)
    except UnicodeEncodeError:
        data = rb"\u0000"
    if not holds_nul(data):
        return data
    job_id = call.get("job", call.get("parent"))
    if job_id is not None and not is_text(job_id + (call.get("claim") or "")):
        raise LeaseLost(job_id, call["attempt"]) if "attempt" in call else UnknownJob(job_id)
    raise InvalidPayload("PostgreSQL cannot store a text of this call: it holds NUL or a lone surrogate")


def as_text(value: object) -> str:
    """Return the value of a parameter as PostgreSQL reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Collection) and not isinstance(value, str):
        parts = cast("Collection[object]", value)
        return "{{{}}}".format(",".join("NULL" if part is None else _quoted(as_text(part)) for part in parts))
    return str(value)


def _quoted(text: str) -> str:
    return '"{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"'))
