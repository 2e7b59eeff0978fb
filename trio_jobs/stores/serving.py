"""Run the tasks of a store with a database for the length of a block."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import trio

from .._common.deferred_error import DeferredError
from .._common.states import Reason


class _Closes(Protocol):
    def close(self, reason: Reason) -> None: ...


@asynccontextmanager
async def served(store: _Closes, tasks: Sequence[Callable[[], Awaitable[None]]]) -> AsyncGenerator[None]:
    """Run the tasks of a store for the length of a block, and close it then."""
    # Jobs that are being cancelled still write their ends, so the connections serve until the block is left.
    background = trio.CancelScope(shield=True)
    block = DeferredError()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_serve, background, tasks)  # noqa: ASYNC113  # a call waits for them
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
