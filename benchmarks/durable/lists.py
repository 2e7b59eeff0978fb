"""Lists in a large file: `python -m benchmarks.durable.lists [jobs]`.

It says how long a page takes with each filter, what a submit of an owner with a limit costs beside one on an
empty file, and what claims cost beside ten searches at once.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import apsw
import attrs
import trio

from trio_jobs import State
from trio_jobs.stores import Claimant, Store, Where
from trio_jobs.stores.sqlite import open_sqlite
from trio_jobs.testing.checks.kit import make, work

FILL = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
INSERT INTO trio_jobs_job (
    id, handler, args, options, priority, owner, state, attempts, created, due, finished
)
SELECT printf('%032x', i), 'work', '[]', '{"tags":{"user":"' || (i % 1000) || '"}}', 2, 'owner' || (i % 1000),
    iif(i % 100, 'completed', 'failed'), 1, i, i, i FROM n
"""
FILTERS = {
    "none": Where(),
    "state": Where(frozenset({State.FAILED})),
    "owner": Where(owner="owner7"),
    "tag": Where(tags={"user": "7"}),
    "handler": Where(handler="work"),
    "owner and tag": Where(owner="owner7", tags={"user": "7"}),
}
WORKER = Claimant("worker", 60.0)


async def timed(what: Callable[[], Awaitable[object]], times: int) -> list[float]:
    """Return how many milliseconds each of some calls took."""
    took = list[float]()
    for _ in range(times):
        began = perf_counter()
        await what()
        took.append((perf_counter() - began) * 1000)
    return took


async def submits(store: Store) -> float:
    """Return how long a submit of an owner with a limit takes."""
    return median(
        await timed(lambda: store.submit([attrs.evolve(make(owner="owner7"), room=10**6)], 0, WORKER), 300)
    )


async def claims(store: Store) -> float:
    """Return the 99th percentile of claims."""
    return quantiles(await timed(lambda: store.claim(1, WORKER), 300), n=100)[98]


async def main(jobs: int) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        full, empty = Path(folder) / "full.db", Path(folder) / "empty.db"
        async with open_sqlite(full, handlers=[work]):
            pass
        db = apsw.Connection(str(full))
        db.execute(FILL, (jobs,))
        db.execute(
            "INSERT INTO trio_jobs_tag SELECT number, 'user', (number % 1000) || '' FROM trio_jobs_job"
        )
        db.close()
        async with open_sqlite(full, handlers=[work]) as store, open_sqlite(empty, handlers=[work]) as other:
            for name, where in FILTERS.items():
                await store.find(where, 100)
                took = await timed(lambda where=where: store.find(where, 100, newest=True), 50)  # type: ignore[misc]
                print(f"page by {name}: {median(took):.2f} ms")
            before, after = await submits(other), await submits(store)
            print(f"submit of an owner: {after:.2f} ms, {after / before:.2f} of an empty file")
            alone = await claims(store)
            async with trio.open_nursery() as nursery:

                async def search() -> None:
                    while True:
                        await store.find(FILTERS["owner and tag"], 100)

                for _ in range(10):
                    nursery.start_soon(search)
                beside = await claims(store)
                nursery.cancel_scope.cancel()
            print(f"p99 of claims: {alone:.2f} ms; beside ten searches {beside / alone:.2f} of that")


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
