"""PgQueuer on asyncpg, its tables durable. It keeps no results, and its client is told of a job's end."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import asyncpg  # pyright: ignore[reportMissingImports]  # in its own environment
from pgqueuer import PgQueuer  # pyright: ignore[reportMissingImports]
from pgqueuer.core.completion import CompletionWatcher  # pyright: ignore[reportMissingImports]
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver  # pyright: ignore[reportMissingImports]
from pgqueuer.queries import Queries  # pyright: ignore[reportMissingImports]

from benchmarks.durable.peers.on_asyncio import AsyncioClient, run

from .protocol import POLL, Client, Marks, Result, take_orders

role, address, at_once, marks = sys.argv[1], sys.argv[2], int(sys.argv[3]), Marks(sys.argv[4])


class Queuer(AsyncioClient, Client):
    def __init__(self, queries: Any, watcher: Any) -> None:
        self.queries, self.watcher = queries, watcher

    async def submit(self, n: int) -> Any:
        marks.clear(n)
        (job,) = await self.queries.enqueue("work", str(n).encode())
        return n, job

    async def submit_many(self, numbers: range) -> list[Any] | None:
        for n in numbers:
            marks.clear(n)
        count = len(numbers)
        ids = await self.queries.enqueue(["work"] * count, [str(n).encode() for n in numbers], [0] * count)
        return list(zip(numbers, ids, strict=True))

    async def unfinished(self) -> int:
        return sum(one.count for one in await self.queries.queue_size())

    async def result(self, handle: Any) -> Result:
        n, job = handle
        status = await self.watcher.wait_for(job)
        assert status == "successful", status
        return marks.result(n)


async def work_for_ever() -> None:
    async with asyncpg.create_pool(address, min_size=4, max_size=10) as pool:
        pgq = PgQueuer(AsyncpgPoolDriver(pool))

        @pgq.entrypoint("work")
        async def work(job: Any) -> None:
            marks.started(int(job.payload))

        await pgq.run(batch_size=max(1, at_once // 2), max_concurrent_tasks=max(2, at_once))


async def main() -> None:
    if role == "worker":
        await work_for_ever()
    elif role == "client":
        async with AsyncExitStack() as stack:
            pool = await stack.enter_async_context(asyncpg.create_pool(address, min_size=4, max_size=10))
            driver = AsyncpgDriver(await asyncpg.connect(address))
            queries = Queries(AsyncpgPoolDriver(pool))
            debounce = timedelta(seconds=POLL)
            watcher = await stack.enter_async_context(
                CompletionWatcher(driver, queries=Queries(driver), debounce=debounce)
            )
            await take_orders(Queuer(queries, watcher))
    else:
        await Queries(AsyncpgDriver(await asyncpg.connect(address))).install()


if __name__ == "__main__":
    run(main())
