"""A process of a state machine or of a simulation: a registry over a connection of its own, which can die."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio

from .._registry.opening import open_registry
from ._connection import Connection
from ._journal import CONNECTION

if TYPE_CHECKING:
    from .._registry.registry import JobRegistry
    from ._history import History

C = TypeVar("C", bound=Connection)


class SimulatedProcess(Generic[C]):
    """A process that shares a store with others, from when it comes up until nothing of it is left.

    Args:
        connection: How it reaches the store. Its name is in the `started` events.
        history: The journal that says how the process was left.
        drains: Whether it finishes what it runs before it leaves.

    Attributes:
        jobs: Its registry, once it was up.
        name: The name of its connection.
        connection: How it reaches the store.
        up: Whether clients may use its registry.
        paused: Whether it was told to claim nothing.
        over: Set when nothing of it is left.
    """

    jobs: JobRegistry

    def __init__(self, connection: C, history: History, *, drains: bool = False) -> None:
        self.name = connection.name
        self.connection = connection
        self.up = False
        self.paused = False
        self.over = trio.Event()
        self.drains = drains
        self._history = history
        self._scope = trio.CancelScope()
        self._left = trio.Event()

    def __repr__(self) -> str:
        return f"<{self.name}>"

    async def live(
        self, lease: float, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED, **options: Any
    ) -> None:
        """Open the registry, with these options of `open_registry`, until the process leaves or crashes."""
        CONNECTION.set(self.connection)
        self._history.leases[self.name] = lease
        with self._scope:
            async with open_registry(
                self.connection,
                lease=lease,
                name=self.name,
                on_exit="drain" if self.drains else "stop",
                **options,
            ) as self.jobs:
                self.up = True
                task_status.started()
                await self._left.wait()
        self.up = False
        self.over.set()

    @property
    def runs_jobs(self) -> bool:
        """Whether its jobs go on: it is up, or drains."""
        drains = self.name in self._history.drained and not self.connection.severed
        return self.up or (drains and not self.over.is_set())

    def leave(self, *, interrupted: bool = False) -> None:
        """Leave the registry in good order: by the end of its block, or by a cancellation from outside."""
        self.up = False
        self._history.leaving[self.name] = trio.current_time()
        if interrupted:
            self._scope.cancel(reason="what is around the registry was cancelled")
        elif self.drains:
            self._history.drained.add(self.name)
        self._left.set()

    def crash(self) -> None:
        """Die: nothing that the process still does on its way down reaches the store."""
        self.up = False
        self.connection.sever()
        self._scope.cancel(reason="the process crashed")
