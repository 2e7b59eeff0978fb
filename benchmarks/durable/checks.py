"""Ratios and targets, in the words of `inprocess.py`, and the check that work was really done."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import median
from typing import TypeVar

import attrs

from benchmarks.inprocess import Check, ratio

from .programs import ProgramFailed

T = TypeVar("T")

OURS = "trio_jobs"


class WrongResult(Exception):
    """The work that was measured was not done, or not as it should be."""


def must_be(what: str, found: object, expected: object) -> None:
    """Refuse to report a speed of something that did not happen.

    Raises:
        WrongResult: It did not.
    """
    if found != expected:
        raise WrongResult(f"{what}: {found!r}, and not {expected!r}")


@attrs.frozen
class Scale:
    """How much is measured.

    Attributes:
        jobs: For each speed; a tenth of it when they run one at a time.
        singles: Jobs at low load.
        tokens: For each way to send them.
        queued: How many jobs wait while claims are timed.
        finished: How many jobs a file holds whose opening is timed.
        rounds: How often everything is measured, in turn.
    """

    jobs: int = 5000
    singles: int = 200
    tokens: int = 100_000
    queued: Sequence[int] = (1000, 100_000)
    finished: int = 20_000
    rounds: int = 3

    def jobs_at(self, at_once: int) -> int:
        return self.jobs if at_once > 1 else max(1, self.jobs // 10)


AT_ONCE = (1, 10, 100)
Figures = dict[str, list[float]]
"""What was measured of each library, round by round."""


def in_turn(
    rounds: int, versions: Mapping[str, Callable[[], T]], peers: Collection[str]
) -> dict[str, list[T]]:
    """Measure everybody in each round. A peer that fails is left out, and the reason is printed."""
    done: dict[str, list[T]] = {name: [] for name in versions}
    for _ in range(rounds):
        for name in list(done):
            try:
                done[name].append(versions[name]())
            except (ProgramFailed, WrongResult) as fault:
                if name not in peers:
                    raise
                print(f"\n{name} is left out here: {fault}")
                del done[name]
    return done


def medians(figures: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: median(rounds) for name, rounds in figures.items()}


def against_best(
    figures: Mapping[str, Sequence[float]], whose: str = OURS, *, at_most: bool = False
) -> list[Check]:
    """Compare with the best peer, if there was one; for reference."""
    peers = {name: value for name, value in medians(figures).items() if not name.startswith(OURS)}
    if not peers:
        return []
    best = min(peers, key=peers.__getitem__) if at_most else max(peers, key=peers.__getitem__)
    return [ratio(f"/ {best}, the best peer", figures[whose], figures[best], at_most=at_most)]


def percentile(values: Sequence[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]
