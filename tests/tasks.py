"""All tasks of a run, and an instrument that cancels one at a chosen step."""

from __future__ import annotations

import trio


def tasks(below: trio.lowlevel.Task | None = None) -> set[trio.lowlevel.Task]:
    """Return a task and all tasks under it; by default all of this run."""
    root = below or trio.lowlevel.current_root_task()
    assert root is not None
    found, left = set[trio.lowlevel.Task](), [root]
    while left:
        task = left.pop()
        found.add(task)
        for nursery in task.child_nurseries:
            left += nursery.child_tasks
    return found


def task_names(below: trio.lowlevel.Task | None = None) -> list[str]:
    """Return the names of those tasks, sorted."""
    return sorted(task.name for task in tasks(below))


class Nudge(trio.abc.Instrument):
    """Cancels a scope at the k-th step of the run."""

    def __init__(self, k: int, scope: trio.CancelScope) -> None:
        self.left = k
        self.scope = scope

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()
