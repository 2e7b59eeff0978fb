"""taskiq on a Redis stream: results kept, acknowledged when they are saved, so that a crash loses no job."""

from __future__ import annotations

import sys
from typing import Any

from redis.asyncio import Redis  # pyright: ignore[reportMissingImports]  # in its own environment
from taskiq.acks import AcknowledgeType  # pyright: ignore[reportMissingImports]
from taskiq.api import run_receiver_task  # pyright: ignore[reportMissingImports]
from taskiq_redis import (  # pyright: ignore[reportMissingImports]
    RedisAsyncResultBackend,
    RedisStreamBroker,
)

from .on_asyncio import AsyncioClient, run
from .protocol import POLL, Result, result_of, take_orders

role, address, at_once = sys.argv[1], sys.argv[2], int(sys.argv[3])
results = RedisAsyncResultBackend(address, result_ex_time=3600)
broker = RedisStreamBroker(address, consumer_id="0").with_result_backend(results)


@broker.task(task_name="work")
async def work(n: int) -> Result:
    return result_of(n)


class Client(AsyncioClient):
    redis = Redis(connection_pool=broker.connection_pool)

    async def submit(self, n: int) -> Any:
        return await work.kiq(n)

    async def unfinished(self) -> int:
        """Return how many were not yet acknowledged, which is done when the result is saved."""
        (group,) = await self.redis.xinfo_groups(broker.queue_name)
        return int(group["lag"] + group["pending"])

    async def result(self, handle: Any) -> Result:
        result = await handle.wait_result(check_interval=POLL, timeout=60)
        result.raise_for_error()
        return result.return_value


async def main() -> None:
    if role == "worker":
        await run_receiver_task(
            broker,
            run_startup=True,
            max_async_tasks=at_once,
            max_prefetch=at_once,
            ack_time=AcknowledgeType.WHEN_SAVED,
        )
    else:
        await broker.startup()
        await take_orders(Client())
        await broker.shutdown()


if __name__ == "__main__":
    run(main())
