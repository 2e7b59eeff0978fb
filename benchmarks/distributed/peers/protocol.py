"""What the benchmark asks of each library: worker processes, and a client process that takes orders.

As in `benchmarks/durable/peers/protocol.py`, with one order more:

    {"do": "batches", "jobs": 5000, "size": 100}  ->  {"seconds": 0.4}   or null: it has no batches

Some peers keep no results. That their work was done, once, is seen in a file that all processes map: a worker
writes there when each job started. That costs a microsecond, and is to these peers' advantage.
"""

from __future__ import annotations

import mmap
from abc import abstractmethod
from functools import partial
from pathlib import Path
from struct import Struct
from typing import Any

from benchmarks.durable.peers import protocol
from benchmarks.durable.peers.protocol import POLL, Result, now, result_of

__all__ = ["POLL", "Client", "Marks", "Result", "result_of", "take_orders"]

MOST_JOBS = 2_000_000


class Marks:
    """When each job started, for all processes to read."""

    _one = Struct("d")

    def __init__(self, path: str) -> None:
        with Path(path).open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), MOST_JOBS * self._one.size)

    def clear(self, n: int) -> None:
        self._one.pack_into(self._map, n * self._one.size, 0.0)

    def started(self, n: int) -> None:
        """Note that a job starts now; one that starts a second time counts as wrong."""
        place = n * self._one.size
        again = self._one.unpack_from(self._map, place)[0] != 0.0
        self._one.pack_into(self._map, place, -1.0 if again else now())

    def result(self, n: int) -> Result:
        (at,) = self._one.unpack_from(self._map, n * self._one.size)
        return [n if at > 0.0 else -1, at]


class Client(protocol.Client):
    look = 0.02

    @abstractmethod
    async def submit_many(self, numbers: range) -> list[Any] | None:
        """Submit a job for each number, all in one call; return what stands for them, or None: it cannot."""


async def in_batches(client: Client, jobs: int, size: int) -> list[Any] | None:
    handles: list[Any] = []
    for first in range(0, jobs, size):
        some = await client.submit_many(range(first, min(first + size, jobs)))
        if some is None:
            return None
        handles += some
    return handles


async def take_orders(client: Client) -> None:
    """Do what the lines of the standard input say, until it ends."""
    await protocol.take_orders(client, partial(in_batches, client))
