"""Whether a scope's `Cancelled` was raised in a task within it. What was has to come out of the scope."""

from __future__ import annotations

from typing import Any

import outcome
import trio


def reached(scope: trio.CancelScope, task: trio.lowlevel.Task) -> bool:
    """Return whether a task that is about to go on gets a `Cancelled` that no scope within `scope` may catch.

    A scope catches nothing as long as a cancellation around it reaches it. Trio has no public name for what a
    task is about to be handed, nor for the scopes around it.

    Args:
        scope: It is cancelled.
        task: It is about to take a step.
    """
    handed = getattr(task, "_next_send", None)
    if not isinstance(handed, outcome.Error) or not isinstance(handed.error, trio.Cancelled):
        return False
    status: Any = getattr(task, "_cancel_status", None)
    while status is not None and status._scope is not scope:  # noqa: SLF001
        status = None if status._scope.shield else status._parent  # noqa: SLF001
    return status is not None
