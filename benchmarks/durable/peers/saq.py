"""SAQ on Redis."""

from __future__ import annotations

import sys
from typing import Any

from saq import Queue, Worker  # pyright: ignore[reportMissingImports]  # in its own environment

from .on_asyncio import AsyncioClient, run
from .protocol import Result, result_of, take_orders

role, address, at_once = sys.argv[1], sys.argv[2], int(sys.argv[3])


async def work(_context: Any, *, n: int) -> Result:
    return result_of(n)


class Client(AsyncioClient):
    def __init__(self, queue: Any) -> None:
        self.queue = queue

    async def submit(self, n: int) -> Any:
        return await self.queue.enqueue("work", n=n)

    async def unfinished(self) -> int:
        return int(await self.queue.count("incomplete"))

    async def result(self, handle: Any) -> Result:
        await handle.refresh(until_complete=60)
        return handle.result


async def main() -> None:
    queue = Queue.from_url(address, max_concurrent_ops=100)
    if role == "worker":
        # A worker sweeps when it starts, unless that was done lately, and takes for stuck, and aborts, what
        # it has just begun. So it is done now, for an hour, while nothing runs.
        await queue.sweep(3600)
        await Worker(queue, [("work", work)], concurrency=at_once).start()
    else:
        await queue.connect()
        await take_orders(Client(queue))
        await queue.disconnect()


if __name__ == "__main__":
    run(main())
