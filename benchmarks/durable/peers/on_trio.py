"""What the libraries on Trio share: several tasks at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from .protocol import Client


class TrioClient(Client):
    async def each(self, count: int, at_once: int, do: Callable[[int], Awaitable[Any]]) -> list[Any]:
        done: list[Any] = [None] * count
        turns = iter(range(count))

        async def take_turns() -> None:
            for n in turns:
                done[n] = await do(n)

        async with trio.open_nursery() as nursery:
            for _ in range(at_once):
                nursery.start_soon(take_turns)
        return done

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)
