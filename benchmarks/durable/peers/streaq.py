"""streaQ on Redis, on Trio."""

from __future__ import annotations

import sys
from typing import Any

import trio
from streaq import Worker  # pyright: ignore[reportMissingImports]  # in its own environment

from .on_trio import TrioClient
from .protocol import Result, result_of, take_orders

role, address, at_once = sys.argv[1], sys.argv[2], int(sys.argv[3])
worker = Worker(address, concurrency=at_once, anyio_backend="trio")


@worker.task
async def work(n: int) -> Result:
    return result_of(n)


class Client(TrioClient):
    async def submit(self, n: int) -> Any:
        return await work.enqueue(n)

    async def unfinished(self) -> int:
        return int(await worker.queue_size())

    async def result(self, handle: Any) -> Result:
        answer = await handle.result(timeout=60)
        assert answer.success
        return answer.result


async def order() -> None:
    async with worker:
        await take_orders(Client())


if __name__ == "__main__":
    if role == "worker":
        worker.run_sync()
    else:
        trio.run(order)
