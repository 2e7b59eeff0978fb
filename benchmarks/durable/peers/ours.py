"""trio_jobs, with its jobs in an SQLite file that survives the loss of power, as the peers are driven."""

from __future__ import annotations

import sys
from typing import Any

import trio

from trio_jobs import JobContext, JobRegistry, State, open_registry

from .on_trio import TrioClient
from .protocol import Result, result_of, take_orders

UNFINISHED = [state for state in State if not state.over]


async def work(_job: JobContext[int], n: int) -> Result:
    return result_of(n)


class Client(TrioClient):
    def __init__(self, jobs: JobRegistry) -> None:
        self.jobs = jobs

    async def submit(self, n: int) -> Any:
        return await self.jobs.submit(work, n)

    async def unfinished(self) -> int:
        return await self.jobs.count(state=UNFINISHED)

    async def result(self, handle: Any) -> Result:
        result: Result = await handle.result()
        return result


async def main(role: str, address: str, at_once: int) -> None:
    capacity = at_once if role == "worker" else 0
    async with open_registry(f"sqlite:///{address}", handlers=[work], capacity=capacity) as jobs:
        if role == "worker":
            await trio.sleep_forever()
        await take_orders(Client(jobs))


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
