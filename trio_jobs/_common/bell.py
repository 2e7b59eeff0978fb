"""A bell: tasks wait for it, and everyone who waits wakes when it rings.

`trio.lowlevel.ParkingLot` can do this and much more; waking a task through it takes five times as
long, and tokens wake a task each.
"""

from __future__ import annotations

import trio


class Bell:
    """Wakes all the tasks that wait. Ringing it when nobody waits does nothing."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: dict[trio.lowlevel.Task, None] = {}

    async def wait(self) -> None:
        """Wait for the next ring. A checkpoint."""
        task = trio.lowlevel.current_task()
        self._tasks[task] = None

        def abort(_: object) -> trio.lowlevel.Abort:
            del self._tasks[task]
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def ring(self) -> None:
        """Wake all who wait, in the order in which they came."""
        if self._tasks:
            for task in self._tasks:  # in another thread the first one raises, and nobody is lost
                trio.lowlevel.reschedule(task)
            self._tasks = {}
