"""Clients and readers of a simulation, who write down what they asked, what was answered, what they read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from math import inf
from random import Random
from typing import Any, Final, TypeVar

import trio

from .._common.states import State
from .._registry.filter import Filter
from .._registry.registry import JobRegistry
from .._watching.readers import Policy
from ._history import Call, History, Reading
from ._nodes import Node
from ._workers import LOST, outcome_of

T = TypeVar("T")
Drawn = tuple[Callable[..., Awaitable[Any]], tuple[Any, ...], Mapping[str, Any]]
_WHERES: Final[Sequence[Filter]] = (
    {"owner": "me"},
    {"owner": "you", "state": [State.RUNNING]},
    {"state": [State.QUEUED, State.RETRYING]},
    {"tags": {"several": "yes"}},
    {},
)
_GRACES: Final = (0.0, 0.0, 2.0, 30.0)


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
            self._nursery.start_soon(self._operate)
        self.done.set()

    async def _client(self, name: str, jobs: int) -> None:
        for number in range(jobs):
            await trio.sleep(self._random.expovariate(0.5))
            if self._random.random() < 0.3:
                for job_id in await self._submit_many(name, f"{name}.{number}"):
                    self._nursery.start_soon(self._wait, name, job_id)
                continue
            job_id = await self._submit(name, f"{name}.{number}")
            for n in range(self._random.randint(1, 2)):
                self._nursery.start_soon(self._read, f"{name}.{number}.reader{n}", job_id)
            if self._random.random() < 0.3:
                self._nursery.start_soon(self._cancel, name, job_id)
            if self._random.random() < 0.5:
                self._nursery.start_soon(self._wait, name, job_id)

    async def _operate(self) -> None:
        """Now and then, ask for the cancellation of all jobs of a kind."""
        for number in range(self._random.choice((0, 0, 1, 2))):
            await trio.sleep(self._random.expovariate(0.1))
            where, reason = self._random.choice(_WHERES), f"by order {number}"
            call = Call("operator", "cancel_where", where=where, reason=reason, grace=0.0)
            asked = await self._ask(call, partial(_cancel_where, reason=reason, where=where))
            call.count = asked or 0

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

            async def submit(jobs: JobRegistry) -> str:
                untyped: Any = jobs.submit  # how the handler is typed is not known here
                return str((await untyped(fn, *args, key=key, **options)).id)

            call.job_id = await self._ask(call, submit)
            if call.job_id is not None:
                return call.job_id

    async def _submit_many(self, name: str, key: str) -> Sequence[str]:
        """Submit several jobs at once, with more or less patience, until they are found there."""
        fn, args, options = self._draw()
        options = {**options, "tags": {**options.get("tags", {}), "several": "yes", "batch": key}}
        count, patience = self._random.randint(1, 3), self._random.choice((inf, inf, 1.0, 0.01, 0.0))
        while True:
            call = Call(name, "submit_many", key=key, count=count)

            async def submit(jobs: JobRegistry, call: Call = call, patience: float = patience) -> list[str]:
                untyped: Any = jobs.submit_many  # how the handler is typed is not known here
                with trio.move_on_after(patience):
                    return [handle.id for handle in await untyped(fn, [args] * count, **options)]
                call.cancelled = True
                return []

            call.job_ids = await self._ask(call, submit) or []
            while call.found is None:
                call.found = await self._ask(Call(name, "find"), partial(_of_batch, key=key))
            if call.found:
                return call.found
            patience = inf

    async def _cancel(self, name: str, job_id: str) -> None:
        await trio.sleep(self._random.expovariate(0.3))
        grace, patience = self._random.choice(_GRACES), self._random.choice((1.0, 60.0))
        reason = f"{name} asked for {job_id}"
        while True:
            call = Call(name, "cancel", job_id, reason=reason, grace=grace)
            report = await self._ask(
                call, lambda jobs: jobs.cancel(job_id, reason, grace=grace, patience=patience)
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


async def _of_batch(jobs: JobRegistry, key: str) -> list[str]:
    page = await jobs.find(tags={"batch": key})
    found = [job.id for job in page]
    while page.next is not None:
        page = await jobs.find(tags={"batch": key}, after=page.next)
        found += [job.id for job in page]
    return found


async def _cancel_where(jobs: JobRegistry, reason: str, where: Filter) -> int:
    return await jobs.cancel_where(reason, **where)
