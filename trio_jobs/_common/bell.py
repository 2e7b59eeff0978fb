"""Wake all tasks that wait for something.

`trio.lowlevel.ParkingLot` can do this and much more, but takes five times as long to wake a task, and each
token wakes one.
"""

from __future__ import annotations

import trio


class Bell:
    """Wakes all the tasks that wait for it. To ring it does nothing if no task waits."""

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
        """Wake all tasks that wait, in the order in which they began to."""
        if self._tasks:
            for task in self._tasks:  # in another thread the first one raises, and no task is lost
                trio.lowlevel.reschedule(task)
            self._tasks = {}
