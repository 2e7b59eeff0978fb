"""Requests keep no memory, answered or not, and a connection keeps no more than is stated."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import TypeAlias

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.serving.machine.network import Network
from tests.serving.raw import TEXT, frame, handshake, request
from trio_jobs import open_registry
from trio_jobs.serving import Limits, serve_http

PORT, BUFFER = 8000, 4608
FEW, MANY = 40, 160
EACH = 64 * 1024
"""Bytes for a connection: its tasks, and the head that it may have sent."""
ALL = 128 * 1024
"""Bytes that may come and go, however many requests there are."""

Way: TypeAlias = Callable[[Network, AsyncExitStack, int], Awaitable[None]]


async def answered(network: Network, stack: AsyncExitStack, count: int) -> None:
    """Send requests over one connection, and read the answers."""
    stream = await stack.enter_async_context(network.connect(PORT, "10.0.0.1", None))
    for _ in range(count):
        await stream.send_all(request("GET", "/v1/jobs?state=failed"))
        await stream.receive_some()


async def unread(network: Network, stack: AsyncExitStack, count: int) -> None:
    """Send requests over one WebSocket, and read no answer."""
    stream = await stack.enter_async_context(network.connect(PORT, "10.0.0.1", BUFFER))
    await stream.send_all(handshake("/v1/ws"))
    await stream.receive_some()
    for number in range(1, count + 1):
        await stream.send_all(frame(TEXT, b'{"op":"handlers","id":%d}' % number))
        await wait_all_tasks_blocked()


async def half_heads(network: Network, stack: AsyncExitStack, count: int) -> None:
    """Connect, and send most of a head."""
    for number in range(count):
        stream = await stack.enter_async_context(network.connect(PORT, f"10.0.0.{number}", None))
        await stream.send_all(request("GET", "/", {"Cookie": "a" * 15_000})[:-2])
        await wait_all_tasks_blocked()


async def silent(network: Network, stack: AsyncExitStack, count: int) -> None:
    """Open WebSockets, and send nothing."""
    for number in range(count):
        stream = await stack.enter_async_context(network.connect(PORT, f"10.0.0.{number}", None))
        await stream.send_all(handshake("/v1/ws"))
        await stream.receive_some()


async def _peak(way: Way, count: int) -> int:
    """Return the most that was allocated in the block, and not before."""
    network = Network()
    trio.socket.set_custom_socket_factory(network)
    async with open_registry() as jobs, trio.open_nursery() as nursery:
        serve = partial(serve_http, jobs, port=PORT, limits=Limits(header=1000.0), page=False, grace=0.0)
        await nursery.start(serve)
        async with AsyncExitStack() as warm:
            await way(network, warm, 4)
        await trio.sleep(2)
        gc.collect()
        tracemalloc.start()
        try:
            async with AsyncExitStack() as stack:
                await way(network, stack, count)
                found = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        nursery.cancel_scope.cancel()
    return found


@pytest.mark.parametrize(
    ("way", "most"),
    [(answered, 0), (unread, 0), (half_heads, EACH), (silent, EACH)],
    ids=["answered", "unread", "half heads", "silent"],
)
def test_memory_is_bounded(way: Way, most: int) -> None:
    """Four times the requests need no more; four times the connections what each may need."""
    few, many = (trio.run(_peak, way, count, clock=MockClock(autojump_threshold=0)) for count in (FEW, MANY))
    assert many - few <= ALL + most * (MANY - FEW), (few, many)
