"""What the peers on asyncio share: several tasks at once, and uvloop, which they all profit from."""

from __future__ import annotations

import asyncio  # noqa: TID251  # what these peers run on
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop  # pyright: ignore[reportMissingImports]  # in the peers' environments

from .protocol import Client


class AsyncioClient(Client):
    async def each(self, count: int, at_once: int, do: Callable[[int], Awaitable[Any]]) -> list[Any]:
        done: list[Any] = [None] * count
        turns = iter(range(count))

        async def take_turns() -> None:
            for n in turns:
                done[n] = await do(n)

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(take_turns())
        return done

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run(main: Awaitable[None]) -> None:
    uvloop.run(main)
