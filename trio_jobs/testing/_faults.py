"""What can go wrong between a worker and a store that is far away, by the throw of seeded dice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final, TypeVar, cast

import attrs
import trio

from .._common.errors import StoreUnavailable
from ._connection import Connection

if TYPE_CHECKING:
    from random import Random

    from .._model.job import Event, Job
    from .._model.summary import Page
    from ..stores.contract import Store, Submission, Where
    from ..stores.schedules import ScheduleRow, Timetable
    from ._history import History
    from ._trace import Trace

T = TypeVar("T")

FAULTS: Final = {
    "slow": "a call takes long, sometimes longer than a lease",
    "refused": "a call fails before it took effect",
    "unheard": "a call fails after it took effect",
    "deaf": "a wake-up is lost, and only looking again helps",
    "late": "a wake-up comes late",
    "early": "a wake-up comes twice, or for nothing",
    "stale": "events that are there already are not shown yet",
    "drift": "the clocks of workers run fast or slow",
    "crash": "a worker dies, and another one comes up later",
    "freeze": "a worker stands still for longer than a lease, and goes on",
    "restart": "a worker is left in good order: stopped, drained, or cancelled from outside",
}
"""The kinds of fault, and what each does."""

PROMPT: Final = frozenset({"early", "drift", "crash", "restart"})
"""Those with which a worker that is there still hears of an input at once."""

_LEASING: Final = frozenset({"submit", "spawn", "claim", "heartbeat", "append", "finish"})
"""The calls on which leases hang."""

_RATES: Final = {
    "slow": 0.05,
    "refused": 0.08,
    "unheard": 0.08,
    "deaf": 0.2,
    "late": 0.2,
    "early": 0.1,
    "stale": 0.2,
}
_POLL: Final = 3.0
_AT_ONCE: Final = (0.0, 0.0, 0.0, 0.005, 0.02)  # seconds that a message travels when nothing is wrong


@attrs.define
class Faults:
    """The faults of one run.

    Attributes:
        random: The dice.
        kinds: Which kinds there are; each run has some of them, which finds more than all at once.
        lease: The lease of the run's workers, in seconds, which a slow call may outlast.
        on: Whether faults happen now.
    """

    random: Random
    kinds: frozenset[str]
    lease: float
    on: bool = True

    def strikes(self, kind: str) -> bool:
        """Throw the dice."""
        return self.on and kind in self.kinds and self.random.random() < _RATES[kind]

    def delay(self) -> float:
        """Return how long a message travels, in seconds: mostly not at all, and with a heavy tail."""
        if self.strikes("slow"):
            return min(0.5 * self.random.paretovariate(0.8), 3 * self.lease)
        return self.random.choice(_AT_ONCE)

    def drift(self) -> float:
        """Return how fast a new worker's clock runs."""
        return self.random.choice((0.7, 1.0, 2.0)) if "drift" in self.kinds else 1.0


class FaultyConnection(Connection):
    """A connection on which faults happen.

    Args:
        store: What it reaches.
        name: Whose it is, for the trace.
        faults: What goes wrong.
        trace: Where each call is noted.
        history: Where it is noted when something goes wrong with a call that a lease may hang on.
    """

    def __init__(self, store: Store, name: str, faults: Faults, trace: Trace, history: History) -> None:
        super().__init__(store, name)
        self._faults = faults
        self._trace = trace
        self._history = history
        self._failures: dict[str, int] = {}
        self.on_claim: Callable[[], None] | None = None  # called once, when a claim is on its way back
        self._frozen_until = 0.0
        self._seen: dict[str, int] = {}

    def freeze(self, seconds: float) -> None:
        """Let nothing through for a while, as from a process that is stopped."""
        self._frozen_until = trio.current_time() + seconds
        self._trouble(seconds)

    def sever(self) -> None:
        """See `Connection.sever`."""
        super().sever()
        self._trouble(inf)

    def _trouble(self, seconds: float) -> None:
        now = trio.current_time()
        self._history.troubles[self.name].append((now, now + seconds))
        assert self._history.cut is not None
        self._history.cut.add(self.name)

    def _failed(self, name: str) -> None:
        """Note that a call failed; who repeats it waits twice as long each time."""
        self._failures[name] = self._failures.get(name, 0) + 1
        if name in _LEASING:
            self._trouble(0.1 * 2 ** self._failures[name])

    async def call(self, name: str, verb: Callable[[], Awaitable[T]]) -> T:
        """Carry a call to the store and the answer back, if all goes well."""
        self._check()
        await self._travel(name)
        self._check()
        if self._faults.strikes("refused"):
            self._failed(name)
            raise StoreUnavailable(f"{name} was refused")
        try:
            answer = await verb()
        except Exception as error:
            self._trace.note(self.name, name, type(error).__name__)
            raise
        self._trace.note(self.name, name, answer)
        if name in {"submit", "claim"} and self.on_claim is not None:
            on_claim, self.on_claim = self.on_claim, None
            on_claim()
        if (delay := self._delay(name)) > 0:
            with trio.CancelScope(shield=True) as back:  # what happened is not undone
                self._waiting.add(back)
                try:
                    await trio.sleep(delay)
                finally:
                    self._waiting.discard(back)
        if self.severed or self._faults.strikes("unheard"):
            self._failed(name)
            raise StoreUnavailable(f"the answer to {name} was lost")
        self._failures.pop(name, None)
        return answer

    def _delay(self, name: str) -> float:
        """Return how long a message of a call travels now."""
        delay = max(self._faults.delay(), self._frozen_until - trio.current_time())
        if delay > _AT_ONCE[-1] and name in _LEASING:
            self._trouble(delay)
        return delay

    async def _travel(self, name: str) -> None:
        if (delay := self._delay(name)) > 0:
            await trio.sleep(delay)

    async def wait(self, name: str, verb: Callable[[], Awaitable[T]]) -> T:
        """Wait as a store does: where wake-ups may be lost, it looks again now and then."""
        if name in {"due", "overdue"} and self._faults.strikes("early"):  # these return nothing
            await trio.lowlevel.checkpoint()
            return cast("T", None)
        answers: list[T] = []

        async def look() -> None:
            answers.append(await verb())

        while not answers:
            if self._faults.strikes("deaf"):
                await super().wait(name, partial(trio.sleep, _POLL))
            with trio.move_on_after(_POLL) if "deaf" in self._faults.kinds else nullcontext():
                await super().wait(name, look)
        if self._faults.strikes("late"):
            await trio.sleep(self._faults.random.uniform(0, 2 * _POLL))
        await self._travel(name)
        self._check()
        return answers[0]

    async def read(self, job_id: str, after: int, limit: int) -> list[Event]:
        """See `Store.read`; the newest events may be missing, but none that this side has seen before."""
        return self._aged(job_id, await super().read(job_id, after, limit), 0)

    async def inputs(self, job_id: str, after: int, limit: int) -> list[Event]:
        """See `Store.inputs`; the newest may be missing, as in `read`."""
        return self._aged(job_id, await super().inputs(job_id, after, limit), 0)

    async def follow(self, job_id: str, after: int, limit: int) -> list[Event]:
        """See `Store.follow`; the newest events may be missing, but not all."""
        return self._aged(job_id, await super().follow(job_id, after, limit), 1)

    async def find(self, where: Where, limit: int, *, after: str | None = None, newest: bool = False) -> Page:
        """See `Store.find`; a page may be short, at any time."""
        short = self._faults.random.choice((1, 2, limit))
        return await super().find(where, min(limit, short), after=after, newest=newest)

    def _aged(self, job_id: str, events: Sequence[Event], least: int) -> list[Event]:
        seen = self._seen.get(job_id, 0)
        kept = [*events]
        if self._faults.strikes("stale"):
            known = sum(event.seq <= seen for event in events)
            kept = kept[: self._faults.random.randint(max(known, min(least, len(kept))), len(kept))]
        if kept:
            self._seen[job_id] = max(seen, kept[-1].seq)
        return kept

    async def schedules(self) -> Timetable:
        """See `KeepsSchedules.schedules`; the clock of the store may be set, forwards and back."""
        table = await super().schedules()
        off = (
            self._faults.random.choice((-20.0, -0.5, 0.0, 0.5, 3.0)) if "drift" in self._faults.kinds else 0.0
        )
        return table._replace(now=table.now + off)

    async def fire(self, seen: ScheduleRow, tick: float, job: Submission) -> bool:
        """See `KeepsSchedules.fire`; for which tick the job is, is noted."""
        self._history.ticks[job.id] = seen.schedule.name, tick
        return await super().fire(seen, tick, job)

    async def get(self, job_id: str) -> Job:
        """See `Store.get`."""
        job = await super().get(job_id)
        self._seen[job_id] = max(self._seen.get(job_id, 0), job.last_seq)
        return job
