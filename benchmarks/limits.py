"""What a claim costs while jobs wait behind keys without a place: `python -m benchmarks.limits`.

A thousand keys run as many jobs as they may, and 100,000 more wait behind them. A claim finds nothing then,
and costs at most twice as much as in an empty queue, in memory and in a file.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import attrs
import trio

from trio_jobs import Limit
from trio_jobs.stores import Claimant, Submission
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.stores.sqlite import open_sqlite
from trio_jobs.testing.checks import kit

KEYS, JOBS, CLAIMS, ROUNDS, MOST = 1000, 100_000, 200, 5, 2.0
WORKER = Claimant("w")


def _new(number: int) -> Submission:
    new = kit.make()
    return attrs.evolve(new, options=attrs.evolve(new.options, limit_key=str(number % KEYS)))


async def _cost(store: Any) -> float:
    """Return the microseconds of a claim that finds nothing, of the best round."""
    rounds = list[float]()
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CLAIMS):
            await store.claim(10, WORKER)
        rounds.append((time.perf_counter() - began) / CLAIMS)
    return min(rounds) * 1e6


async def _ratio(name: str, store: Any) -> float:
    await store.limit(kit.work.__name__, {"each": Limit(at_once=1, keyed=True)})
    empty = await _cost(store)
    for first in range(0, KEYS + JOBS, KEYS):
        await store.submit([_new(number) for number in range(first, first + KEYS)], 0, WORKER)
    while await store.claim(KEYS, WORKER):
        pass
    full = await _cost(store)
    print(f"{name}: {empty:.0f} µs in an empty queue, {full:.0f} µs behind {KEYS} keys: {full / empty:.2f}x")
    return full / empty


async def _main() -> int:
    ratios = [await _ratio("memory", MemoryStore(queue_limit=2 * JOBS))]
    with tempfile.TemporaryDirectory() as folder:
        async with open_sqlite(Path(folder) / "jobs.db", handlers=[kit.work], synchronous="normal") as store:
            ratios.append(await _ratio("file", store))
    return int(max(ratios) > MOST)


if __name__ == "__main__":
    sys.exit(trio.run(_main))
