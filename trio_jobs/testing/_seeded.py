"""A Trio run whose every choice follows from a seed."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import trio
from trio.testing import MockClock

T = TypeVar("T")
_TRIO: Final[dict[str, Any]] = trio._core._run.__dict__  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
_SWITCH: Final = "_ALLOW_DETERMINISTIC_SCHEDULING"
_DICE: Final = "_r"


class Unshuffled(random.Random):
    """Stands in for Trio's dice, and lets the oldest of the tasks that are ready go first."""

    def shuffle(self, x: Any) -> None:
        """Put a list of tasks into that order; Trio runs the last one first."""
        x.reverse()


@contextmanager
def deciding(dice: random.Random) -> Generator[None]:
    """Let Trio take its order of tasks from these dice for the length of a block.

    Trio starts tasks that are ready in a random order, unless its own switch says that the order is to
    follow from its generator. Neither has a public name, so their absence is an error here and not silence.

    Raises:
        RuntimeError: This version of Trio has no such switch.
    """
    if _SWITCH not in _TRIO or _DICE not in _TRIO:
        raise RuntimeError(
            f"Trio {trio.__version__} cannot be made to schedule by a seed as earlier versions could; "
            "use a version that trio_jobs.testing was tested with, such as 0.32"
        )
    before = _TRIO[_SWITCH], _TRIO[_DICE]
    _TRIO[_SWITCH], _TRIO[_DICE] = True, dice
    try:
        yield
    finally:
        _TRIO[_SWITCH], _TRIO[_DICE] = before


def run_seeded(async_fn: Callable[[], Awaitable[T]], seed: int) -> T:
    """Run `async_fn` in virtual time; Trio's scheduler and `random` follow from `seed` meanwhile.

    Raises:
        RuntimeError: This version of Trio cannot be seeded.
    """
    state = random.getstate()
    with deciding(random.Random(seed)):
        random.seed(seed)
        try:
            return trio.run(async_fn, clock=MockClock(autojump_threshold=0))
        finally:
            random.setstate(state)
