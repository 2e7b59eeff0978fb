"""Print the stacks of tasks, as text for people."""

from __future__ import annotations

import traceback

import trio


def task_tree(task: trio.lowlevel.Task, indent: str = "", *, without: tuple[str, ...] = ()) -> str:
    """Return the stacks of a task and of all tasks under it, innermost call last.

    Args:
        task: The topmost task.
        indent: It begins every line.
        without: Beginnings of paths; calls in those files are left out.
    """
    calls = [call for call in task.iter_await_frames() if not call[0].f_code.co_filename.startswith(without)]
    frames = traceback.StackSummary.extract(iter(calls))
    lines = [f"task {task.name}"]
    for frame in frames:
        lines.append(f"  {frame.filename}:{frame.lineno} in {frame.name}")
        if frame.line:
            lines.append(f"    {frame.line}")
    text = "".join(f"{indent}{line}\n" for line in lines)
    for nursery in task.child_nurseries:
        for child in sorted(nursery.child_tasks, key=lambda child: child.name):
            text += task_tree(child, indent + "    ", without=without)
    return text
