"""Clients and readers of a simulation, who write down what they asked, what was answered, what they read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from ._history import Call, History, Reading
from ._workers import LOST, outcome_of

if TYPE_CHECKING:
    from random import Random

    from .._registry.registry import JobRegistry
    from .._watching.handle import JobHandle
    from .._watching.readers import Policy
    from ._nodes import Node
    from ._simulation import Drawn

T = TypeVar("T")


class Clients:
    """Everybody who asks something of the nodes. Nobody minds which node answers.

    Args:
        nodes: Whom they ask.
        history: Where they write.
        random: What they decide by.
        draw: Draws a job.

    Attributes:
        done: Set when all have seen the ends of their jobs.
    """

    def __init__(
        self, nodes: list[Node], history: History, random: Random, draw: Callable[[], Drawn]
    ) -> None:
        self.done = trio.Event()
        self._nodes = nodes
        self._history = history
        self._random = random
        self._draw = draw
        self._nursery: trio.Nursery

    async def run(self, clients: int, jobs: int) -> None:
        """Submit up to `jobs` jobs for each of the clients, and follow them to their ends."""
        async with trio.open_nursery() as self._nursery:
            for number in range(clients):
                self._nursery.start_soon(self._client, f"client{number}", self._random.randint(1, jobs))
        self.done.set()

    async def _client(self, name: str, jobs: int) -> None:
        for number in range(jobs):
            await trio.sleep(self._random.expovariate(0.5))
            job_id = await self._submit(name, f"{name}.{number}")
            for n in range(self._random.randint(1, 2)):
                self._nursery.start_soon(self._read, f"{name}.{number}.reader{n}", job_id)
            if self._random.random() < 0.3:
                self._nursery.start_soon(self._cancel, name, job_id)
            if self._random.random() < 0.5:
                self._nursery.start_soon(self._wait, name, job_id)

    def _up(self) -> list[JobRegistry]:
        return [node.jobs for node in self._nodes if node.jobs is not None]

    async def _somebody(self) -> JobRegistry:
        while not self._up():  # noqa: ASYNC110  # a client knows only that nobody answers
            await trio.sleep(1)
        return self._random.choice(self._up())

    async def _ask(self, call: Call, ask: Callable[[JobRegistry], Awaitable[T]]) -> T | None:
        """Ask once; None if nobody can tell what came of it."""
        jobs = await self._somebody()
        call.invoked = trio.current_time()
        with self._history.ask(call):
            try:
                answer = await ask(jobs)
            except LOST:
                await trio.sleep(self._random.uniform(0, 2))
                return None
        call.returned = trio.current_time()
        return answer

    async def _submit(self, name: str, key: str) -> str:
        fn, args, options = self._draw()
        while True:
            call = Call(name, "submit", key=key)

            async def submit(jobs: JobRegistry) -> JobHandle[Any, Any]:
                untyped: Any = jobs.submit  # how the handler is typed is not known here
                handle: JobHandle[Any, Any] = await untyped(fn, *args, key=key, **options)
                return handle

            handle = await self._ask(call, submit)
            if handle is not None:
                call.job_id = handle.id
                return handle.id

    async def _cancel(self, name: str, job_id: str) -> None:
        await trio.sleep(self._random.expovariate(0.3))
        grace, patience = self._random.choice((0.0, 0.0, 2.0)), self._random.choice((1.0, 60.0))
        while True:
            call = Call(name, "cancel", job_id)
            report = await self._ask(
                call, lambda jobs: jobs.cancel(job_id, "as drawn", grace=grace, patience=patience)
            )
            if report is not None:
                call.answer = report.outcome
                return

    async def _wait(self, name: str, job_id: str) -> None:
        result = self._random.random() < 0.5
        while True:
            call = Call(name, "wait", job_id)

            async def wait(jobs: JobRegistry) -> str:
                handle = await jobs.get(job_id)
                return await outcome_of(handle) if result else str((await handle.wait()).state)

            if (answer := await self._ask(call, wait)) is not None:
                call.answer = answer
                return

    async def _read(self, name: str, job_id: str) -> None:
        """Read to the end, from wherever the last connection broke; some vanish on the way and come back."""
        cursor, pace = 0, self._random.choice((0.0, 0.0, 1.0))
        policy: Policy = self._random.choice(("gap", "block"))
        while True:
            reading = Reading(name, job_id, after=cursor)
            vanish = self._random.choice((1, 3, 10**6))
            with self._history.read(reading):
                try:
                    handle = await (await self._somebody()).get(job_id)
                    async with handle.events(cursor, policy=policy) as events:
                        async for event in events:
                            reading.events.append(event)
                            cursor = event.seq
                            await trio.sleep(pace)
                            vanish -= 1
                            if not vanish:
                                break
                        else:
                            reading.ended = True
                            return
                except LOST:
                    await trio.sleep(self._random.uniform(0, 2))
