"""Workers and front ends of a simulation: processes that live in one, and can die on their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from .._registry.opening import open_registry
from ._faults import Faults, FaultyConnection
from ._journal import CONNECTION

if TYPE_CHECKING:
    from .._registry.registry import JobRegistry
    from ..stores.contract import Store
    from ._history import History
    from ._trace import Trace


class Node:
    """A process: it opens a registry over the shared store, dies or is stopped, and comes up again.

    Args:
        name: What it is called.
        capacity: How many attempts it runs; 0 for a front end.
        store: The store that all share.
        faults: What goes wrong.
        trace: Where what happens is noted.
        history: Where the judge is told what it did.

    Attributes:
        jobs: Its registry while it is up.
        connection: Its way to the store.
    """

    def __init__(
        self, name: str, capacity: int, store: Store, faults: Faults, *, trace: Trace, history: History
    ) -> None:
        self.name = name
        self.jobs: JobRegistry | None = None
        self.connection: FaultyConnection
        self._store = store
        self._faults = faults
        self._trace = trace
        self._history = history
        self._capacity = capacity
        self._scope = trio.CancelScope()
        self._stopped = trio.Event()
        self._up = self._drains = False
        self._lives = 0

    async def live(self) -> None:
        """Come up, and again after each death; ends only by cancellation."""
        random = self._faults.random
        while True:
            self._lives += 1
            name = f"{self.name}.{self._lives}"
            self._trace.note(name, "up")
            self.connection = FaultyConnection(self._store, name, self._faults, self._trace, self._history)
            CONNECTION.set(self.connection)
            lease = self._history.leases[name] = self._faults.lease * self._faults.drift()
            self._stopped = trio.Event()
            self._drains = random.random() < 0.5
            self._up = True
            with trio.CancelScope() as self._scope:
                async with open_registry(
                    self.connection,
                    capacity=self._capacity,
                    lease=lease,
                    name=name,
                    on_exit="drain" if self._drains else "stop",
                    grace=random.choice((0.0, 0.0, 3.0)),
                ) as self.jobs:
                    await self._stopped.wait()
            self._up, self.jobs = False, None
            await trio.sleep(self._faults.random.uniform(0, 2 * self._faults.lease))

    def crash(self) -> None:
        """Die: nothing that the node still does on its way down reaches the store."""
        if self._up and not self.connection.severed:
            self._trace.note(self.connection.name, "crash")
            self.jobs = None
            self.connection.sever()
            self._scope.cancel(reason="the node crashed")

    def freeze(self) -> None:
        """Stand still, as a stopped process does, for longer than a lease."""
        if self._up:
            self._trace.note(self.connection.name, "freeze")
            self.connection.freeze(self._faults.lease * self._faults.random.uniform(0.5, 3))

    def restart(self) -> None:
        """Leave the registry when a claim is on its way, or at once when asked again, and come up again."""
        if self.jobs is not None and self.connection.on_claim is None:
            self.connection.on_claim = self._leave
        else:
            self._leave()

    def _leave(self) -> None:
        """Leave the registry in good order, or by a cancellation from outside."""
        if self.jobs is not None:
            name, interrupted = self.connection.name, self._faults.random.random() < 0.2
            self._trace.note(name, "interrupt" if interrupted else "drain" if self._drains else "restart")
            self.jobs = None
            self._history.leaving[name] = trio.current_time()
            if interrupted:
                self._scope.cancel(reason="what is around the registry was cancelled")
            elif self._drains:
                self._history.drained.add(name)
            self._stopped.set()


async def chaos(nodes: list[Node], faults: Faults) -> None:
    """Let nodes die, stand still and restart now and then; ends only by cancellation."""
    strikes = {"crash": Node.crash, "freeze": Node.freeze, "restart": Node.restart}
    kinds = [kind for kind in strikes if kind in faults.kinds]
    while kinds:
        await trio.sleep(faults.random.expovariate(1 / (2 * faults.lease)))
        strikes[faults.random.choice(kinds)](faults.random.choice(nodes))
    await trio.sleep_forever()
