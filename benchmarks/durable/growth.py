"""What many jobs in the file cost the others: the ones that wait, and those that ended long ago."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import trio

from benchmarks.inprocess import Row, ratio
from trio_jobs import open_registry
from trio_jobs._common.states import State, Transition
from trio_jobs.stores.contract import Claim, Claimant, Outcome, Store, Submission, Where
from trio_jobs.stores.sqlite import open_sqlite
from trio_jobs.stores.submission import submission

from .checks import Figures, Scale, medians, must_be
from .peers.ours import work

STEP = 200
BATCH = 5000
WORKER = Claimant("benchmark")


def new(count: int) -> list[Submission]:
    return [submission(work, (n,), {}) for n in range(count)]


async def fill(store: Store, jobs: int) -> None:
    for first in range(0, jobs, BATCH):
        await store.submit(new(min(BATCH, jobs - first)), 0, WORKER)


async def finish(store: Store, claims: Sequence[Claim]) -> None:
    """Finish all at once, so that they share commits."""
    async with trio.open_nursery() as nursery:
        for claim in claims:
            outcome = Outcome(Transition.COMPLETED)
            nursery.start_soon(store.finish, claim.submission.id, claim.attempt, outcome)


async def fill_with_finished(path: Path, jobs: int) -> None:
    async with open_sqlite(path, handlers=[work], synchronous="normal") as store:
        for first in range(0, jobs, BATCH):
            batch = new(min(BATCH, jobs - first))
            _, claims = await store.submit(batch, len(batch), WORKER)
            await finish(store, claims)
        counts = await store.count(Where())
    must_be("finished jobs", dict(counts), {State.COMPLETED: jobs})


# ---------------------------------------------------------------- jobs that wait


async def time_submits(store: Store) -> float:
    batch = new(STEP)
    began = perf_counter()
    for one in batch:
        await store.submit([one], 0, WORKER)
    return perf_counter() - began


async def time_claims(store: Store) -> float:
    """Claim as many as were submitted, one by one, and so restore the queue's length."""
    claims: list[Claim] = []
    began = perf_counter()
    for _ in range(STEP):
        claims += await store.claim(1, WORKER)
    seconds = perf_counter() - began
    must_be("claimed jobs", len({claim.submission.id for claim in claims}), STEP)
    await finish(store, claims)
    return seconds


async def time_queues(sizes: Sequence[int], rounds: int) -> tuple[Figures, Figures]:
    """Keep a file with each number of jobs waiting, and time submits and claims in each in turn.

    Without waiting for the disk at each commit, which would hide what the rest of it costs.
    """
    submits: Figures = {f"{size:,} queued": [] for size in sizes}
    claims: Figures = {name: [] for name in submits}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        stores: dict[str, Store] = {}
        for name, size in zip(submits, sizes, strict=True):
            block = open_sqlite(
                folder / f"{size}.db", handlers=[work], synchronous="normal", queue_limit=size + STEP
            )
            stores[name] = await stack.enter_async_context(block)
            await fill(stores[name], size)
        for turn in range(rounds + 1):
            for name, store in stores.items():
                gc.collect()
                submitting, claiming = await time_submits(store), await time_claims(store)
                if turn:  # the first is to warm up
                    submits[name].append(submitting / STEP * 1e6)
                    claims[name].append(claiming / STEP * 1e6)
        for name, size in zip(submits, sizes, strict=True):
            waiting = (await stores[name].count(Where())).get(State.QUEUED)
            must_be("jobs that wait", waiting, size)
    return submits, claims


# ---------------------------------------------------------------- jobs that ended


async def time_opening(path: Path) -> tuple[float, float]:
    """Return the seconds until a registry is open, and until it has run a job."""
    began = perf_counter()
    async with open_registry(f"sqlite:///{path}", handlers=[work]) as jobs:
        opened = perf_counter() - began
        handle = await jobs.submit(work, 1)
        n, _ = await handle.result()
        ran = perf_counter() - began
    must_be("the first result", n, 1)
    return opened, ran


async def time_openings(jobs: int, rounds: int) -> tuple[Figures, Figures]:
    opened: Figures = {"empty": [], f"{jobs:,} finished": []}
    ran: Figures = {name: [] for name in opened}
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / "empty.db", Path(folder) / "full.db"]
        for path, count in zip(paths, (0, jobs), strict=True):
            await fill_with_finished(path, count) if count else await time_opening(path)
        for _ in range(rounds + 1):
            for name, path in zip(opened, paths, strict=True):
                gc.collect()
                opening, running = await time_opening(path)
                opened[name].append(opening * 1e3)
                ran[name].append(running * 1e3)
    return opened, ran


# ---------------------------------------------------------------- the rows


def rows(scale: Scale) -> Iterator[Row]:
    rounds = 3 * scale.rounds
    for what, figures in zip(("submit", "claim"), trio.run(time_queues, scale.queued, rounds), strict=True):
        few, *_, many = figures.values()
        check = ratio("most / fewest", many, few, 1.2, 2.0)
        yield Row("queue", f"{what}, while others wait", "µs a job", medians(figures), [check])
    for what, figures in zip(
        ("open a file", "and run a first job"),
        trio.run(time_openings, scale.finished, rounds),
        strict=True,
    ):
        empty, full = figures.values()
        yield Row("opening", what, "ms", medians(figures), [ratio("full / empty", full, empty)])
