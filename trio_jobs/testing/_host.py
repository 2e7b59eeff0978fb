"""Workers and front ends of a simulation: where a process dies or is left, and another one comes up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from ._faults import Faults, FaultyConnection
from ._process import SimulatedProcess

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._registry.registry import JobRegistry
    from ..stores.contract import Store
    from ._history import History
    from ._trace import Trace


class Host:
    """A place where one process comes up after the other.

    Args:
        name: What it is called.
        capacity: How many attempts a process runs; 0 for a front end.
        store: The store that all share.
        faults: What goes wrong.
        trace: Where what happens is noted.
        history: The journal.

    Attributes:
        process: The process that is there now, if one is.
        options: Of `open_registry`, such as the limits that handlers share.
    """

    def __init__(
        self, name: str, capacity: int, store: Store, faults: Faults, *, trace: Trace, history: History
    ) -> None:
        self.name = name
        self.process: SimulatedProcess[FaultyConnection] | None = None
        self.options: Mapping[str, Any] = {}
        self._store = store
        self._faults = faults
        self._trace = trace
        self._history = history
        self._capacity = capacity

    async def run(self) -> None:
        """Bring a process up, and again one after each; ends only by cancellation."""
        random, number = self._faults.random, 0
        while True:
            number += 1
            name = f"{self.name}.{number}"
            self._trace.note(name, "up")
            connection = FaultyConnection(self._store, name, self._faults, self._trace, self._history)
            lease, drains = self._faults.lease * self._faults.drift(), random.random() < 0.5
            grace = random.choice((0.0, 0.0, 3.0))
            self.process = SimulatedProcess(connection, self._history, drains=drains)
            await self.process.live(lease, capacity=self._capacity, grace=grace, **self.options)
            self.process = None
            await trio.sleep(random.uniform(0, 2 * self._faults.lease))

    @property
    def jobs(self) -> JobRegistry | None:
        """The registry of its process, if clients may use it."""
        return self.process.jobs if self.process is not None and self.process.up else None

    def crash(self) -> None:
        """Let the process die."""
        if self.process is not None and not self.process.connection.severed:
            self._trace.note(self.process.name, "crash")
            self.process.crash()

    def freeze(self) -> None:
        """Let the process stand still, as a stopped one does, for longer than a lease."""
        if self.process is not None:
            self._trace.note(self.process.name, "freeze")
            self.process.connection.freeze(self._faults.lease * self._faults.random.uniform(0.5, 3))

    def restart(self) -> None:
        """Leave the registry when a claim is on its way, or at once if asked again, and come up again."""
        if self.jobs is None or self.process is None:
            return
        if self.process.connection.on_claim is None:
            self.process.connection.on_claim = self._leave
        else:
            self._leave()

    def _leave(self) -> None:
        """Leave the registry in good order, or by a cancellation from outside."""
        if self.process is not None and self.process.up:
            interrupted, drains = self._faults.random.random() < 0.2, self.process.drains
            what = "interrupt" if interrupted else "drain" if drains else "restart"
            self._trace.note(self.process.name, what)
            self.process.leave(interrupted=interrupted)


async def chaos(hosts: list[Host], faults: Faults) -> None:
    """Let processes die, stand still and restart now and then; ends only by cancellation."""
    strikes = {"crash": Host.crash, "freeze": Host.freeze, "restart": Host.restart}
    kinds = [kind for kind in strikes if kind in faults.kinds]
    while kinds:
        await trio.sleep(faults.random.expovariate(1 / (2 * faults.lease)))
        strikes[faults.random.choice(kinds)](faults.random.choice(hosts))
    await trio.sleep_forever()
