"""arq on Redis. Its worker polls the queue, and its client the result."""

from __future__ import annotations

import sys
from typing import Any

from arq import create_pool, func  # pyright: ignore[reportMissingImports]  # in its own environment
from arq.connections import RedisSettings  # pyright: ignore[reportMissingImports]
from arq.constants import default_queue_name  # pyright: ignore[reportMissingImports]
from arq.worker import Worker  # pyright: ignore[reportMissingImports]

from .on_asyncio import AsyncioClient, run
from .protocol import POLL, Result, result_of, take_orders

role, address, at_once = sys.argv[1], sys.argv[2], int(sys.argv[3])


async def work(_context: Any, n: int) -> Result:
    return result_of(n)


class Client(AsyncioClient):
    def __init__(self, pool: Any) -> None:
        self.pool = pool

    async def submit(self, n: int) -> Any:
        return await self.pool.enqueue_job("work", n)

    async def unfinished(self) -> int:
        return int(await self.pool.zcard(default_queue_name))

    async def result(self, handle: Any) -> Result:
        return await handle.result(timeout=60, poll_delay=POLL)


async def main() -> None:
    settings = RedisSettings.from_dsn(address)
    if role == "worker":
        worker = Worker(
            [func(work, name="work")],
            redis_settings=settings,
            max_jobs=at_once,
            poll_delay=POLL,
            handle_signals=False,
            log_results=False,
        )
        await worker.async_run()
    else:
        pool = await create_pool(settings)
        await take_orders(Client(pool))
        await pool.aclose()


if __name__ == "__main__":
    run(main())
