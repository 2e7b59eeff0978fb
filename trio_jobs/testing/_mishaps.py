"""A connection that a state machine steers: which calls are slow or lost, and when the store is away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from math import inf
from typing import TYPE_CHECKING, Final, TypeVar

import attrs
import trio

from .._common.errors import StoreUnavailable
from ..stores.retrying import BACKOFF
from ._connection import Connection

if TYPE_CHECKING:
    from ..stores.contract import Store
    from ._history import History

T = TypeVar("T")
_LAST_CALLS: Final = ("append", "finish", "heartbeat")
_RECOVERY: Final = 2 * BACKOFF.maximum  # in which a caller that was refused has tried again


@attrs.frozen
class Mishap:
    """A call that is slow or lost.

    Attributes:
        heard: Whether the call reaches the store, and it is the answer that is slow or lost.
        seconds: How long the call or the answer takes.
        lost: Whether the call or the answer is lost.
    """

    heard: bool = False
    seconds: float = 0.0
    lost: bool = False


class SteeredConnection(Connection):
    """A connection whose next calls are slow or lost, or whose store is away, as its owner says.

    Attributes:
        troubles: From when to when no lease could be kept through the connection.
    """

    def __init__(self, store: Store, name: str) -> None:
        super().__init__(store, name)
        self.troubles: list[tuple[float, float]] = []
        self._away_until = -inf
        self._next: dict[str, Mishap] = {}
        self._slow = 0

    @property
    def disturbed(self) -> bool:
        """Whether no lease can be kept now, or a call is slow, or one that a leaving worker makes will be."""
        slow = self._slow or any(self._next.get(name, Mishap()).seconds for name in _LAST_CALLS)
        return bool(slow) or any(begin <= trio.current_time() <= end for begin, end in self.troubles)

    def be_troubled(self, until: float = inf) -> None:
        """Note that no lease may be kept through the connection from now on."""
        self.troubles.append((trio.current_time(), until))

    def meet(self, names: Collection[str], mishap: Mishap) -> None:
        """Let the next call of each of these verbs be slow or lost."""
        self._next |= dict.fromkeys(names, mishap)

    def be_away(self, seconds: float, *, long: bool = False) -> None:
        """Refuse every call for so many seconds; `long` says that leases may lapse meanwhile."""
        before = max(self._away_until, *(end for _, end in self.troubles), -inf)
        again = trio.current_time() < before + _RECOVERY
        self._away_until = trio.current_time() + seconds
        self._release()  # who waits for an answer hears of it
        if long or again:
            self.be_troubled(self._away_until + _RECOVERY)

    def be_well(self) -> None:
        """Let no further call be slow, lost or refused."""
        self._next.clear()
        self._away_until = -inf

    async def call(self, name: str, verb: Callable[[], Awaitable[T]]) -> T:
        """See `Connection.call`."""
        self._check()
        mishap = self._next.pop(name, Mishap())
        if not mishap.heard:
            await self._suffer(name, mishap)
        answer = await super().call(name, verb)
        if mishap.heard:
            await self._suffer(name, mishap)
            self._check()
        return answer

    def _check(self) -> None:
        super()._check()
        if trio.current_time() < self._away_until:
            raise StoreUnavailable("the store is away for a moment")

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


def note_troubles(history: History, connections: Iterable[SteeredConnection], lease: float) -> None:
    """Note for the judge when leases could not be kept, and what the clock of the logs showed at 0."""
    times = [
        history.logs[job_id][0].timestamp - call.returned
        for call in history.calls
        for job_id in call.told
        if call.returned is not None and job_id in history.logs
    ]
    history.epoch = max(times, default=0.0)  # a submit takes no time
    for line in connections:  # the next heartbeat is no more than a third of a lease away
        history.troubles[line.name] = [(begin, end + lease * 0.34) for begin, end in line.troubles]
