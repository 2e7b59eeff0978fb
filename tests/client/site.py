"""A server on loopback, with handlers that a test controls, and that never wait for time to pass."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Literal

import trio
from trio_websocket import WebSocketConnection, wrap_server_stream

import trio_jobs
from tests.wire import PROTOCOL
from trio_jobs import JobContext, JobRegistry, Limit
from trio_jobs.serving import serve_http, serve_websocket

Kind = Literal["http", "websocket"]
Peer = Callable[[trio.SocketStream], Awaitable[None]]
PERMITS: dict[str, trio.MemoryReceiveChannel[Any]] = {}


@trio_jobs.handler
async def count(job: JobContext[int], n: int) -> int:
    """Send the numbers below n."""
    await job.send_many(range(n))
    return n


@trio_jobs.handler
async def permitted(job: JobContext[Any], name: str) -> str:
    """Send the values that it is given, one by one, and return when there is no more."""
    async for value in PERMITS[name]:
        await job.send(value)
    return "done"


@trio_jobs.handler
async def fail(job: JobContext[str], text: str) -> None:
    """Send one value and fail."""
    await job.send("one")
    raise ValueError(text)


@trio_jobs.handler
async def forever(job: JobContext[str]) -> None:
    """Send one value and wait."""
    await job.send("begun")
    await trio.sleep_forever()


@trio_jobs.handler
async def stubborn(job: JobContext[str]) -> None:
    """Do not stop before its permit ends."""
    await job.send("begun")
    with trio.CancelScope(shield=True):
        async for _ in PERMITS["stubborn"]:
            pass


@trio_jobs.handler(retry=trio_jobs.Retry(attempts=3, initial=0, jitter=0))
async def flaky(job: JobContext[str]) -> str:
    """Fail twice after a value, and then complete; record how far it is."""
    await job.progress(job.attempt, 3, "trying")
    await job.send(f"try {job.attempt}")
    await job.save(job.attempt)
    if job.attempt < 3:
        raise OSError("again")
    return "at last"


@trio_jobs.handler(limits=[Limit(at_once=1, waiting=1, keyed=True)])
async def alone(job: JobContext[str]) -> None:
    """Wait, one job for each key at a time."""
    await trio.sleep_forever()


HANDLERS: list[Any] = [count, permitted, fail, forever, stubborn, flaky, alone]


def permits(name: str, most: int = 1000) -> trio.MemorySendChannel[Any]:
    """Return the values that the handler `permitted` of that name is given."""
    send, PERMITS[name] = trio.open_memory_channel[Any](most)
    return send


@asynccontextmanager
async def site(
    kind: Kind = "http", *, registry: dict[str, Any] | None = None, **options: Any
) -> AsyncGenerator[tuple[JobRegistry, str]]:
    """Yield a registry with the handlers above, and the URL of the server of its jobs."""
    opened: dict[str, Any] = {"handlers": HANDLERS, **(registry or {})}
    async with (
        trio_jobs.open_registry(**opened) as jobs,
        trio.open_nursery() as nursery,
    ):
        server: Any = serve_http if kind == "http" else serve_websocket
        given = {"port": 0, "grace": 1.0, "tracebacks": True, **options}
        (url, *_) = await nursery.start(partial(server, jobs, **given))
        with trio.fail_after(30):  # noqa: ASYNC100  # no test waits for it; a hung one ends by it
            yield jobs, url
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def listening(peer: Peer) -> AsyncGenerator[str]:
    """Yield a listener that is no server of ours."""
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, peer, 0, host="127.0.0.1"))
        yield f"ws://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def websocket(talk: Callable[[WebSocketConnection], Awaitable[None]]) -> AsyncGenerator[str]:
    """Yield a WebSocket server on which a test does what it likes."""

    async def peer(stream: trio.SocketStream) -> None:
        with suppress(BaseExceptionGroup):
            async with trio.open_nursery() as nursery:
                request = await wrap_server_stream(nursery, stream)
                await talk(await request.accept(subprotocol=PROTOCOL))
                nursery.cancel_scope.cancel()

    async with listening(peer) as url:
        yield url
