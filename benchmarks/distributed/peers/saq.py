"""SAQ on PostgreSQL: results kept. Results are polled for, and no call submits many."""

from __future__ import annotations

import sys
from typing import Any

from saq import Queue, Worker  # pyright: ignore[reportMissingImports]  # in its own environment
from saq.job import TERMINAL_STATUSES  # pyright: ignore[reportMissingImports]

from benchmarks.durable.peers.on_asyncio import AsyncioClient, run

from .protocol import POLL, Client, Result, result_of, take_orders

role, address, at_once = sys.argv[1], sys.argv[2], int(sys.argv[3])


async def work(_context: Any, *, n: int) -> Result:
    return result_of(n)


class Saq(AsyncioClient, Client):
    def __init__(self, queue: Any) -> None:
        self.queue = queue

    async def submit(self, n: int) -> Any:
        return await self.queue.enqueue("work", n=n, ttl=3600)

    async def submit_many(self, numbers: range) -> list[Any] | None:  # noqa: ARG002  # the protocol's
        return None

    async def unfinished(self) -> int:
        return int(await self.queue.count("incomplete"))

    async def result(self, handle: Any) -> Result:
        await self.queue.listen([handle.key], lambda _, status: status in TERMINAL_STATUSES, 60, POLL)
        await handle.refresh()
        return handle.result


async def main() -> None:
    queue = Queue.from_url(address)
    await queue.connect()
    if role == "worker":
        await Worker(queue, [("work", work)], concurrency=at_once).start()
    elif role == "client":
        await take_orders(Saq(queue))
    await queue.disconnect()


if __name__ == "__main__":
    run(main())
