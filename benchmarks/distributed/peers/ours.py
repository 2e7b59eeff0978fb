"""trio_jobs on PostgreSQL, as the peers are driven."""

from __future__ import annotations

import sys
from typing import Any

import trio

from benchmarks.durable.peers import ours
from benchmarks.durable.peers.ours import work
from trio_jobs import open_registry

from .protocol import Client, take_orders


class Ours(ours.Client, Client):
    async def submit_many(self, numbers: range) -> list[Any] | None:
        return [*await self.jobs.submit_many(work, [(n,) for n in numbers])]


async def main(role: str, address: str, at_once: int) -> None:
    capacity = at_once if role == "worker" else 0
    async with open_registry(address, handlers=[work], capacity=capacity) as jobs:
        if role == "worker":
            await trio.sleep_forever()
        elif role == "client":
            await take_orders(Ours(jobs))


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
