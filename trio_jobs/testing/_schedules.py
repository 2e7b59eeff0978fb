"""Every order in which Trio may run the tasks of a function, each once."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from trio.testing import MockClock

from ._course import Course
from ._guest import GuestRun
from ._seeded import Unshuffled, deciding


class _Orders(Unshuffled):
    """Stands in for Trio's dice, and comes to each order of what is ready once."""

    def __init__(self, steps: int | None) -> None:
        super().__init__()
        self._steps = steps
        self._path: list[tuple[int, int]] = []  # what was chosen, of how many
        self._at = self._taken = 0
        self.diverged = False
        self.on = False

    def shuffle(self, x: Any) -> None:
        """Put a list of tasks into the next order; Trio runs the last one first."""
        super().shuffle(x)
        if not self.on or len(x) < 2 or self._taken == self._steps:
            return
        self._taken += 1
        for last in range(len(x) - 1, 0, -1):
            other = last - self._choose(last + 1)
            x[last], x[other] = x[other], x[last]

    def _choose(self, among: int) -> int:
        if self._at == len(self._path):
            self._path.append((0, among))
        chosen, before = self._path[self._at]
        self.diverged = self.diverged or before != among
        self._at += 1
        return chosen

    def turn(self) -> bool:
        """Go to the next way through all choices; return whether there is one."""
        self._at = self._taken = 0
        while self._path:
            chosen, among = self._path.pop()
            if chosen + 1 < among:
                self._path.append((chosen + 1, among))
                return True
        return False

    async def ordering(self, fn: Callable[[], Awaitable[object]]) -> None:
        self.on = True
        try:
            await fn()
        finally:
            self.on = False


def all_schedules(
    async_fn: Callable[..., Awaitable[object]], *args: Any, limit: int = 10_000, steps: int | None = None
) -> int:
    """Run a function in virtual time under every schedule that Trio may take, each once.

    Whenever several tasks are ready, Trio takes them in any order: `n` tasks that take `k` steps beside each
    other have n! ** k schedules. It is for what is small; `TrioMachine` draws schedules for what is not.

    Args:
        async_fn: What to run. It is to take the same course under the same schedule.
        *args: Its arguments.
        limit: The most schedules that there may be.
        steps: If given, only at so many moments all orders are tried, and one order at all later ones.

    Returns:
        How many schedules there were.

    Raises:
        RuntimeError: There are more than `limit`, or the function depends on more than the schedule.
        AssertionError: Under some schedule it hangs or spins.
        BaseException: What `async_fn` raised under some schedule. A note says which tasks ran, in order.
    """
    name = getattr(async_fn, "__name__", repr(async_fn))
    orders, count = _Orders(steps), 0
    with deciding(orders):
        while True:
            count += 1
            clock = MockClock(autojump_threshold=0)
            course = Course(
                GuestRun(clock, owner="all_schedules", rule_time_limit=3600.0, real_time_limit=10.0)
            )
            try:
                with course.step(None):
                    course.call(name, functools.partial(orders.ordering, functools.partial(async_fn, *args)))
            except Exception as error:
                error.add_note(f"It was so under schedule {count}.")
                raise
            finally:
                course.guest.end()
            if orders.diverged:
                raise RuntimeError(f"{name} took another course under the same schedule")
            if not orders.turn():
                return count
            if count == limit:
                raise RuntimeError(f"{name} has more than {limit} schedules: give `steps`, or a higher limit")
