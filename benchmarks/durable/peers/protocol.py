"""What the benchmark asks of every library: a worker process, and a client process that takes orders.

Each library runs in an environment of its own, so this file uses nothing but the standard library. The client
reads an order per line, does it, and writes an answer per line, both as JSON:

    {"do": "submit", "jobs": 5000, "at_once": 10}  ->  {"seconds": 1.2}   nobody waits for results
    {"do": "settle"}                               ->  the work of all jobs submitted since the last `settle`
    {"do": "latency", "jobs": 100}                 ->  the times of single jobs, one after the other

Every job is `work(n)`, a no-op that returns `[n, now()]`: that each result has its own n shows that the work
was done, once, and the time tells when it started.
"""

from __future__ import annotations

import json
import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

Result = list[Any]
"""What `work(n)` returns: n, and when it started."""

Batches = Callable[[int, int], Awaitable[list[Any] | None]]

POLL = 0.01
"""Seconds between two looks, at low load, of what can only poll: worker and client."""

READERS = 50  # some wait a while even for a result that is there


def now() -> float:
    """Return seconds on a clock that all processes share."""
    return monotonic()


def result_of(n: int) -> Result:
    return [n, now()]


class Client(ABC):
    """How one library is driven. `handles` are whatever it calls what `submit` returned.

    Attributes:
        look: Seconds between two looks whether all jobs have ended.
    """

    look = 0.005

    @abstractmethod
    async def each(self, count: int, at_once: int, do: Callable[[int], Awaitable[Any]]) -> list[Any]:
        """Do something for each number below `count`, from `at_once` tasks; return the results in order."""

    @abstractmethod
    async def submit(self, n: int) -> Any: ...

    @abstractmethod
    async def unfinished(self) -> int:
        """Return how many jobs have no result yet, by one look into the store."""

    @abstractmethod
    async def result(self, handle: Any) -> Result:
        """Wait for the result of a job, as the library's documentation says."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None: ...


async def settle(client: Client, handles: list[Any]) -> dict[str, Any]:
    """Wait until every job has its result, then read and compare them all."""
    while await client.unfinished():
        await client.sleep(client.look)
    settled = now()
    results = await client.each(len(handles), READERS, lambda n: client.result(handles[n]))
    return {
        "settled": settled,
        "first": min(started for _, started in results),
        "right": sum(n == expected for expected, (n, _) in enumerate(results)),
    }


async def latency(client: Client, jobs: int) -> dict[str, Any]:
    """Submit jobs one after the other, with pauses that no rhythm of polling can fall in with."""
    pauses = random.Random(1)  # noqa: S311  # nothing secret
    started, ended, right = list[float](), list[float](), 0
    for n in range(jobs):
        began = now()
        result = await client.result(await client.submit(n))
        ended.append(now() - began)
        started.append(result[1] - began)
        right += result[0] == n
        await client.sleep(pauses.uniform(0.005, 0.025))
    return {"started": started, "ended": ended, "right": right}


async def take_orders(client: Client, batches: Batches | None = None) -> None:
    """Do what the lines of the standard input say, until it ends.

    Args:
        client: Drives the library.
        batches: Does the order `batches`, where there is one: it submits that many jobs, so many in one call,
            and returns their handles, or None if the library has no such call.
    """
    handles: list[Any] = []
    began = 0.0
    for line in sys.stdin:
        order = json.loads(line)
        match order["do"]:
            case "submit":
                began = now()
                handles = await client.each(order["jobs"], order["at_once"], client.submit)
                answer: dict[str, Any] = {"seconds": now() - began}
            case "batches" if batches is not None:
                began = now()
                found = await batches(order["jobs"], order["size"])
                answer = {"seconds": None if found is None else now() - began}
                handles = found or []
            case "settle":
                answer = {"began": began, **await settle(client, handles)}
            case "latency":
                answer = await latency(client, order["jobs"])
            case other:
                raise ValueError(f"no such order: {other!r}")
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
