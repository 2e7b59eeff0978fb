"""What the libraries on Trio share: submitting from several tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import trio

from .protocol import Client


class TrioClient(Client):
    async def submit_all(self, jobs: int, at_once: int) -> list[Any]:
        handles: list[Any] = [None] * jobs
        turns = iter(range(jobs))

        async def submitter(turns: Iterator[int]) -> None:
            for n in turns:
                handles[n] = await self.submit(n)

        async with trio.open_nursery() as nursery:
            for _ in range(at_once):
                nursery.start_soon(submitter, turns)
        return handles

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)
