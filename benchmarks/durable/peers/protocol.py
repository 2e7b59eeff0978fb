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
from time import monotonic
from typing import Any

Result = list[Any]
"""What `work(n)` returns: n, and when it started."""

POLL = 0.01
"""Seconds between two looks, at low load, of what can only poll: worker and client."""


def now() -> float:
    """Return seconds on a clock that all processes share."""
    return monotonic()


def result_of(n: int) -> Result:
    return [n, now()]


class Client(ABC):
    """How one library is driven. `handles` are whatever it calls what `submit` returned."""

    @abstractmethod
    async def submit_all(self, jobs: int, at_once: int) -> list[Any]:
        """Submit work(0) to work(jobs - 1) one by one, from `at_once` tasks; return the handles in order."""

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
        await client.sleep(0.005)
    settled = now()
    results = [await client.result(handle) for handle in handles]
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


async def take_orders(client: Client) -> None:
    """Do what the lines of the standard input say, until it ends."""
    handles: list[Any] = []
    began = 0.0
    for line in sys.stdin:
        order = json.loads(line)
        match order["do"]:
            case "submit":
                began = now()
                handles = await client.submit_all(order["jobs"], order["at_once"])
                answer: dict[str, Any] = {"seconds": now() - began}
            case "settle":
                answer = {"began": began, **await settle(client, handles)}
            case "latency":
                answer = await latency(client, order["jobs"])
            case other:
                raise ValueError(f"no such order: {other!r}")
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
