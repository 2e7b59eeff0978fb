"""Those who wait for jobs in a `JobMachine`, cancel them and read them, and what they ask for at random."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
import trio
from hypothesis import strategies as st

from .._common.errors import QueueFull
from .._common.states import State
from .._model.job import Timeouts
from .._model.retry import Retry
from .._registry.filter import Filter
from .._watching.readers import Policy
from ._history import Call, History, Reading
from ._scripted import STEPS
from ._workers import LOST, Worker, outcome_of

if TYPE_CHECKING:
    from .._watching.handle import JobHandle


@attrs.frozen
class Pace:
    """How somebody reads.

    Attributes:
        policy: Whether the handler waits for this reader.
        seconds: How long each event takes.
        cut: After how many events the reader leaves and resumes; 0 is never.
        vanishes: Whether the reader does not resume.
    """

    policy: Policy = "gap"
    seconds: float = 0.0
    cut: int = 0
    vanishes: bool = False


POLICIES: tuple[Policy, ...] = ("gap", "block")
PACES = st.builds(
    Pace,
    policy=st.sampled_from(POLICIES),
    seconds=st.sampled_from([0.0, 0.0, 1.0]),
    cut=st.sampled_from([0, 1, 3]),
    vanishes=st.booleans(),
)
LISTS = st.lists(
    st.one_of(
        st.just(("tidy", 25.0)),  # more often: what is left then is not over yet
        *(st.tuples(st.just(what), st.sampled_from(amounts)) for what, amounts in STEPS.items()),
    ),
    max_size=5,
)
VERBS = st.sets(st.sampled_from(["claim", "heartbeat", "append", "finish", "spawn", "sweep"]), min_size=1)
WHERES: st.SearchStrategy[Filter] = st.sampled_from(
    [{}, {"owner": "me"}, {"tags": {"of": "the machine"}}, {"state": State.RUNNING}]
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "timeouts": st.builds(
            Timeouts,
            run=st.sampled_from([None, 0.0, 0.5, 2.0]),
            queue=st.sampled_from([None, 0.5]),
            first_token=st.sampled_from([None, 0.5]),
            idle=st.sampled_from([None, 1.0]),
        ),
        "retry": st.builds(
            Retry, attempts=st.integers(1, 4), initial=st.sampled_from([0.0, 1.0]), jitter=st.just(0.0)
        ),
        "priority": st.integers(0, 3),
        "delay": st.sampled_from([0.5, 2.0]),
        "tags": st.just({"of": "the machine"}),
        "metadata": st.just({"n": 1}),
        "owner": st.sampled_from(["me", "you"]),
        "when_unread": st.sampled_from(["pause", "cancel"]),
        "linger": st.sampled_from([0.0, 1.0]),
    },
)


class Crowd:
    """Everybody who asks something and waits for the answer.

    Args:
        history: Where they write.
        up: Returns the workers that may be asked.

    Attributes:
        nursery: Where each of them is a task.
    """

    nursery: trio.Nursery

    def __init__(self, history: History, up: Callable[[], list[Worker]]) -> None:
        self._history = history
        self._up = up
        self._more = trio.Event()
        self._gone = trio.Event()

    async def live(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Be there, until `disperse` was called and nobody is left."""
        async with trio.open_nursery() as self.nursery:
            self.nursery.start_soon(self._more.wait)
            task_status.started()
        self._gone.set()

    async def disperse(self) -> None:
        """Wait until everybody has the answer that they wait for."""
        self._more.set()
        await self._gone.wait()

    async def wait(self, worker: Worker, job_id: str, *, result: bool = False) -> None:
        """Wait for a job's end, or for its result."""
        call = Call("waiter", "wait", job_id, invoked=trio.current_time())
        with self._history.ask(call):
            try:
                handle: JobHandle[Any, Any] = await worker.jobs.get(job_id)
                if not result:
                    call.answer = str((await handle.wait()).state)
                else:
                    call.answer = await outcome_of(handle)
            except LOST:
                return
        call.returned = trio.current_time()

    async def submit(self, call: Call, submit: Callable[[], Awaitable[str]]) -> None:
        """Submit a job for which there may be no room."""
        call.invoked = trio.current_time()
        with self._history.ask(call), suppress(*LOST):
            try:
                call.job_id = await submit()
            except QueueFull:
                call.answer = "full"
            else:
                call.returned, call.answer = trio.current_time(), "accepted"

    async def cancel(self, handle: JobHandle[Any, Any], grace: float, patience: float) -> None:
        """Cancel a job, and wait for what becomes of it."""
        call = Call("canceller", "cancel", handle.id, invoked=trio.current_time())
        with self._history.ask(call):
            try:
                call.answer = (await handle.cancel("as drawn", grace=grace, patience=patience)).outcome
            except LOST:
                return
        call.returned = trio.current_time()

    async def read(self, worker: Worker, job_id: str, pace: Pace, cursor: int = 0) -> None:
        """Read a job's log at a pace, through a worker, and through another one that is up when it is not."""
        while True:
            reading = Reading("reader", job_id, cursor)
            with self._history.read(reading):
                try:
                    handle: JobHandle[Any, Any] = await worker.jobs.get(job_id)
                    async with handle.events(cursor, policy=pace.policy) as events:
                        async for event in events:
                            reading.events.append(event)
                            cursor = event.seq
                            await trio.sleep(pace.seconds)
                            if pace.cut and cursor % pace.cut == 0:
                                break
                        else:
                            reading.ended = True
                            return
                except LOST:
                    await trio.sleep(0.5)
            if pace.vanishes or not self._up():
                return
            runs = worker.up or (worker.drained and not worker.over.is_set())
            if pace.cut or not runs:  # a job that pauses is to be read where it runs
                worker = self._up()[0]
