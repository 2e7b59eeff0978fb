"""How fast jobs are submitted and run, and how long one takes at low load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any

import attrs

from benchmarks.durable.checks import Figures, against_best, in_turn, medians, must_be, percentile
from benchmarks.durable.programs import Program
from benchmarks.inprocess import Check, Row, ratio

from .libraries import OURS, PEERS, Library
from .servers import Server

NAME = "trio_jobs"
WORKERS = (1, 2, 4)
AT_ONCE = 100
WARM = 5
PATIENCE = 600.0
MS = 1000


@attrs.frozen
class Scale:
    """How much is measured.

    Attributes:
        jobs: Of trio_jobs; each peer gets what it does in about as many seconds.
        batch: How many are submitted in one call.
        singles: Jobs at low load.
        tokens: For each way to send them.
        queued: How many jobs wait while claims are timed.
        rounds: How often everything is measured, in turn.
    """

    jobs: int = 40_000
    batch: int = 100
    singles: int = 200
    tokens: int = 100_000
    queued: Sequence[int] = (0, 1000, 100_000, 1_000_000)
    rounds: int = 3

    def jobs_of(self, library: Library) -> int:
        return max(self.batch, self.jobs if library is OURS else self.jobs // SLOWER[library.name])


SLOWER = {"procrastinate": 20, "pgqueuer": 5, "saq": 15, "dbos": 20}
Measured = Mapping[str, list[float | None]]


def named(libraries: Sequence[Library]) -> dict[str, Library]:
    return {NAME if library is OURS else library.name: library for library in libraries}


def settled(client: Program, jobs: int, library: Library) -> Mapping[str, Any]:
    answer = client.ask({"do": "settle"}, PATIENCE)
    must_be(f"right results of {library.name}", answer["right"], jobs)
    return answer


# ---------------------------------------------------------------- submits


def submit_speed(server: Server, library: Library, order: Mapping[str, Any]) -> float | None:
    """Return jobs per second that are accepted while nothing runs; None if the library has no such call."""
    with library.on(server) as place, place.programs("client", AT_ONCE) as (client,):
        client.ask({**order, "jobs": AT_ONCE}, PATIENCE)  # to warm up
        seconds = client.ask(order, PATIENCE)["seconds"]
        return None if seconds is None else order["jobs"] / seconds


def submit_rows(scale: Scale, server: Server, libraries: Sequence[Library]) -> Iterator[Row]:
    for name, part, order in (
        ("submit, one after the other", 10, {"do": "submit", "at_once": 1}),
        (f"submit, from {AT_ONCE} tasks", 1, {"do": "submit", "at_once": AT_ONCE}),
        (f"submit, in batches of {scale.batch}", 1, {"do": "batches", "size": scale.batch}),
    ):
        done = in_turn(
            scale.rounds,
            {
                known: partial(
                    submit_speed, server, one, {**order, "jobs": max(scale.batch, scale.jobs_of(one) // part)}
                )
                for known, one in named(libraries).items()
            },
            PEERS,
        )
        figures = without_missing(done)
        yield Row("submit", name, "jobs/s", medians(figures), against_each(figures))


def without_missing(done: Measured) -> Figures:
    figures = {name: [one for one in found if one is not None] for name, found in done.items()}
    return {name: found for name, found in figures.items() if found}


def against_each(figures: Figures, targets: Mapping[str, float] | None = None) -> list[Check]:
    """Compare ours with each peer; with a target where there is one."""
    checks = []
    for name, found in figures.items():
        if name != NAME:
            target = (targets or {}).get(name)
            checks.append(ratio(f"/ {name}", figures[NAME], found, target, target, at_most=False))
    return checks


# ---------------------------------------------------------------- from end to end


def run_speed(server: Server, library: Library, jobs: int, batch: int, workers: int) -> float:
    """Return jobs per second: the better of two figures.

    One is from the first start to the last end of jobs that were queued before the workers started, the other
    from the first submit, in batches if the library has them, to the last end, with workers that wait.
    """
    one_by_one = {"do": "submit", "jobs": jobs, "at_once": AT_ONCE}
    batches = {"do": "batches", "jobs": jobs, "size": batch}
    with library.on(server) as place, place.programs("client", AT_ONCE) as (client,):
        if client.ask(batches, PATIENCE)["seconds"] is None:
            client.ask(one_by_one, PATIENCE)
        with place.programs("worker", AT_ONCE, workers):
            queued = settled(client, jobs, library)
            if client.ask(batches, PATIENCE)["seconds"] is None:
                client.ask(one_by_one, PATIENCE)
            live = settled(client, jobs, library)
    spans = queued["settled"] - queued["first"], live["settled"] - live["began"]
    return float(jobs / min(spans))


def run_rows(scale: Scale, server: Server, libraries: Sequence[Library]) -> Iterator[Row]:
    targets = {"procrastinate": 20.0, "saq": 10.0, "dbos": 2.0}
    for workers in WORKERS:
        done = in_turn(
            scale.rounds,
            {
                name: partial(run_speed, server, one, scale.jobs_of(one), scale.batch, workers)
                for name, one in named(libraries).items()
            },
            PEERS,
        )
        own = sorted(done[NAME])
        checks = against_each(done, targets)
        if workers == 1:
            checks.append(Check("jobs/s", median(own), own[0], own[-1], 8000, 8000, at_most=False))
        many = f"{workers} worker process{'es' if workers > 1 else ''} with {AT_ONCE} at once"
        yield Row("run", f"end to end, {many}", "jobs/s", medians(done), checks)


# ---------------------------------------------------------------- at low load


def latencies(server: Server, library: Library, singles: int) -> Mapping[str, Any]:
    with library.on(server) as place, place.programs("client", 1) as (client,), place.programs("worker", 1):
        client.ask({"do": "latency", "jobs": WARM}, PATIENCE)
        times = client.ask({"do": "latency", "jobs": singles}, PATIENCE)
    must_be(f"right results of {library.name}", times["right"], singles)
    return times


def latency_rows(scale: Scale, server: Server, libraries: Sequence[Library]) -> Iterator[Row]:
    versions = {
        name: partial(latencies, server, one, scale.singles) for name, one in named(libraries).items()
    }
    done = in_turn(scale.rounds, versions, PEERS)
    for what, key in (("submit to started", "started"), ("submit to result", "ended")):
        for part in (0.5, 0.99):
            figures = {
                name: [percentile(one[key], part) * MS for one in found] for name, found in done.items()
            }
            checks = against_best(figures, at_most=True)
            yield Row("latency", f"{what}, p{part * 100:.0f}", "ms", medians(figures), checks)
