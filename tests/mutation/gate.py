"""Run mutants on their tests, those that most likely kill first."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.mutation.forks import Finder, Fork, Verdict, load, start
from tests.mutation.mutants import Mutant


class Found(NamedTuple):
    """The result of a mutant."""

    mutant: Mutant
    verdict: Verdict


class TestsFailed(Exception):
    """The tests of a file fail without a mutant, so their failures prove nothing."""


def tried(
    chosen: Sequence[Mutant], tests: Sequence[str], root: Path, jobs: int = 1, spare: float = 3.0
) -> Iterator[Found]:
    """Try mutants of a file on its tests, and give what becomes of each.

    Args:
        chosen: The mutants.
        tests: The tests, as pytest takes them, seen from `root`, where this process is.
        root: Where the files are.
        jobs: How many run at once.
        spare: Seconds of processor time, besides six times what the tests take, until a run hangs.

    Raises:
        TestsFailed: The tests fail on the file as it is.
    """
    ((_, plain),) = _each([lambda: start(tests, [], None, 300)], 1)
    if plain.killed is not None:
        raise TestsFailed(f"{' '.join(tests)}: {plain.killed}\n{plain.output}")
    load(plain.modules)
    order, limit = plain.slowest_last, spare + 6 * plain.seconds

    def started(mutant: Mutant) -> Callable[[], Fork]:
        return lambda: start(tests, order, _finder(mutant, root), limit)

    for place, verdict in _each(map(started, chosen), jobs):
        if verdict.killed in order:
            order.remove(verdict.killed)
            order.insert(0, verdict.killed)
        yield Found(chosen[place], verdict)


def _finder(mutant: Mutant, root: Path) -> Finder:
    path = root / mutant.key.file
    name = mutant.key.file.removesuffix(".py").replace("/", ".")
    with warnings.catch_warnings(action="ignore"):
        return Finder(name, path, compile(mutant.source, str(path), "exec", dont_inherit=True))


def _each(starts: Iterable[Callable[[], Fork]], jobs: int) -> Iterator[tuple[int, Verdict]]:
    """Run forks, so many at once, and yield the result of each as it ends."""
    running: dict[int, tuple[int, Fork]] = {}
    waiting = enumerate(starts)
    while True:
        while len(running) < jobs and (one := next(waiting, None)) is not None:
            place, begin = one
            fork = begin()
            running[fork.pid] = place, fork
        if not running:
            return
        pid, status, used = os.wait3(0)
        place, fork = running.pop(pid)
        yield place, fork.ended(status, used)
