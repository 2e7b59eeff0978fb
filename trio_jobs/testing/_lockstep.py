"""A file in virtual time: while a thread of the store works, the run stands still, and the clock with it.

A clock that jumps when every task waits does not see threads, and threads answer in an order that nothing
repeats. In lockstep there is neither: to the run, a transaction is a step that takes no time, and when it
happens and when its answer comes is up to the scheduler, which follows from a seed.
"""

from __future__ import annotations

import math
import os
import random
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from queue import SimpleQueue
from types import ModuleType
from typing import Any, TypeVar, cast

import apsw
import outcome
import trio

from .._job import Retention
from ..stores.sqlite import SqliteStore, open_sqlite

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

    It tells Trio's time. While its threads work, no task runs and no time passes, so an `autojump_clock`
    jumps only when the store has nothing to do, and the same seed takes the same course. No other store
    may have the file open: nobody looks for what it writes.

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
    controller = apsw.async_controller.set(cast("Any", _Lockstep))
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
        apsw.async_controller.reset(controller)


class _Lockstep:
    """The thread of a connection, as an `apsw.AsyncConnectionController`: the run waits for it."""

    def __init__(self) -> None:
        self._calls = SimpleQueue[Callable[[], Any] | None]()
        self._answers = SimpleQueue[outcome.Outcome[Any]]()
        threading.Thread(target=self._work, name="SQLite in lockstep", daemon=True).start()

    def configure(self, connection: apsw.Connection) -> None:
        for hook in apsw.connection_hooks:
            hook(connection)

    async def send(self, call: Callable[[], T]) -> T:
        for _ in range(random.randint(1, 3)):  # others get in before it, and before the answer, or not
            await trio.lowlevel.checkpoint()
        self._calls.put(call)
        answer = self._answers.get()
        for _ in range(random.randint(0, 2)):
            await trio.lowlevel.cancel_shielded_checkpoint()
        return cast("T", answer.unwrap())

    def close(self) -> None:
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            self._answers.put(outcome.capture(_called, call))


def _called(call: Callable[[], T]) -> T:
    return call()  # apsw's calls bear not even an empty `**kwargs`
