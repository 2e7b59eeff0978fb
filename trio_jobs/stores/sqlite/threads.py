"""Run SQLite in threads of Trio's, or, in a test with virtual time, in the thread of the run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, TypeVar, cast

import outcome
import trio

T = TypeVar("T")


async def in_thread(work: Callable[..., T], *args: Any) -> T:
    """Run a function in one of Trio's threads, and wait for it, even if the task is cancelled meanwhile.

    It takes half as long as `trio.to_thread.run_sync`, which handles a limit of threads, contexts and
    cancellation. Each connection has one call at a time, so the number of connections is the limit here.

    Raises:
        RuntimeError: The system gives no thread.
    """
    task, token = trio.lowlevel.current_task(), trio.lowlevel.current_trio_token()

    def deliver(answer: outcome.Outcome[T]) -> None:
        token.run_sync_soon(trio.lowlevel.reschedule, task, answer)

    trio.lowlevel.start_thread_soon(partial(work, *args), deliver)
    return cast("T", await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED))


RUN: Final = ContextVar[Callable[..., Awaitable[Any]]]("RUN", default=in_thread)
"""The function that runs other functions in a thread, as `in_thread` does; read when a file is opened."""
