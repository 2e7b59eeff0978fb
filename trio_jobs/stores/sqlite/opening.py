"""Open a file as a store: two connections, and what serves them in threads."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final, cast

import apsw
import trio

from ..._check import choice, number, whole
from ..._handlers import Handler, Handlers
from ..._held import HeldBack
from ..._job import Retention
from ..._states import Reason
from .clock import Clock, clock_of
from .files import Synchronous, create, prepare_reader, prepare_writer, translated
from .group import FOREVER, Group, Limits
from .rows import Rows
from .store import POLL, SqliteStore
from .threads import RUN

logger = logging.getLogger("trio_jobs")
_SOONEST: Final = 0.001


@asynccontextmanager
async def open_sqlite(
    path: str | os.PathLike[str],
    *,
    handlers: Iterable[Handler] | ModuleType | Handlers = (),
    synchronous: Synchronous = "full",
    queue_limit: int = 1_000_000,
    retention: Retention | None = None,
    clock: Clock | None = None,
    poll: float = POLL,
) -> AsyncGenerator[SqliteStore]:
    """Open a store in an SQLite file, for the length of an `async with` block.

    Several processes may have it open, on one machine and a local disk.

    Args:
        path: The file. It is created if there is none, for its owner only.
        handlers: The handlers whose jobs may be submitted and are claimed here; see `Handlers`.
        synchronous: `full`: what was accepted survives the loss of power. `normal`: faster; the last commits
            may be lost with the power, but not by a crash of the process.
        queue_limit: How many jobs may wait.
        retention: What is kept of each job; by default ended jobs stay until they are pruned.
        clock: What tells the time in place of the file's own clock, for tests.
        poll: Seconds between two looks at what other processes have written, which cost microseconds;
            `math.inf` if no other process has the file open.

    Raises:
        ValueError: An argument is out of range.
        TypeError: A handler is not an async function, or takes what cannot be made from JSON.
        StoreUnavailable: The file cannot be opened now.
        StoreCorrupt: It is damaged, or no SQLite file.
        SchemaTooNew: It was written by a newer version.
    """
    choice("synchronous", synchronous, ("full", "normal"))
    whole("queue_limit", queue_limit, 1)
    number("poll", poll, _SOONEST)
    rows = Rows(handlers if isinstance(handlers, Handlers) else Handlers(handlers))
    limits = Limits(queue_limit, retention or Retention(finished=FOREVER))
    where = Path(os.path.realpath(path))  # noqa: ASYNC240  # as SQLite does, which has files beside it
    create(where)
    async with _connected(where) as writer, _connected(where) as reader:
        epoch = await RUN.get()(prepare_writer, writer, where, synchronous)
        await RUN.get()(prepare_reader, reader)
        now = clock or clock_of(epoch)
        groups = (
            Group(writer, where, now, limits, writes=True),
            Group(reader, where, now, limits, writes=False),
        )
        store = SqliteStore(where, rows, *groups, now=now, token_bytes=limits.keep.token_bytes)
        async with _served(store, *(group.run for group in groups), partial(store.poll, poll)):
            yield store


@asynccontextmanager
async def _served(store: SqliteStore, *tasks: Callable[[], Awaitable[None]]) -> AsyncGenerator[None]:
    """Run the tasks of a store for the length of a block, and close it then."""
    # What is being cancelled still has ends to write, so the connections serve until the block is left.
    background = trio.CancelScope(shield=True)
    block = HeldBack()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_serve, background, tasks)
        with block:
            yield
        store.close(Reason.SHUTDOWN)
        background.cancel(reason="the store is closed")
    block.release()


async def _serve(scope: trio.CancelScope, tasks: Sequence[Callable[[], Awaitable[None]]]) -> None:
    with scope:
        async with trio.open_nursery() as nursery:
            for task in tasks:
                nursery.start_soon(task)


@asynccontextmanager
async def _connected(path: Path) -> AsyncGenerator[Any]:
    """Open a connection, and close it when the block is left. Its statements run in threads."""
    try:
        db = await RUN.get()(_connect, path)
    except apsw.Error as error:
        raise translated(error, path) from error
    try:
        yield db
    finally:
        with trio.CancelScope(shield=True):
            try:
                await RUN.get()(db.close)
            except apsw.Error as error:  # of tidying up: what was accepted is safe in the -wal file
                logger.warning("%s could not be tidied up while it was closed: %s", path, error)


def _connect(path: Path) -> Any:
    return cast("Any", apsw.Connection(str(path), apsw.SQLITE_OPEN_READWRITE, None, 200))
