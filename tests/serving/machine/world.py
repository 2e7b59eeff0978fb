"""The environment of a server: a store that is sometimes unavailable, and a log that is checked."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from trio_jobs import StoreUnavailable
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.testing import Connection

T = TypeVar("T")


class Away(Connection):
    """A store that is sometimes unavailable: a call meanwhile takes effect or not."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.is_away = False
        self.does_it = False
        self._sends = 0

    async def call(self, name: str, verb: Callable[[], Awaitable[T]]) -> T:
        """See `Connection.call`."""
        if not self.is_away:
            if name == "send":
                self._sends += 1
                for _ in range(
                    5 * (self._sends % 3)
                ):  # the first that comes need not be the first that is done
                    await trio.lowlevel.checkpoint()
            return await super().call(name, verb)
        if self.does_it:
            await super().call(name, verb)
        raise StoreUnavailable("it is away for a moment")

    async def wait(self, name: str, verb: Callable[[], Awaitable[T]]) -> T:
        """See `Connection.wait`."""
        if self.is_away:
            await trio.lowlevel.checkpoint()
            raise StoreUnavailable("it is away for a moment")
        return await super().wait(name, verb)


class Mistakes(logging.Handler):
    """Keeps the records that the server logs as its own errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record, unless it is about `authenticate`."""
        text = logging.Formatter().format(record)
        if "authenticate failed" not in text:
            self.found.append(text)
