"""A worker of a state machine: a registry with a connection of its own, that can be left, and can die."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
import trio

from .._common.errors import JobCancelled, JobFailed, StoreUnavailable
from .._registry.opening import open_registry
from .._watching.handle import JobHandle
from ..stores.retrying import BACKOFF
from ._connection import Connection
from ._journal import CONNECTION

if TYPE_CHECKING:
    from .._registry.registry import JobRegistry
    from ..stores.contract import Store
    from ._history import History

T = TypeVar("T")
LOST: Final = (StoreUnavailable, trio.ClosedResourceError)
"""What those are told who ask a worker that is gone."""
_LAST_CALLS: Final = ("append", "finish", "heartbeat")
_RECOVERY: Final = 2 * BACKOFF.maximum  # in which whoever was refused has asked again


@attrs.frozen
class Mishap:
    """What happens to a call.

    Attributes:
        heard: Whether the store hears it, and it happens to the answer.
        seconds: How long the way takes.
        lost: Whether it is lost on the way.
    """

    heard: bool = False
    seconds: float = 0.0
    lost: bool = False


class Line(Connection):
    """A connection to which mishaps happen when it is told so.

    Attributes:
        troubles: From when to when no lease could be kept through it.
    """

    def __init__(self, store: Store, name: str) -> None:
        super().__init__(store, name)
        self.troubles: list[tuple[float, float]] = []
        self._away_until = -inf
        self._next: dict[str, Mishap] = {}
        self._slow = 0

    @property
    def busy(self) -> bool:
        """Whether a call takes long, or one will by which a worker that leaves says how it went."""
        return bool(self._slow) or any(self._next.get(name, Mishap()).seconds for name in _LAST_CALLS)

    @property
    def troubled(self) -> bool:
        """Whether no lease can be kept through it now."""
        return any(begin <= trio.current_time() <= end for begin, end in self.troubles)

    def be_troubled(self, until: float = inf) -> None:
        """Note that no lease may be kept through it from now on."""
        self.troubles.append((trio.current_time(), until))

    def meet(self, names: Collection[str], mishap: Mishap) -> None:
        """Let something happen to the next call of each of some verbs."""
        self._next |= dict.fromkeys(names, mishap)

    def be_away(self, seconds: float, *, long: bool = False) -> None:
        """Refuse every call for so long, which for leases may be too long."""
        before = max(self._away_until, *(end for _, end in self.troubles), -inf)
        again = trio.current_time() < before + _RECOVERY
        self._away_until = trio.current_time() + seconds
        if long or again:
            self.be_troubled(self._away_until + _RECOVERY)

    def be_well(self) -> None:
        """Be as fast and as near as a store can be."""
        self._next.clear()
        self._away_until = -inf

    async def call(self, name: str, verb: Callable[[], Awaitable[T]]) -> T:
        """See `Connection.call`."""
        if trio.current_time() < self._away_until:
            raise StoreUnavailable("the store is away for a moment")
        mishap = self._next.pop(name, Mishap())
        if not mishap.heard:
            await self._suffer(name, mishap)
        answer = await super().call(name, verb)
        if mishap.heard:
            await self._suffer(name, mishap)
            self._check()
        return answer

    async def _suffer(self, name: str, mishap: Mishap) -> None:
        if mishap.lost:
            raise StoreUnavailable("the call or its answer was lost")
        if not mishap.seconds:
            return
        if name in {"claim", "heartbeat"}:
            self.be_troubled(trio.current_time() + mishap.seconds)
        self._slow += 1
        try:
            await trio.sleep(mishap.seconds)
        finally:
            self._slow -= 1


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


def note_leases(history: History, workers: Iterable[Worker], lease: float) -> None:
    """Note for the judge when each worker could keep its leases, on which clock."""
    times = [
        history.logs[call.job_id][0].timestamp - call.returned
        for call in history.calls
        if call.op == "submit" and call.job_id in history.logs and call.returned is not None
    ]
    history.epoch = max(times, default=0.0)  # a submit takes no time
    for worker in workers:  # the next heartbeat is no more than a third of a lease away
        spans = [(begin, end + lease * 0.34) for begin, end in worker.line.troubles]
        history.leases[worker.name], history.troubles[worker.name] = lease, spans


async def outcome_of(handle: JobHandle[Any, Any]) -> str:
    """Wait for a job's result, and return in which state the job ended, as `result` tells it."""
    try:
        await handle.result()
    except JobFailed:
        return "failed"
    except JobCancelled:
        return "cancelled"
    return "completed"
