"""What the clients of a simulation do, as dice say: submit, send, read, wait and cancel, until answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio

from .._common.states import State
from .._model.handler import mark_of
from ._client import Pace, SimulatedClient
from ._history import Call, History
from ._scripted import LONG, SECONDS

if TYPE_CHECKING:
    from random import Random

    from .._registry.filter import Filter
    from .._registry.registry import JobRegistry
    from .._watching.readers import Policy
    from ._host import Host

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
_POLICIES: Final[Sequence[Policy]] = ("gap", "block")


class Load:
    """All clients of a simulation. None of them minds which process answers.

    Args:
        hosts: Where the processes are that answer.
        history: The journal.
        random: The dice.
        draw: Draws a job.

    Attributes:
        done: Set when all clients have seen the ends of their jobs.
    """

    def __init__(
        self, hosts: Sequence[Host], history: History, random: Random, draw: Callable[[], Drawn]
    ) -> None:
        self.done = trio.Event()
        self._hosts = hosts
        self._history = history
        self._random = random
        self._draw = draw
        self._nursery: trio.Nursery

    async def run(self, clients: int, jobs: int) -> None:
        """Submit up to `jobs` jobs for each of the clients, and follow them to their ends."""
        async with trio.open_nursery() as self._nursery:
            for number in range(clients):
                client = SimulatedClient(f"client{number}", self._history)
                self._nursery.start_soon(self._client, client, self._random.randint(1, jobs))
            self._nursery.start_soon(self._operate)
        self.done.set()

    async def _client(self, client: SimulatedClient, jobs: int) -> None:
        for number in range(jobs):
            await trio.sleep(self._random.expovariate(0.5))
            key, many, drawn = f"{client.name}.{number}", self._random.random() < 0.3, self._draw()
            many = many and "exclusive" not in drawn[2]  # one job has that name
            listens = mark_of(drawn[0]).inputs is str
            if many:
                for job_id in await self._submit_many(client, key, drawn):
                    self._nursery.start_soon(self._wait, client, job_id)
                    if listens:
                        self._nursery.start_soon(self._talk, f"{job_id}.sender", job_id)
                continue
            job_id = await self._submit(client, key, drawn)
            for n in range(self._random.randint(1, 2) if listens else 0):
                self._nursery.start_soon(self._talk, f"{key}.sender{n}", job_id)
            for n in range(self._random.randint(1, 2)):
                reader = SimulatedClient(f"{key}.reader{n}", self._history)
                self._nursery.start_soon(self._read, reader, job_id)
            if self._random.random() < 0.3:
                self._nursery.start_soon(self._cancel, client, job_id)
            if self._random.random() < 0.5:
                self._nursery.start_soon(self._wait, client, job_id)

    async def _operate(self) -> None:
        """Now and then, ask for the cancellation of all jobs of a kind."""
        operator = SimulatedClient("operator", self._history)
        for number in range(self._random.choice((0, 0, 1, 2))):
            await trio.sleep(self._random.expovariate(0.1))
            where, reason = self._random.choice(_WHERES), f"by order {number}"
            call = Call(operator.name, "cancel_where", where=where, reason=reason, grace=0.0)
            jobs = await self._somebody()
            call.count = await operator.ask(call, partial(jobs.cancel_where, reason, **where)) or 0
            if call.returned is None:
                await self._pause()

    async def _somebody(self) -> JobRegistry:
        while not (up := [host.jobs for host in self._hosts if host.jobs is not None]):  # noqa: ASYNC110
            await trio.sleep(1)  # a client knows only that no process answers
        return self._random.choice(up)

    async def _pause(self) -> None:
        await trio.sleep(self._random.uniform(0, 2))

    async def _until_answered(self, ask: Callable[[JobRegistry], Awaitable[T]]) -> T:
        while not (answer := await ask(await self._somebody())):
            await self._pause()
        return answer

    async def _submit(self, client: SimulatedClient, key: str, drawn: Drawn) -> str:
        fn, args, options = drawn
        job_id = await self._until_answered(lambda jobs: client.submit(jobs, key, fn, args, options))
        assert job_id is not None
        return job_id

    async def _submit_many(self, client: SimulatedClient, key: str, drawn: Drawn) -> Sequence[str]:
        """Submit several jobs at once, with more or less patience, until they are found there."""
        fn, args, options = drawn
        options = {**options, "tags": {**options.get("tags", {}), "several": "yes", "batch": key}}
        count, patience = self._random.randint(1, 3), self._random.choice((inf, inf, 1.0, 0.01, 0.0))
        while True:
            jobs, several = await self._somebody(), [args] * count
            call = await client.submit_many(jobs, key, fn, several, options, patience=patience)
            if call.returned is None:
                await self._pause()
            while call.found is None:
                find = partial(_of_batch, await self._somebody(), key)
                call.found = await client.ask(Call(client.name, "find"), find)
                if call.found is None:
                    await self._pause()
            if call.found:
                self._history.options |= dict.fromkeys(call.found, options)
                return call.found
            patience = inf

    async def _talk(self, name: str, job_id: str) -> None:
        """Send a job a few inputs, some of them twice, and end its inputs."""
        client = SimulatedClient(name, self._history)
        for number in range(self._random.randint(0, 4)):
            await trio.sleep(self._random.choice((*SECONDS, *LONG)))
            values = [f"{name} says {number}.{n}" for n in range(self._random.choice((1, 1, 3)))]
            send = partial(client.send, job_id=job_id, input_id=f"{name}.{number}", values=values)
            for _ in range(self._random.choice((1, 1, 2, 4))):
                if await self._until_answered(send) == "full":
                    await self._pause()
        await trio.sleep(self._random.choice((*SECONDS, *LONG)))
        await self._until_answered(partial(client.end_inputs, job_id=job_id))

    async def _cancel(self, client: SimulatedClient, job_id: str) -> None:
        await trio.sleep(self._random.expovariate(0.3))
        grace, patience = self._random.choice(_GRACES), self._random.choice((1.0, 60.0))
        reason = f"{client.name} asked for {job_id}"
        await self._until_answered(
            lambda jobs: client.cancel(jobs, job_id, reason, grace=grace, patience=patience)
        )

    async def _wait(self, client: SimulatedClient, job_id: str) -> None:
        result = self._random.random() < 0.5
        await self._until_answered(lambda jobs: client.wait(jobs, job_id, result=result))

    async def _read(self, client: SimulatedClient, job_id: str) -> None:
        """Read to the end, each time from where the last reading stopped; some leave on the way."""
        cursor, seconds = 0, self._random.choice((0.0, 0.0, 1.0))
        policy = self._random.choice(_POLICIES)
        while True:
            pace = Pace(policy, seconds, self._random.choice((1, 3, inf)))
            reading = await client.read(await self._somebody(), job_id, cursor, pace)
            if reading.ended:
                return
            cursor = reading.cursor
            if len(reading.events) < pace.most:
                await self._pause()


async def _of_batch(jobs: JobRegistry, key: str) -> list[str]:
    page = await jobs.find(tags={"batch": key})
    found = [job.id for job in page]
    while page.next is not None:
        page = await jobs.find(tags={"batch": key}, after=page.next)
        found += [job.id for job in page]
    return found
