"""Bugs that only lives of jobs and simulations show: hangs, orderly leaves, and the rarer verbs."""

from __future__ import annotations

from tests.planted.bug import Bug

LIVED = [
    Bug(
        "an empty page is no end for a reader",
        "a reader that has seen the last event of a job in memory waits for ever for another one",
        "stores/memory.py",
        "        while not events and row.finished is None:\n",
        "        while not events:\n",
        "lives",
    ),
    Bug(
        "only a good end is told to those who wait",
        "`wait()` of a job that fails or is cancelled never returns",
        "stores/memory.py",
        "        if row.waiters is not None and row.finished is not None:",
        "        if row.waiters is not None and kind is Kind.COMPLETED:",
        "simulation",
    ),
    Bug(
        "a child keeps its parent's cancellation to itself",
        "a cancelled job whose child was cancelled with it is COMPLETED",
        "_running/attempt.py",
        "        if cancelled is not None:\n            raise cancelled",
        "        if cancelled is not None and self.parent is None:\n            raise cancelled",
        "cancel",
    ),
]
