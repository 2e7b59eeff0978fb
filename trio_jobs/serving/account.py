"""Accounts of the bytes of answers that are made and not sent yet: one of each connection, within one of all.

A request waits for room before it is carried out. So a peer that asks and does not read costs no more than
its account. Requests get room in the order in which they ask.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import trio

from .._common.bell import Bell


class Account:
    """An account of bytes.

    Args:
        most: How many there may be at once. One answer that is larger waits until it is alone.
        within: An account that they count in too.

    Attributes:
        used: How many there are.
    """

    def __init__(self, most: int, within: Account | None = None) -> None:
        self.used = 0
        self._most = most
        self._within = within
        self._turn = trio.Lock()
        self._freed = Bell()

    @asynccontextmanager
    async def room(self, size: int) -> AsyncGenerator[Callable[[int], None]]:
        """Hold room for an answer for the length of a block, after waiting for it.

        The block is given a function to call with the size of the answer, once that is made: room that the
        answer does not need is free then.

        Args:
            size: As many bytes as the answer may have.
        """
        await self.take(size)
        held = size

        def resize(actual: int) -> None:
            nonlocal held
            self.changed(actual - held)
            held = actual

        try:
            yield resize
        finally:
            resize(0)

    async def take(self, size: int) -> None:
        """Count bytes in, after waiting for room; a checkpoint only if it waits."""
        if self._turn.locked() or self._is_full(size):
            async with self._turn:  # behind the requests that came before
                while self._is_full(size):
                    await self._freed.wait()
                self.used += size
        else:
            self.used += size
        if self._within is not None:
            try:
                await self._within.take(size)
            except BaseException:
                self.used -= size
                self._freed.ring()
                raise

    def _is_full(self, size: int) -> bool:
        return self.used > 0 and self.used + size > self._most

    def changed(self, by: int) -> None:
        """Count bytes in, or out."""
        self.used += by
        if by < 0:
            self._freed.ring()
        if self._within is not None:
            self._within.changed(by)
