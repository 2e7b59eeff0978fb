"""The part of a `JobMachine` that lets its workers die, leave, and miss their store."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import precondition

from ._drawn_lives import VERBS
from ._machine import TrioMachine
from ._mishaps import Mishap, SteeredConnection
from ._process import SimulatedProcess
from ._rules import rule

if TYPE_CHECKING:
    from ._history import History

Worker = SimulatedProcess[SteeredConnection]


class TroubledMachine(TrioMachine):
    """A machine with workers, and with what may happen to them and to their calls of the store."""

    lease: ClassVar[float] = 10.0
    _history: History

    def __init__(self) -> None:
        super().__init__()
        self._workers: list[Worker] = []

    def _up(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.up]

    def _cut(self, worker: Worker) -> None:
        """Note that from now on a worker may lose its leases, and what it writes."""
        worker.connection.be_troubled()
        self._history.mute.add(worker.name)

    @precondition(lambda self: self._up())
    @rule(data=st.data())
    async def crash(self, data: st.DataObject) -> None:
        """Let a worker die: nothing that it still does reaches the store."""
        worker = data.draw(st.sampled_from(self._up()), "worker")
        self._cut(worker)
        worker.crash()

    @precondition(lambda self: self._up())
    @rule(data=st.data(), interrupted=st.booleans())
    async def stop(self, data: st.DataObject, interrupted: bool) -> None:  # noqa: FBT001  # drawn
        """Leave a worker's registry, or cancel what is around it."""
        worker = data.draw(st.sampled_from(self._up()), "worker")
        if worker.connection.disturbed:  # it does not wait for ever for an answer
            self._cut(worker)
        worker.leave(interrupted=interrupted)

    @precondition(lambda self: self._up())
    @rule(data=st.data(), verbs=VERBS, heard=st.booleans(), leases=st.sampled_from([0.5, 2.5]))
    async def slow_down(self, data: st.DataObject, verbs: set[str], heard: bool, leases: float) -> None:  # noqa: FBT001
        """Let a worker's next call of some verbs take long, before it reaches the store or after that."""
        self._meet(data, verbs, Mishap(heard, seconds=leases * self.lease))

    @precondition(lambda self: self._up())
    @rule(data=st.data(), verbs=VERBS, heard=st.booleans())
    async def lose(self, data: st.DataObject, verbs: set[str], heard: bool) -> None:  # noqa: FBT001  # drawn
        """Let a worker's next call of some verbs be lost, or the answer to it."""
        self._meet(data, verbs, Mishap(heard, lost=True))

    def _meet(self, data: st.DataObject, verbs: set[str], mishap: Mishap) -> None:
        worker = data.draw(st.sampled_from(self._up()), "worker")
        self._history.mute.add(worker.name)
        if "claim" in verbs and mishap.heard and mishap.lost:
            self._cut(worker)  # of what was claimed it knows nothing
        worker.connection.meet(verbs, mishap)

    @rule(leases=st.sampled_from([0.05, 2.5]))
    async def lose_the_store(self, leases: float) -> None:
        """Let the store be away for a moment, or for longer than a lease."""
        for worker in self._workers:
            if not worker.over.is_set():
                self._history.mute.add(worker.name)
                worker.connection.be_away(leases * self.lease, long=leases > 1)
                if leases > 1 and not worker.up:
                    self._cut(worker)
