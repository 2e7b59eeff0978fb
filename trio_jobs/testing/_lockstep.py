"""A file in virtual time: while SQLite works, the run stands still, and the clock with it.

A clock that jumps when every task waits does not see threads, and threads answer in an order that nothing
repeats. In lockstep there is neither: to the run, a transaction is a step that takes no time, and when it
happens and when its answer comes is up to the scheduler, which follows from a seed.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any, TypeVar

import outcome
import trio

from .._model.job import Retention
from ..stores.sqlite import SqliteStore, open_sqlite
from ..stores.sqlite.threads import RUN

T = TypeVar("T")


@asynccontextmanager
async def open_sqlite_in_lockstep(
    path: str | os.PathLike[str],
    *,
    handlers: Iterable[Callable[..., Awaitable[Any]]] | ModuleType = (),
    queue_limit: int = 1_000_000,
    retention: Retention | None = None,
) -> AsyncGenerator[SqliteStore]:
    """Open a store in an SQLite file as `open_sqlite` does, for a run in virtual time.

    It tells Trio's time. SQLite works in the run's own thread: no task runs and no time passes meanwhile, so
    an `autojump_clock` jumps only when the store has nothing to do, and the same seed takes the same course.
    No other store may have the file open: what it writes is not noticed.

    Args:
        path: The file.
        handlers: The handlers whose jobs may be submitted and are claimed here.
        queue_limit: How many jobs may wait.
        retention: What is kept of each job.

    Raises:
        ValueError: An argument is out of range.
        TypeError: A handler is not an async function, or takes what cannot be made from JSON.
        StoreUnavailable: The file cannot be opened now.
    """
    before = RUN.set(_run_here)
    try:
        async with open_sqlite(
            path,
            handlers=handlers,
            synchronous="normal",  # no power is lost here
            queue_limit=queue_limit,
            retention=retention,
            clock=trio.current_time,
            poll=math.inf,
        ) as store:
            yield store
    finally:
        RUN.reset(before)


async def _run_here(work: Callable[..., T], *args: Any) -> T:
    for _ in range(random.randint(1, 3)):  # others get in before it, and before the answer, or not
        await trio.lowlevel.cancel_shielded_checkpoint()
    answer = outcome.capture(work, *args)
    for _ in range(random.randint(0, 2)):
        await trio.lowlevel.cancel_shielded_checkpoint()
    return answer.unwrap()
