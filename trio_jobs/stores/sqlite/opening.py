"""Open a file as a store: its three connections, and the tasks that serve them."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Final

import trio

from ..._common.errors import StoreUnavailable
from ..._common.validate import choice, number, whole
from ..._model.handlers import Handler, Handlers
from ..._model.job import Retention
from ..rows import Rows
from ..serving import served
from .calls import POLL
from .clock import Clock, FileClock
from .files import Synchronous, check_there, create, identity, prepare_reader, prepare_writer, translated
from .group import FOREVER, Group, Limits
from .line import Line
from .locks import BUSY
from .notices import notify, watching
from .store import SqliteStore
from .threads import RUN

logger = logging.getLogger("trio_jobs")
_SOONEST: Final = 0.001
_OPENINGS: Final = 24
"""How often a locked file is waited for; two minutes in all."""


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
        clock: Returns the time in place of the file's own clock, for tests; it is called in threads.
        poll: Seconds after which to look at what other processes have written; four times as many where the
            system reports it at once (Linux). `math.inf` if no other process has the file open.

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
    epochs: list[float | None] = []
    prepare = partial(prepare_writer, path=where, synchronous=synchronous)
    async with (
        connected(Line(where, lambda db: epochs.append(prepare(db)))) as writer,
        connected(Line(where, prepare_reader)) as reader,
        connected(Line(where, prepare_reader)) as searcher,
    ):
        own = FileClock(epochs[-1] if clock is None else None)
        now = clock or own
        there = partial(check_there, where, identity(where))
        announce = partial(notify, where)
        groups = (
            Group(writer, now, limits, writes=True, begun=own.keep, ending=there, committed=announce),
            Group(reader, now, limits, writes=False, begun=own.look),
            Group(searcher, now, limits, writes=False),
        )
        store = SqliteStore(where, rows, *groups, now=now, token_bytes=limits.keep.token_bytes)
        with watching(where) as notices:
            looking = partial(store.poll, poll, own, notices, await groups[0].version(0))
            async with served(store, [*(group.run for group in groups), looking]):
                yield store


@asynccontextmanager
async def connected(line: Line) -> AsyncGenerator[Line]:
    """Open a connection, and close it when the block is left. Its statements run in threads.

    A locked file is waited for several times as long as in a call, so that a worker can be started while
    another program backs the file up, or makes it smaller.
    """
    refused = 0
    while not line.is_open:
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            await RUN.get()(line.open)
        except StoreUnavailable as error:
            refused += 1
            if refused == _OPENINGS or not isinstance(error.__cause__, BUSY):
                raise
            if refused == 1:
                logger.warning("waiting for a file that is locked: %s", error)
        except (MemoryError, RuntimeError) as error:  # the system may give no thread
            raise translated(error, line.path) from None
    process = os.getpid()
    try:
        yield line
    finally:
        if os.getpid() == process:  # a child that was forked off has neither the threads nor the locks
            await RUN.get()(line.close)  # noqa: ASYNC102  # nothing cancels it
