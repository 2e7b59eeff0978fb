"""Where SQLite works: in threads of Trio's, unless a test in virtual time has it work in the run's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, TypeVar, cast

import outcome
import trio

T = TypeVar("T")


async def in_thread(work: Callable[..., T], *args: Any) -> T:
    """Run a function in one of Trio's threads, and wait for it, whatever is cancelled meanwhile.

    It takes half as long as `trio.to_thread.run_sync`, which has a limit of threads, contexts and
    cancellation to think of. Each connection has one call at a time, so their number is the limit here.

    Raises:
        RuntimeError: There is no thread to be had.
    """
    task, token = trio.lowlevel.current_task(), trio.lowlevel.current_trio_token()

    def deliver(answer: outcome.Outcome[T]) -> None:
        token.run_sync_soon(trio.lowlevel.reschedule, task, answer)

    trio.lowlevel.start_thread_soon(partial(work, *args), deliver)
    return cast("T", await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED))


RUN: Final = ContextVar[Callable[..., Awaitable[Any]]]("RUN", default=in_thread)
"""What runs a function elsewhere, as `in_thread` does. A file looks it up when it is opened."""
