"""huey on SQLite: WAL, every commit synced, results kept.

huey's tasks are plain functions, which is the cheapest there is. Its workers are threads that poll.
"""

from __future__ import annotations

import asyncio  # noqa: TID251  # drives the orders; huey itself is synchronous
import sys
from typing import Any

from huey import SqliteHuey  # pyright: ignore[reportMissingImports]  # in its own environment

from .on_asyncio import AsyncioClient
from .protocol import POLL, Result, result_of, take_orders

role, address, at_once = sys.argv[1], sys.argv[2], int(sys.argv[3])
huey = SqliteHuey(filename=address, fsync=True)


@huey.task()
def work(n: int) -> Result:
    return result_of(n)


class Client(AsyncioClient):
    submitted = 0

    async def submit(self, n: int) -> Any:
        self.submitted += 1
        return work(n)

    async def unfinished(self) -> int:
        return self.submitted - int(huey.storage.result_store_size())

    async def result(self, handle: Any) -> Result:
        self.submitted -= 1  # reading a result removes it
        return handle.get(blocking=True, timeout=60, backoff=1, max_delay=POLL)


if role == "worker":
    # One worker is for low load, where it is to poll often. Many that did would only get in each other's way.
    delay = POLL if at_once == 1 else 0.1
    huey.create_consumer(
        workers=at_once, initial_delay=delay, max_delay=delay, backoff=1, periodic=False
    ).run()
else:
    asyncio.run(take_orders(Client()))
