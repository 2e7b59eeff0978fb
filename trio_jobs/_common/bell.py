"""Wake all tasks that wait for something.

`trio.lowlevel.ParkingLot` can do this and much more, but takes five times as long to wake a task, and each
token wakes one.
"""

from __future__ import annotations

import trio

_CLOSED = "the store is closed: its registry was left"


class Bell:
    """Wakes all the tasks that wait for it. To ring it does nothing if no task waits."""

    __slots__ = ("_closed", "_tasks")

    def __init__(self) -> None:
        self._closed = False
        self._tasks: dict[trio.lowlevel.Task, None] = {}

    async def wait(self) -> None:
        """Wait for the next ring. A checkpoint.

        Raises:
            trio.ClosedResourceError: It was closed; then not always a checkpoint.
        """
        if self._closed:
            raise trio.ClosedResourceError(_CLOSED)
        task = trio.lowlevel.current_task()
        self._tasks[task] = None

        def abort(_: object) -> trio.lowlevel.Abort:
            del self._tasks[task]
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        if self._closed:
            raise trio.ClosedResourceError(_CLOSED)

    def close(self) -> None:
        """Wake all tasks that wait, for good: who waits for it then gets an error."""
        self._closed = True
        self.ring()

    def ring(self) -> None:
        """Wake all tasks that wait, in the order in which they began to."""
        if self._tasks:
            for task in self._tasks:  # in another thread the first one raises, and no task is lost
                trio.lowlevel.reschedule(task)
            self._tasks = {}
