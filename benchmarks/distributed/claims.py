"""What a claim and a submit cost while many jobs wait, and how much room a job takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import trio

from benchmarks.durable.checks import Figures, medians
from benchmarks.durable.growth import STEP, fill, time_claims, time_submits
from benchmarks.durable.peers.ours import work
from benchmarks.inprocess import Row, ratio
from trio_jobs.stores.postgres import open_postgres

from .libraries import OURS, Library
from .servers import Server
from .speed import Scale
from .tokens import SIZE

MICROSECONDS = 1e6


async def measure(server: Server, address: str, sizes: Sequence[int], rounds: int) -> tuple[Figures, Figures]:
    """Return microseconds of a submit and of a claim, each of one job, with so many jobs queued."""
    submits, claims = dict[str, list[float]](), dict[str, list[float]]()
    there = 0
    async with open_postgres(address, handlers=[work], queue_limit=max(sizes) + STEP) as store:
        for size in sizes:
            await fill(store, size - there)
            there = size
            server.run("VACUUM (ANALYZE)", address)
            name = f"{size:,} queued"
            for turn in range(rounds + 1):
                submitting, claiming = await time_submits(store), await time_claims(store)
                if turn:  # the first is to warm up
                    submits.setdefault(name, []).append(submitting / STEP * MICROSECONDS)
                    claims.setdefault(name, []).append(claiming / STEP * MICROSECONDS)
    return submits, claims


def rows(scale: Scale, server: Server, _: Sequence[Library]) -> Iterator[Row]:
    with OURS.on(server) as place:
        submits, claims = trio.run(measure, server, place.address, scale.queued, scale.rounds)
        size = server.ask(place.address, SIZE) / (max(scale.queued) or 1)
    fewest, most = (f"{end(scale.queued):,} queued" for end in (min, max))
    for what, figures in (("submit", submits), ("claim", claims)):
        checks = [ratio("most / fewest", figures[most], figures[fewest], 1.5, 3)]
        yield Row("queue", f"a {what}, one after the other", "µs", medians(figures), checks)
    yield Row("queue", "room for a job that waits", "bytes", {"trio_jobs": size})
