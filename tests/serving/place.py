"""A server on a loopback port with handlers to attack, as either of the two kinds of server."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal
from urllib.parse import urlsplit

import attrs
import trio

import trio_jobs
from tests.serving.raw import Answer, Gone, Peer, dial, handshake, request
from trio_jobs.serving import Caller, Limits, serve_http, serve_websocket

Door = Literal["http", "websocket"]
DOORS: tuple[Door, ...] = ("http", "websocket")
SERVE: Mapping[Door, Callable[..., Awaitable[None]]] = {"http": serve_http, "websocket": serve_websocket}
PATHS: Mapping[Door, str] = {"http": "/v1/ws", "websocket": "/"}


@trio_jobs.handler(name="echo")
async def echo(job: trio_jobs.JobContext[Any], *values: str) -> str:
    """Send each value."""
    for value in values:
        await job.send(value)
    return "done"


@trio_jobs.handler(name="fail")
async def fail(job: trio_jobs.JobContext[Any], message: str) -> None:
    """Fail with a message."""
    raise ValueError(message)


@trio_jobs.handler(name="flood")
async def flood(job: trio_jobs.JobContext[Any], count: int, size: int) -> None:
    """Send so many tokens of such a size, without a pause."""
    for number in range(count):
        await job.send(f"{number} " + "x" * size)


@trio_jobs.handler(name="wait", inputs=Any)
async def wait(job: trio_jobs.JobContext[Any]) -> None:
    """Send one token and wait until cancelled; inputs stay in the box."""
    await job.send("ready")
    await trio.sleep_forever()


@trio_jobs.handler(name="run")
async def run(job: trio_jobs.JobContext[Any], size: int, turn: Any) -> None:
    """Send numbered tokens of such a size until cancelled, each once `turn` has returned for it."""
    for number in itertools.count():
        await turn(number)
        await job.send(f"{number} " + "x" * size)


@trio_jobs.handler(name="odd")
async def odd(job: trio_jobs.JobContext[Any], what: str) -> Any:
    """Return a value that JSON cannot hold."""
    return {"object": object(), "nul": "a\0b", "nan": math.nan}[what]


HANDLERS = (echo, fail, flood, wait, run, odd)

TOKENS = {"Bearer anna": Caller("anna"), "Bearer bert": Caller("bert"), "Bearer root": Caller(None)}


async def by_token(headers: Mapping[str, str]) -> Caller | None:
    """Authenticate three callers by their tokens: two owners, and one with all rights."""
    return TOKENS.get(headers.get("authorization", ""))


def bearer(who: str) -> dict[str, str]:
    """Return the header that identifies the caller."""
    return {"Authorization": f"Bearer {who}"}


@attrs.frozen
class Place:
    """A running server, and its registry."""

    door: Door
    url: str
    jobs: trio_jobs.JobRegistry
    nursery: trio.Nursery

    @property
    def path(self) -> str:
        """The path of the WebSocket."""
        return PATHS[self.door]

    @property
    def host(self) -> str:
        """The Host header of the own page."""
        return urlsplit(self.url).netloc

    @property
    def origin(self) -> str:
        """The Origin of its own page."""
        return f"http://{self.host}"

    async def dial(self, *, buffer: int | None = None, source: str | None = None) -> Peer:
        """Connect."""
        return await dial(self.url, buffer=buffer, source=source)

    async def http(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: object = None
    ) -> Answer:
        """Send a request over a connection of its own."""
        peer = await self.dial()
        async with peer.stream:
            data = None if body is None else json.dumps(body).encode()
            await peer.send(request(method, path, {"Host": self.host, **(headers or {})}, data))
            return await peer.answer(method)

    async def shake(self, headers: Mapping[str, str] | None = None) -> int:
        """Send a handshake, and return the status of the answer; 0 if the connection was closed."""
        peer = await self.dial()
        async with peer.stream:
            await peer.send(handshake(self.path, {"Host": self.host, **(headers or {})}))
            try:
                return (await peer.answer()).status
            except Gone:
                return 0

    @asynccontextmanager
    async def socket(
        self, headers: Mapping[str, str] | None = None, *, buffer: int | None = None
    ) -> AsyncGenerator[Peer]:
        """Open a WebSocket for the length of the block."""
        peer = await self.dial(buffer=buffer)
        async with peer.stream:
            await peer.send(handshake(self.path, {"Host": self.host, **(headers or {})}))
            answer = await peer.answer()
            assert answer.status == 101, answer
            yield peer

    async def submit(self, name: str, *args: object, **options: Any) -> trio_jobs.JobHandle[Any, Any]:
        """Submit a job of one of the handlers here, past the server."""
        submit: Any = self.jobs.submit
        handle: trio_jobs.JobHandle[Any, Any] = await submit(self.jobs.handlers[name], *args, **options)
        return handle

    async def serves(self) -> None:
        """Check that a new client is served."""
        if self.door == "http":
            assert (await self.http("GET", "/healthz")).status == 200
        async with self.socket() as peer:
            assert await peer.ask("ping") == {"re": 1, "pong": True}


@asynccontextmanager
async def place(
    door: Door,
    *,
    limits: Limits | None = None,
    grace: float = 0.5,
    capacity: int = 100,
    retention: trio_jobs.Retention | None = None,
    store: str = "memory://",
    **options: Any,
) -> AsyncGenerator[Place]:
    """Serve jobs, in memory unless told otherwise, at a port of the system's choice, inside the block."""
    async with (
        trio_jobs.open_registry(store, handlers=HANDLERS, capacity=capacity, retention=retention) as jobs,
        trio.open_nursery() as nursery,
    ):
        serve = partial(SERVE[door], jobs, port=0, limits=limits or Limits(), grace=grace, **options)
        urls: list[str] = await nursery.start(serve)
        yield Place(door, urls[0], jobs, nursery)
        nursery.cancel_scope.cancel()
