"""What the peers on asyncio share: submitting from several tasks, and uvloop, which they all profit from."""

from __future__ import annotations

import asyncio  # noqa: TID251  # what these peers run on
from collections.abc import Awaitable, Iterator
from typing import Any

import uvloop  # pyright: ignore[reportMissingImports]  # in the peers' environments

from .protocol import Client


class AsyncioClient(Client):
    async def submit_all(self, jobs: int, at_once: int) -> list[Any]:
        handles: list[Any] = [None] * jobs
        turns = iter(range(jobs))

        async def submitter(turns: Iterator[int]) -> None:
            for n in turns:
                handles[n] = await self.submit(n)

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(submitter(turns))
        return handles

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run(main: Awaitable[None]) -> None:
    uvloop.run(main)
