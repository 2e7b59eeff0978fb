"""A worker of a state machine: a registry with a connection of its own, that can be left, and can die."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import trio

from .._common.errors import JobCancelled, JobFailed, StoreUnavailable
from .._registry.opening import open_registry
from ._connection import Connection
from ._journal import CONNECTION

if TYPE_CHECKING:
    from .._registry.registry import JobRegistry
    from .._watching.handle import JobHandle
    from ..stores.contract import Store

LOST: Final = (StoreUnavailable, trio.ClosedResourceError)
"""What those are told who ask a worker that is gone."""


class Worker:
    """A process that shares a store with others.

    Args:
        store: The store.
        name: What its `started` events say.

    Attributes:
        jobs: Its registry.
        up: Whether it may be asked anything.
        over: Set when nothing of it is left.
    """

    jobs: JobRegistry

    def __init__(self, store: Store, name: str) -> None:
        self.up = False
        self.over = trio.Event()
        self._connection = Connection(store, name)
        self._scope = trio.CancelScope()
        self._left = trio.Event()

    def __repr__(self) -> str:
        return f"<{self._connection.name}>"

    async def live(
        self, capacity: int, window: int, lease: float, *, task_status: trio.TaskStatus[None]
    ) -> None:
        """Live until `leave` or `crash`."""
        CONNECTION.set(self._connection)
        with self._scope:
            async with open_registry(
                self._connection, capacity=capacity, window=window, lease=lease, name=self._connection.name
            ) as self.jobs:
                self.up = True
                task_status.started()
                await self._left.wait()
        self.over.set()

    def leave(self) -> None:
        """Leave the registry in good order."""
        self.up = False
        self._left.set()

    def crash(self) -> None:
        """Die: nothing that it still does reaches the store."""
        self.up = False
        self._connection.sever()
        self._scope.cancel(reason="the worker crashed")


async def outcome_of(handle: JobHandle[Any, Any]) -> str:
    """Wait for a job's result, and return in which state the job ended, as `result` tells it."""
    try:
        await handle.result()
    except JobFailed:
        return "failed"
    except JobCancelled:
        return "cancelled"
    return "completed"
