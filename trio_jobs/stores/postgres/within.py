"""Submit in a transaction of the program's own, for programs whose data is in the same database.

Otherwise a program may write an order and die before it submits the job for it, or submit the job and roll
the order back. In one transaction both are written, or neither. Other languages do the same with `SELECT
trio_jobs.submit('ship', '[7]')`, which knows no handlers: types are checked when the job starts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Concatenate, Final, TypeVarTuple, Unpack, overload

import msgspec
import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from ..._common.errors import quoted
from ..._model.handlers import Handlers
from ..._model.options import SubmitOptions
from ..rows import Rows
from ..submission import submission
from .answers import Answer, error_in
from .statements import SCHEMA, VERSION, check_schema, quote
from .submitting import call_of

Ts = TypeVarTuple("Ts")
_LOOK: Final = "SELECT to_regclass(%s) IS NOT NULL"


@overload
def submit_within(
    connection: psycopg.Connection[Any],
    fn: Callable[[Any, Unpack[Ts]], Awaitable[object]],
    /,
    *args: *Ts,
    schema: str = SCHEMA,
    **options: Unpack[SubmitOptions],
) -> str: ...
@overload
def submit_within(
    connection: psycopg.Connection[Any],
    fn: Callable[Concatenate[Any, ...], Awaitable[object]],
    /,
    *args: Any,
    schema: str = SCHEMA,
    kwargs: Mapping[str, Any],
    **options: Unpack[SubmitOptions],
) -> str: ...
def submit_within(  # type: ignore[misc]  # mypy does not see that `*args` takes `*Ts`
    connection: psycopg.Connection[Any], fn: Any, /, *args: Any, schema: str = SCHEMA, **options: Any
) -> str:
    """Submit a job in the transaction of a connection. No checkpoint: it only writes.

    The job exists once the transaction commits, and workers find it within a moment. If the transaction is
    rolled back, the job never exists. If another transaction submits under the same `key` or `exclusive` name
    and is not over yet, this waits for it; `SET LOCAL lock_timeout` says how long. What `on_busy` replaces or
    cancels is locked until the transaction is over, so keep it short then.

    Args:
        connection: A connection of psycopg's to a database that a registry has been opened on before. One
            that commits by itself needs a block `with connection.transaction():` around this.
        fn: As for `JobRegistry.submit`.
        *args: Its arguments.
        kwargs: Its keyword arguments.
        schema: The schema in which the jobs are.
        **options: See `SubmitOptions`.

    Returns:
        The job's id.

    Raises:
        ValueError: No transaction is open, the schema keeps no jobs, or an option is out of range.
        TypeError: As for `JobRegistry.submit`, or the connection is none of psycopg's.
        InvalidPayload: An argument does not fit its annotation or cannot be made into JSON.
        KeyConflict: The key was used for something else.
        Busy: A job holds the `exclusive` name, and `on_busy` is `reject`.
        QueueFull: As many jobs wait under a limit of the handler as may.
        SchemaTooNew: The schema was made by a newer version.
        psycopg.Error: What the connection raises.
    """
    _check(connection, psycopg.Connection, "submit_within")
    new, statement, call = _written(schema, fn, args, options)
    with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        _check_there(cursor.execute(_LOOK, [f"{quote(schema)}.meta"]).fetchone(), schema)
        return _id_in(cursor.execute(statement, [call]).fetchone(), new)


@overload
async def submit_within_async(
    connection: psycopg.AsyncConnection[Any],
    fn: Callable[[Any, Unpack[Ts]], Awaitable[object]],
    /,
    *args: *Ts,
    schema: str = SCHEMA,
    **options: Unpack[SubmitOptions],
) -> str: ...
@overload
async def submit_within_async(
    connection: psycopg.AsyncConnection[Any],
    fn: Callable[Concatenate[Any, ...], Awaitable[object]],
    /,
    *args: Any,
    schema: str = SCHEMA,
    kwargs: Mapping[str, Any],
    **options: Unpack[SubmitOptions],
) -> str: ...
async def submit_within_async(  # type: ignore[misc]  # mypy does not see that `*args` takes `*Ts`
    connection: psycopg.AsyncConnection[Any], fn: Any, /, *args: Any, schema: str = SCHEMA, **options: Any
) -> str:
    """Do what `submit_within` does, with an asynchronous connection of psycopg's, which needs asyncio."""
    _check(connection, psycopg.AsyncConnection, "submit_within_async")
    new, statement, call = _written(schema, fn, args, options)
    async with psycopg.AsyncCursor(connection, row_factory=tuple_row) as cursor:
        await cursor.execute(_LOOK, [f"{quote(schema)}.meta"])
        _check_there(await cursor.fetchone(), schema)
        await cursor.execute(statement, [call])
        return _id_in(await cursor.fetchone(), new)


def _check(connection: Any, kind: type[Any], name: str) -> None:
    if not isinstance(connection, kind):
        raise TypeError(f"{name} takes a psycopg.{kind.__name__}; got {quoted(connection)}")
    if connection.autocommit and connection.info.transaction_status is TransactionStatus.IDLE:
        raise ValueError(
            f"{name} belongs into a transaction of yours, and this connection commits by itself: open a "
            "block 'with connection.transaction():' first"
        )


def _written(
    schema: str, fn: Callable[..., Awaitable[object]], args: tuple[Any, ...], options: Mapping[str, Any]
) -> tuple[str, bytes, str]:
    """Return a job's id, the statement that submits it, and its parameter."""
    new = Rows(Handlers([fn])).written(submission(fn, args, options))
    statement = f"SELECT {quote(check_schema(schema))}.submit_within(%s::json)::text"
    call = {**call_of([new]), "version": VERSION}
    return new.submission.id, statement.encode(), msgspec.json.encode(call).decode()


def _check_there(row: tuple[Any, ...] | None, schema: str) -> None:
    if row != (True,):
        raise ValueError(
            f"schema {schema} keeps no jobs yet: open it with open_registry('postgresql://…') once"
        )


def _id_in(row: tuple[Any, ...] | None, new: str) -> str:
    """Return the id of the job that an answer is about, which is not the new one if its key was known."""
    answer = msgspec.json.decode(row[0] if row else "{}", type=Answer)
    refusal = error_in(answer)
    if refusal is not None:
        raise refusal
    job_id: str = answer.value.get("ids", [new])[0]
    return job_id
