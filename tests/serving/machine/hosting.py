"""A registry and its server, which is started, stopped, and checked for what is left."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import trio

from tests.serving.machine.books import EVERYBODY, Work, mark
from tests.serving.machine.moves import (
    CALLERS,
    CAPACITY,
    GRACE,
)
from tests.serving.machine.network import Network
from tests.serving.machine.peers import Peer
from tests.serving.machine.world import Away, Mistakes
from tests.tasks import task_names
from trio_jobs import (
    Job,
    JobContext,
    Retention,
    handler,
    open_registry,
)
from trio_jobs.serving import Caller, Limits, serve_http, serve_websocket
from trio_jobs.testing import TrioMachine

SERVE: Final[Mapping[str, Callable[..., Awaitable[None]]]] = {
    "http": serve_http,
    "websocket": serve_websocket,
}
PORT: Final = 8000


class Hosting(TrioMachine):
    """The server, and its jobs."""

    rule_time_limit = 10_000.0
    door: str
    limits: Limits
    tight: bool
    short: bool

    def __init__(self) -> None:
        super().__init__()
        self.network = Network()
        self.peers: list[Peer] = []
        self.works: list[Work] = []
        self.works_by_number: dict[int, Work] = {}
        self.inboxes: dict[int, tuple[trio.MemorySendChannel[Any], trio.MemoryReceiveChannel[Any]]] = {}
        self.busy: set[int] = set()
        self.truth: dict[int, Job] = {}
        self.mistakes = Mistakes()
        self.far: Away | None = None
        self.sound = True
        self.claimed_by = -math.inf
        self.alone: list[str] = []

    async def _keep_jobs(self, retention: Retention | None, *, task_status: trio.TaskStatus[None]) -> None:
        store: Any = self.far or "memory://"
        async with open_registry(
            store, handlers=[self._handler()], capacity=CAPACITY, window=4, retention=retention
        ) as self.jobs:
            task_status.started()
            await trio.sleep_forever()

    async def _start(self) -> None:
        self.serving = trio.CancelScope()
        self.stopped = trio.Event()
        await self.nursery.start(self._serve)

    async def _serve(self, *, task_status: trio.TaskStatus[Any]) -> None:  # noqa: ASYNC128  # passed on
        self.task = trio.lowlevel.current_task()
        with self.serving:
            await SERVE[self.door](
                self.jobs,
                port=PORT,
                authenticate=self._authenticate,
                limits=self.limits,
                grace=GRACE,
                task_status=task_status,
            )
        self.stopped.set()

    async def _authenticate(self, headers: Mapping[str, str]) -> Caller | None:
        await trio.lowlevel.checkpoint()
        who = headers.get("authorization", "").removeprefix("Bearer ")
        if who == "broken":
            raise LookupError("who is this?")
        return Caller(None if who == EVERYBODY else who) if who in CALLERS else None

    def _tasks(self) -> list[str]:
        """Return the tasks of the server."""
        return task_names(self.task)

    def _handler(self) -> Callable[..., Awaitable[str]]:
        async def act(job: JobContext[str], number: int) -> str:
            work = self.works_by_number[number]
            mine, sent = mark(work.owner), 0
            self.busy.discard(number)
            try:
                async for what, count, size in self.inboxes[number][1]:
                    self.busy.add(number)
                    if what == "tokens":
                        for _ in range(count):
                            await job.send(f"{mine} {number} {job.attempt}.{sent} " + "x" * (size // count))
                            sent += 1
                    elif what == "save":
                        await job.save({mine: "x" * size})
                    elif what == "progress":
                        await job.progress(1, 2, mine)
                    elif what == "fail":
                        raise ValueError(mine)
                    elif what == "end":
                        return str(mine + "x" * size)
                    self.busy.discard(number)
            except trio.Cancelled:
                with trio.CancelScope(shield=True):
                    await trio.sleep(work.slow)
                raise
            raise AssertionError("nobody closes it")

        marked: Callable[..., Awaitable[str]] = handler(inputs=str)(act)
        return marked
