"""One worker's view of a store that several workers share, and how that view breaks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from .._common.errors import StoreUnavailable

if TYPE_CHECKING:
    from .._common.states import Reason, State
    from .._model.job import Event, Job, Kind
    from .._model.summary import Page
    from ..stores.contract import CancelAnswer, Claim, Claimant, Heartbeat, Outcome, Store, Submission, Where

T = TypeVar("T")


class Connection:
    """A store of its own for one registry, over a store that others reach too and that outlives it.

    It does to the jobs of a `MemoryStore` what a process does to those of a database. `sever` is a crash:
    nothing that is asked through this connection takes effect any more, whatever the code on this side of
    it still does while it is torn down.

    Args:
        store: Where the jobs are. A connection does not close it.
        name: Whose it is.

    Attributes:
        name: Whose it is.
        severed: Whether `sever` was called.
    """

    durable = True

    def __init__(self, store: Store, name: str = "worker") -> None:
        self.name = name
        self.severed = False
        self._store = store
        self._closed = False
        self._waiting = set[trio.CancelScope]()

    def sever(self) -> None:
        """Let nothing through any more, either way. Every call raises `StoreUnavailable`."""
        self.severed = True
        self._release()

    def close(self, reason: Reason) -> None:  # noqa: ARG002  # nothing ends: the store lives on
        """See `Store.close`."""
        self._closed = True
        self._release()

    def _release(self) -> None:
        for scope in self._waiting:
            scope.cancel(reason="the connection is gone")

    async def call(self, name: str, verb: Callable[[], Awaitable[T]]) -> T:  # noqa: ARG002  # for subclasses
        """Carry a call to the store. Every verb that does not wait goes through here.

        Raises:
            StoreUnavailable: The connection is severed.
        """
        self._check()
        return await verb()

    async def wait(self, name: str, verb: Callable[[], Awaitable[T]]) -> T:  # noqa: ARG002  # for subclasses
        """Carry a call that waits, until there is an answer or the connection is gone.

        Raises:
            StoreUnavailable: The connection is severed.
            trio.ClosedResourceError: It is closed.
        """
        self._check()
        with trio.CancelScope() as scope:
            self._waiting.add(scope)
            try:
                return await verb()
            finally:
                self._waiting.discard(scope)
        self._check()
        raise AssertionError("only a connection that is gone cancels a wait")

    def _check(self) -> None:
        if self.severed:
            raise StoreUnavailable("the connection to the store is severed")
        if self._closed:
            raise trio.ClosedResourceError("the registry was left before the job had ended")

    # ------------------------------------------------------------ the verbs

    async def submit(
        self, batch: Sequence[Submission], limit: int, worker: Claimant
    ) -> tuple[list[str], list[Claim]]:
        """See `Store.submit`."""
        return await self.call("submit", lambda: self._store.submit(batch, limit, worker))

    async def spawn(self, parent: str, attempt: int, child: Submission, worker: Claimant) -> Claim:
        """See `Store.spawn`."""
        return await self.call("spawn", lambda: self._store.spawn(parent, attempt, child, worker))

    async def claim(self, limit: int, worker: Claimant) -> list[Claim]:
        """See `Store.claim`."""
        return await self.call("claim", lambda: self._store.claim(limit, worker))

    async def heartbeat(self, held: Mapping[str, int], lease: float) -> Heartbeat:
        """See `Store.heartbeat`."""
        return await self.call("heartbeat", lambda: self._store.heartbeat(held, lease))

    async def append(self, job_id: str, attempt: int, kind: Kind, values: Sequence[Any], offset: int) -> int:
        """See `Store.append`."""
        return await self.call("append", lambda: self._store.append(job_id, attempt, kind, values, offset))

    async def finish(self, job_id: str, attempt: int, outcome: Outcome) -> State:
        """See `Store.finish`."""
        return await self.call("finish", lambda: self._store.finish(job_id, attempt, outcome))

    async def request_cancel(self, job_id: str, message: str | None, grace: float = 0.0) -> CancelAnswer:
        """See `Store.request_cancel`."""
        return await self.call("request_cancel", lambda: self._store.request_cancel(job_id, message, grace))

    async def sweep(self) -> None:
        """See `Store.sweep`."""
        await self.call("sweep", self._store.sweep)

    async def get(self, job_id: str) -> Job:
        """See `Store.get`."""
        return await self.call("get", lambda: self._store.get(job_id))

    async def find(self, where: Where, limit: int, *, after: str | None = None, newest: bool = False) -> Page:
        """See `Store.find`."""
        return await self.call("find", lambda: self._store.find(where, limit, after=after, newest=newest))

    async def count(self, where: Where) -> Mapping[State, int]:
        """See `Store.count`."""
        return await self.call("count", lambda: self._store.count(where))

    async def read(self, job_id: str, after: int, limit: int) -> list[Event]:
        """See `Store.read`."""
        return await self.call("read", lambda: self._store.read(job_id, after, limit))

    async def history(self, job_id: str) -> list[Event]:
        """See `Store.history`."""
        return await self.call("history", lambda: self._store.history(job_id))

    async def follow(self, job_id: str, after: int, limit: int) -> list[Event]:
        """See `Store.follow`."""
        return await self.wait("follow", lambda: self._store.follow(job_id, after, limit))

    async def ended(self, job_id: str) -> Job:
        """See `Store.ended`."""
        return await self.wait("ended", lambda: self._store.ended(job_id))

    async def due(self) -> None:
        """See `Store.due`."""
        await self.wait("due", self._store.due)

    async def overdue(self) -> None:
        """See `Store.overdue`."""
        await self.wait("overdue", self._store.overdue)

    async def cancelling(self, heard: Mapping[str, float]) -> Mapping[str, float]:
        """See `Store.cancelling`."""
        return await self.wait("cancelling", lambda: self._store.cancelling(heard))

    async def remove(self, job_id: str) -> None:
        """See `Store.remove`."""
        await self.call("remove", lambda: self._store.remove(job_id))

    async def prune(self, older_than: float) -> int:
        """See `Store.prune`."""
        return await self.call("prune", lambda: self._store.prune(older_than))
