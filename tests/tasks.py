"""Which tasks there are."""

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
