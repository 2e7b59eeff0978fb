"""What the project is tested with, for users to test their own code with.

Names are loaded when they are first used: some need Hypothesis, some need not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._agreement import StoreMachine
    from ._cancel import cancel_at_every_checkpoint
    from ._conformance import (
        Check,
        OpenStore,
        StoreCheckFailed,
        check_store,
        narrow_store_checks,
        store_checks,
    )
    from ._connection import Connection
    from ._first_run import FIRST_RUN
    from ._history import Call, HandlerRun, History, Reading
    from ._jobs import JobMachine
    from ._judge import BadHistory, check_history
    from ._life import Life, expect_events, expect_state, run_handler
    from ._lockstep import open_sqlite_in_lockstep
    from ._machine import TrioMachine
    from ._rules import initialize, invariant, rule
    from ._schedules import all_schedules
    from ._simulation import Scenario, SimulationFailed, simulate
    from ._trace import Trace
    from .checks import QUEUE_LIMIT, RETENTION

_NAMES = {
    "_agreement": ("StoreMachine",),
    "_cancel": ("cancel_at_every_checkpoint",),
    "_conformance": (
        "Check",
        "OpenStore",
        "StoreCheckFailed",
        "check_store",
        "narrow_store_checks",
        "store_checks",
    ),
    "_connection": ("Connection",),
    "_first_run": ("FIRST_RUN",),
    "_history": ("Call", "HandlerRun", "History", "Reading"),
    "_jobs": ("JobMachine",),
    "_judge": ("BadHistory", "check_history"),
    "_life": ("Life", "expect_events", "expect_state", "run_handler"),
    "_lockstep": ("open_sqlite_in_lockstep",),
    "_machine": ("TrioMachine",),
    "_rules": ("initialize", "invariant", "rule"),
    "_schedules": ("all_schedules",),
    "_simulation": ("Scenario", "SimulationFailed", "simulate"),
    "_trace": ("Trace",),
    "checks": ("QUEUE_LIMIT", "RETENTION"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "FIRST_RUN",
    "QUEUE_LIMIT",
    "RETENTION",
    "BadHistory",
    "Call",
    "Check",
    "Connection",
    "HandlerRun",
    "History",
    "JobMachine",
    "Life",
    "OpenStore",
    "Reading",
    "Scenario",
    "SimulationFailed",
    "StoreCheckFailed",
    "StoreMachine",
    "Trace",
    "TrioMachine",
    "all_schedules",
    "cancel_at_every_checkpoint",
    "check_history",
    "check_store",
    "expect_events",
    "expect_state",
    "initialize",
    "invariant",
    "narrow_store_checks",
    "open_sqlite_in_lockstep",
    "rule",
    "run_handler",
    "simulate",
    "store_checks",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
