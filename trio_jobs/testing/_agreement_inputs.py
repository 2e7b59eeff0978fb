"""The rules of a `StoreMachine` about inputs, waits for them, and steps."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import precondition

from .._common.states import Reason, Transition
from .._model.job import Ended, Kind, Step
from ..stores.contract import Outcome, Store
from ..stores.memory import MemoryStore
from ._drawn import ATTEMPTS, DELAYS, IDS, LINES, VALUES
from ._machine import TrioMachine
from ._rules import rule
from .checks.kit import completed, failed

_FEW = st.lists(VALUES, min_size=1, max_size=3)
_WAITS = DELAYS | st.just(math.inf)


class InputRules(TrioMachine):
    """Sends inputs to jobs, consumes them, waits for them, and keeps steps, in both stores."""

    _known: dict[str, Any]
    _running: list[tuple[str, int]]
    _appended: dict[tuple[str, int], int]
    _model: MemoryStore

    @abstractmethod
    async def both(self, line: int, verb: str, call: Callable[[Store], Awaitable[object]]) -> Any:
        """See `StoreMachine.both`."""

    @abstractmethod
    async def _is_child(self, job_id: str) -> bool: ...

    @precondition(lambda self: self._known)
    @rule(line=LINES, job_id=IDS, input_id=st.sampled_from("abcdefgh"), values=_FEW)
    async def send(self, line: int, job_id: str, input_id: str, values: list[Any]) -> None:
        """Send a few inputs, perhaps once more."""
        await self.both(line, "send", lambda store: store.send(job_id, input_id, values))

    @precondition(lambda self: self._known)
    @rule(line=LINES, job_id=IDS, often=st.integers(0, 3))
    async def end_inputs(self, line: int, job_id: str, often: int) -> None:
        """Say that no more will come, which few jobs are told."""
        if not often:
            await self.both(line, "end_inputs", lambda store: store.end_inputs(job_id))

    @precondition(lambda self: self._known)
    @rule(line=LINES, job_id=IDS, after=st.integers(0, 9), limit=st.integers(1, 4))
    async def hear(self, line: int, job_id: str, after: int, limit: int) -> None:
        """Read inputs, and listen for those that are there."""
        if await self.both(line, "inputs", lambda store: store.inputs(job_id, after, limit)):

            async def listen(store: Store) -> set[str]:
                return set(await store.listening({job_id: after}))

            await self.both(line, "listening", listen)

    async def _received(self, job_id: str, newest: int) -> int:
        """Return the last of a job's inputs up to a place, as an attempt receives no other."""
        return max([event.seq for event in await self._model.inputs(job_id, 0, newest)], default=0)

    @precondition(lambda self: self._running)
    @rule(line=LINES, attempt=ATTEMPTS, values=_FEW, newest=st.integers(1, 5))
    async def save(self, line: int, attempt: tuple[str, int], values: list[Any], newest: int) -> None:
        """Save, and consume the first inputs."""
        if (attempt[0], attempt[1]) in self._running:
            received = await self._received(attempt[0], newest)
            before = self._appended.get(attempt, 0)
            await self.both(
                line,
                "append",
                lambda store: store.append(*attempt, Kind.SAVED, values, before, received=received),
            )
            self._appended[attempt] = before + len(values)

    @precondition(lambda self: self._running)
    @rule(line=LINES, attempt=ATTEMPTS, result=VALUES)
    async def step(self, line: int, attempt: tuple[str, int], result: Any) -> None:
        """Keep the result of a step."""
        before, steps = self._appended.get(attempt, 0), [Step("a step", "", result)]
        answer = await self.both(
            line, "append", lambda store: store.append(*attempt, Kind.STEP, steps, before)
        )
        if answer is not None:
            self._appended[attempt] = before + 1

    @precondition(lambda self: self._running)
    @rule(line=LINES, attempt=ATTEMPTS, newest=st.integers(1, 5), delay=_WAITS, how=st.integers(0, 3))
    async def wait(self, line: int, attempt: tuple[str, int], newest: int, delay: float, how: int) -> None:
        """Finish an attempt that has received the first inputs, mostly to wait for more."""
        if attempt in self._running:
            waits = Outcome(Transition.RETRIED, None, Ended(Reason.AWAITING_INPUT, "more", None, delay))
            outcome = [completed(), failed(), waits, waits][how]
            if outcome is waits and await self._is_child(attempt[0]):
                outcome = failed()
            received = await self._received(attempt[0], newest)
            outcome = attrs.evolve(outcome, received=received)
            await self.both(line, "finish", lambda store: store.finish(*attempt, outcome))
