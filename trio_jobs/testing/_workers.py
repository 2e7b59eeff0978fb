"""A worker of a state machine: a registry with a connection of its own, that can be left, and can die."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio

from .._common.errors import JobCancelled, JobFailed, StoreUnavailable
from .._registry.opening import open_registry
from .._watching.handle import JobHandle
from ._connection import Connection
from ._journal import CONNECTION

if TYPE_CHECKING:
    from .._registry.registry import JobRegistry
    from ..stores.contract import Store

T = TypeVar("T")
LOST: Final = (StoreUnavailable, trio.ClosedResourceError)
"""What those are told who ask a worker that is gone."""


class Line(Connection):
    """A connection that is slow, or gone for a moment, when it is told so."""

    def __init__(self, store: Store, name: str) -> None:
        super().__init__(store, name)
        self._away_until = 0.0
        self._slow: dict[str, float] = {}
        self._under_way = 0

    @property
    def busy(self) -> bool:
        """Whether a call takes long, or is to."""
        return bool(self._slow or self._under_way)

    def slow_down(self, name: str, seconds: float) -> None:
        """Let the next call of a verb take so long before it reaches the store."""
        self._slow[name] = seconds

    def be_away(self, seconds: float) -> None:
        """Refuse every call for so long."""
        self._away_until = trio.current_time() + seconds

    def be_well(self) -> None:
        """Be as fast and as near as a store can be."""
        self._slow.clear()
        self._away_until = 0.0

    async def call(self, name: str, verb: Callable[[], Awaitable[T]]) -> T:
        """See `Connection.call`."""
        if trio.current_time() < self._away_until:
            raise StoreUnavailable("the store is away for a moment")
        if (seconds := self._slow.pop(name, 0.0)) > 0:
            self._under_way += 1
            try:
                await trio.sleep(seconds)
            finally:
                self._under_way -= 1
        return await super().call(name, verb)


class Worker:
    """A process that shares a store with others.

    Args:
        store: The store.
        name: What its `started` events say.
        drains: Whether it ends what it runs before it leaves.

    Attributes:
        jobs: Its registry.
        name: What its `started` events say.
        line: Its way to the store.
        up: Whether it may be asked anything.
        over: Set when nothing of it is left.
        drained: Whether it was left, and ends what it runs.
    """

    jobs: JobRegistry

    def __init__(self, store: Store, name: str, *, drains: bool = False) -> None:
        self.name = name
        self.up = False
        self.drained = False
        self.over = trio.Event()
        self.line = Line(store, name)
        self._drains = drains
        self._scope = trio.CancelScope()
        self._left = trio.Event()

    def __repr__(self) -> str:
        return f"<{self.name}>"

    async def live(
        self, capacity: int, window: int, lease: float, *, task_status: trio.TaskStatus[None]
    ) -> None:
        """Live until `leave` or `crash`."""
        CONNECTION.set(self.line)
        with self._scope:
            async with open_registry(
                self.line,
                capacity=capacity,
                window=window,
                lease=lease,
                name=self.name,
                on_exit="drain" if self._drains else "stop",
            ) as self.jobs:
                self.up = True
                task_status.started()
                await self._left.wait()
        self.over.set()

    def handle(self, job_id: str) -> JobHandle[Any, Any]:
        """Return a handle on a job, which may not be there."""
        return JobHandle(self.jobs._worker, job_id)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    def leave(self) -> None:
        """Leave the registry in good order."""
        self.up = False
        self.drained = self._drains
        self._left.set()

    def interrupt(self) -> None:
        """Leave it because something around it was cancelled, which is a good order too."""
        self.up = self.drained = False
        self._scope.cancel(reason="what is around the registry was cancelled")

    def crash(self) -> None:
        """Die: nothing that it still does reaches the store."""
        self.up = self.drained = False
        self.line.sever()
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
