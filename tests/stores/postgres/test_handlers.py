"""Handlers on a database whose server goes away for a moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from tests.postgres import Server
from trio_jobs import JobContext, handler, open_registry


async def test_a_handler_outlives_a_restart(own_server: Callable[..., Server]) -> None:
    """A job that asks for its child while there is no server, and waits for it, fails by neither."""
    server = own_server()
    spawns, stopped, asks, goes_on = (trio.Event() for _ in range(4))

    @handler(name="child")
    async def child(job: JobContext[Any]) -> int:
        await goes_on.wait()
        return 7

    @handler(name="parent")
    async def parent(job: JobContext[Any]) -> int:
        spawned = await job.spawn(child)
        spawns.set()
        await stopped.wait()
        asks.set()
        await spawned.snapshot()
        goes_on.set()
        return await spawned.result()

    async with open_registry(server.url(), handlers=[parent, child], lease=60.0) as jobs:
        job = await jobs.submit(parent)
        await spawns.wait()
        await trio.to_thread.run_sync(server.stop)
        stopped.set()
        await asks.wait()
        await trio.to_thread.run_sync(server.start)
        with trio.fail_after(30):
            assert await (await jobs.get(job.id)).result() == 7
            assert (await job.snapshot()).attempt == 1
