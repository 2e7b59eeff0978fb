"""Submit in a transaction of the program's own, for programs whose data is in the same file.

Otherwise a program may write an order and die before it submits the job for it, or submit the job and roll
the order back. In one transaction both are written, or neither.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Concatenate, TypeVarTuple, Unpack, cast, overload

import apsw

from ..._common.errors import SchemaTooNew, quoted
from ..._model.handlers import Handlers
from ..._model.options import SubmitOptions
from ..contract import Claimant
from ..rows import Rows
from ..submission import submission
from . import verbs
from .clock import FileClock
from .files import version
from .group import UNLIMITED, Transaction
from .queries import SCHEMAS

Ts = TypeVarTuple("Ts")


@overload
def submit_within(
    connection: apsw.Connection,
    fn: Callable[[Any, Unpack[Ts]], Awaitable[object]],
    /,
    *args: *Ts,
    **options: Unpack[SubmitOptions],
) -> str: ...
@overload
def submit_within(
    connection: apsw.Connection,
    fn: Callable[Concatenate[Any, ...], Awaitable[object]],
    /,
    *args: Any,
    kwargs: Mapping[str, Any],
    **options: Unpack[SubmitOptions],
) -> str: ...
def submit_within(  # type: ignore[misc]  # mypy does not see that `*args` takes `*Ts`
    connection: apsw.Connection, fn: Any, /, *args: Any, **options: Any
) -> str:
    """Submit a job in the transaction that is open on a connection. No checkpoint: it only writes.

    The job exists once the transaction commits, and workers find it within a moment. If the transaction is
    rolled back, the job never exists.

    Args:
        connection: A connection of apsw's to a file that a registry has been opened on before. One of
            Python's `sqlite3` will not do: that is another copy of SQLite, and two copies in one process undo
            each other's locks (https://sqlite.org/howtocorrupt.html, 2.2.1).
        fn: As for `JobRegistry.submit`.
        *args: Its arguments.
        kwargs: Its keyword arguments.
        **options: See `SubmitOptions`.

    Returns:
        The job's id.

    Raises:
        ValueError: No transaction is open, the file keeps no jobs, or an option is out of range.
        TypeError: As for `JobRegistry.submit`, or the connection is none of apsw's.
        InvalidPayload: An argument does not fit its annotation or cannot be made into JSON.
        KeyConflict: The key was used for something else.
        SchemaTooNew: The file was written by a newer version.
        apsw.Error: What the connection raises.
    """
    if not isinstance(cast("object", connection), apsw.Connection):
        raise TypeError(
            "submit_within takes an apsw.Connection, as two copies of SQLite in one process undo each "
            f"other's locks; got {quoted(connection)}"
        )
    if not connection.in_transaction:
        raise ValueError("submit_within belongs into a transaction of yours: execute BEGIN IMMEDIATE first")
    found = version(connection, Path("the file"))
    if found == 0:
        raise ValueError("this file keeps no jobs yet: open it with open_registry('sqlite:///…') once")
    if 0 < found < len(SCHEMAS):
        raise ValueError("this file is of an older version: open it with open_registry('sqlite:///…') once")
    if found > len(SCHEMAS):
        raise SchemaTooNew("the file", found, len(SCHEMAS))
    new = Rows(Handlers([fn])).written(submission(fn, args, options))
    db = cast("Any", connection)
    db.execute("DELETE FROM trio_jobs_meta WHERE 0")  # takes the lock, which may have to be waited for
    kept: dict[Any, Any] = dict(db.execute("SELECT name, value FROM trio_jobs_meta"))
    tx = Transaction(connection, FileClock(kept.get("epoch"))(), UNLIMITED)
    (job_id,), _ = verbs.submit(tx, [new], 0, (), Claimant("nobody"))
    tx.write_log()
    return job_id
