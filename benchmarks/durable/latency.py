"""How long one job takes at low load: from its submit to its start, and to its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import trio

from benchmarks.inprocess import Check, Row
from trio_jobs import open_registry

from .checks import OURS, Figures, Scale, against_best, in_turn, medians, must_be, percentile
from .libraries import PEERS, Library
from .peers.ours import Client, work
from .peers.protocol import latency
from .speed import TWO, empty_file, named

WARM = 5
MS = 1000


@attrs.define
class Latencies:
    """Milliseconds by library and round: the median and the 99th percentile."""

    p50: Figures = attrs.field(factory=dict)
    p99: Figures = attrs.field(factory=dict)

    def add(self, name: str, seconds: Sequence[float]) -> None:
        self.p50.setdefault(name, []).append(percentile(seconds, 0.5) * MS)
        self.p99.setdefault(name, []).append(percentile(seconds, 0.99) * MS)


def checked(name: str, singles: int, times: Mapping[str, Any]) -> Mapping[str, Any]:
    must_be(f"right results of {name}", times["right"], singles)
    return times


async def in_one_process(singles: int) -> Mapping[str, Any]:
    with empty_file() as path:
        async with open_registry(f"sqlite:///{path}", handlers=[work]) as jobs:
            await latency(Client(jobs), WARM)
            return checked(OURS, singles, await latency(Client(jobs), singles))


def in_two_processes(library: Library, singles: int) -> Mapping[str, Any]:
    with (
        library.store() as address,
        library.program("client", address, 1) as client,
        library.program("worker", address, 1),
    ):
        client.ask({"do": "latency", "jobs": WARM})
        return checked(library.name, singles, client.ask({"do": "latency", "jobs": singles}))


def rows(scale: Scale, libraries: Sequence[Library]) -> Iterator[Row]:
    versions: dict[str, Callable[[], Mapping[str, Any]]] = {
        OURS: partial(trio.run, in_one_process, scale.singles),
    }
    for name, library in named(libraries).items():
        versions[name] = partial(in_two_processes, library, scale.singles)
    started, ended = Latencies(), Latencies()
    for name, rounds in in_turn(scale.rounds, versions, PEERS).items():
        for times in rounds:
            started.add(name, times["started"])
            ended.add(name, times["ended"])
    yield from row_pair("submit to started", started, (3, 10))
    yield from row_pair("submit to result", ended, (None, None))


def row_pair(what: str, times: Latencies, targets: tuple[float, float] | tuple[None, None]) -> Iterator[Row]:
    """Yield the row of the medians, where the target is for one process, and that of the slowest."""
    for part, figures in (("p50", times.p50), ("p99", times.p99)):
        checks = []
        if part == "p50":
            own = sorted(figures[OURS])
            checks.append(Check("p50", own[len(own) // 2], own[0], own[-1], *targets))
        checks += against_best(figures, at_most=True)
        if TWO in figures:
            checks += [
                attrs.evolve(check, name=f"in 2 processes {check.name}")
                for check in against_best(figures, TWO, at_most=True)
            ]
        yield Row("latency", f"{what}, {part}", "ms", medians(figures), checks)
