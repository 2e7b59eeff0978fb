"""How fast jobs are submitted, and how fast they are run."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import attrs
import trio

from benchmarks.inprocess import Row, ratio
from trio_jobs import JobRegistry, open_registry

from . import parts
from .checks import AT_ONCE, OURS, Figures, Scale, against_best, in_turn, medians, must_be
from .libraries import PEERS, Library
from .peers.ours import work
from .peers.protocol import Result, result_of
from .programs import Program

PARTS, TWO = "the parts' limit", f"{OURS}, 2 processes"


def named(libraries: Sequence[Library]) -> dict[str, Library]:
    """Return libraries by the names under which they are shown when two processes run them."""
    return {TWO if library.name == "ours" else library.name: library for library in libraries}


# ---------------------------------------------------------------- in two processes, everybody


@attrs.frozen
class Speed:
    """Jobs per second: run from end to end, and submitted while nothing runs them."""

    run: float
    submit: float | None = None


def settled(client: Program, jobs: int, library: Library) -> Mapping[str, Any]:
    answer = client.ask({"do": "settle"})
    must_be(f"right results of {library.name}", answer["right"], jobs)
    return answer


def speed_of(library: Library, jobs: int, at_once: int) -> Speed:
    """Measure a library with a client process and a worker process.

    Its jobs per second are the better of two figures: from the first start to the last result of jobs that
    were queued before, and from the first submit to the last result with a worker that waits for work. Which
    of them it is depends on how well the two processes get along.
    """
    order = {"do": "submit", "jobs": jobs, "at_once": at_once}
    with library.store() as address, library.program("client", address, at_once) as client:
        submitting = client.ask(order)["seconds"]
        with library.program("worker", address, at_once):
            queued = settled(client, jobs, library)
            client.ask(order)
            live = settled(client, jobs, library)
    draining = queued["settled"] - queued["first"]
    living = live["settled"] - live["began"]
    return Speed(jobs / min(draining, living), jobs / submitting)


# ---------------------------------------------------------------- in one process, and the parts


@contextmanager
def empty_file() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder) / "jobs.db"


async def at_once_do(at_once: int, jobs: int, one: Callable[[int], Any]) -> float:
    """Do as many jobs, each awaited to its end, and return the seconds it took."""
    turns = iter(range(jobs))

    async def client() -> None:
        for n in turns:
            await one(n)

    began = perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(client)
    return perf_counter() - began


async def by_ours(path: Path, jobs: int, at_once: int) -> float:
    """Submit and run in one process, which is all that a small program needs."""
    results: list[Result] = []

    async def one(registry: JobRegistry, n: int) -> None:
        handle = await registry.submit(work, n)
        results.append(await handle.result())

    async with open_registry(f"sqlite:///{path}", handlers=[work], capacity=at_once) as registry:
        seconds = await at_once_do(at_once, jobs, partial(one, registry))
    must_be("results", sorted(n for n, _ in results), list(range(jobs)))
    return seconds


async def by_parts(path: Path, jobs: int, at_once: int) -> float:
    async with parts.open_group(path) as group:
        seconds = await at_once_do(at_once, jobs, partial(parts.one_job, group, result_of))
    must_be("jobs in the file", parts.count_completed(path), jobs)
    return seconds


def in_one_process(by: Callable[[Path, int, int], Any], jobs: int, at_once: int) -> Speed:
    gc.collect()
    with empty_file() as path:
        seconds: float = trio.run(by, path, jobs, at_once)
    return Speed(jobs / seconds)


# ---------------------------------------------------------------- the rows


@attrs.frozen
class Speeds:
    """What was measured with so many at once, by library, round by round."""

    at_once: int
    submit: Figures
    run: Figures


def measure(scale: Scale, libraries: Sequence[Library], at_once: int) -> Speeds:
    """Measure everybody in turn, ours and the limit in each round as well."""
    jobs = scale.jobs_at(at_once)
    versions = {
        OURS: partial(in_one_process, by_ours, jobs, at_once),
        PARTS: partial(in_one_process, by_parts, jobs, at_once),
        **{name: partial(speed_of, library, jobs, at_once) for name, library in named(libraries).items()},
    }
    done = in_turn(scale.rounds, versions, PEERS)
    return Speeds(
        at_once,
        {
            OURS if name == TWO else name: [speed.submit for speed in rounds if speed.submit is not None]
            for name, rounds in done.items()
            if name not in {OURS, PARTS}
        },
        {name: [speed.run for speed in rounds] for name, rounds in done.items()},
    )


def only_libraries(run: Figures) -> Figures:
    return {name: figures for name, figures in run.items() if name != PARTS}


def rows(scale: Scale, libraries: Sequence[Library]) -> Iterator[Row]:
    measured = []
    for at_once in AT_ONCE:
        speeds = measure(scale, libraries, at_once)
        measured.append(speeds)
        checks = against_best(speeds.submit)
        yield Row("submit", f"submit, {at_once} at once", "jobs/s", medians(speeds.submit), checks)
        targets = (0.5, 0.25) if at_once == max(AT_ONCE) else (None, None)
        limit = ratio("/ the parts' limit", speeds.run[OURS], speeds.run[PARTS], *targets, at_most=False)
        checks = [limit, *against_best(only_libraries(speeds.run))]
        yield Row("run", f"end to end, {at_once} at once", "jobs/s", medians(speeds.run), checks)
    yield best_row(measured)


def best_row(measured: Sequence[Speeds]) -> Row:
    """Compare everybody at what suits them best."""
    best: Figures = {}
    for speeds in measured:
        for name, figures in only_libraries(speeds.run).items():
            if name not in best or median(figures) > median(best[name]):
                best[name] = figures
    checks = []
    if "huey" in best:
        checks.append(ratio("/ huey", best[OURS], best["huey"], 5, 2.5, at_most=False))
        checks.append(ratio("in 2 processes / huey", best[TWO], best["huey"]))
    checks += against_best(best)
    return Row("run", "end to end, as many at once as suits each best", "jobs/s", medians(best), checks)
