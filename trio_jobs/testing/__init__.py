"""What the project is tested with, for users to test their own code with.

Names are loaded when they are first used: some need Hypothesis, some need not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._agreement import StoreMachine as StoreMachine
    from ._cancel import cancel_at_every_checkpoint as cancel_at_every_checkpoint
    from ._conformance import Check as Check
    from ._conformance import OpenStore as OpenStore
    from ._conformance import StoreCheckFailed as StoreCheckFailed
    from ._conformance import check_store as check_store
    from ._conformance import narrow_store_checks as narrow_store_checks
    from ._conformance import store_checks as store_checks
    from ._connection import Connection as Connection
    from ._first_run import FIRST_RUN as FIRST_RUN
    from ._history import Call as Call
    from ._history import HandlerRun as HandlerRun
    from ._history import History as History
    from ._history import Reading as Reading
    from ._jobs import JobMachine as JobMachine
    from ._judge import BadHistory as BadHistory
    from ._judge import check_history as check_history
    from ._life import Life as Life
    from ._life import expect_events as expect_events
    from ._life import expect_state as expect_state
    from ._life import run_handler as run_handler
    from ._lockstep import open_sqlite_in_lockstep as open_sqlite_in_lockstep
    from ._machine import TrioMachine as TrioMachine
    from ._rules import initialize as initialize
    from ._rules import invariant as invariant
    from ._rules import rule as rule
    from ._schedules import all_schedules as all_schedules
    from ._simulation import Scenario as Scenario
    from ._simulation import SimulationFailed as SimulationFailed
    from ._simulation import simulate as simulate
    from ._trace import Trace as Trace
    from .checks import QUEUE_LIMIT as QUEUE_LIMIT
    from .checks import RETENTION as RETENTION

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

__all__ = list(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]  # the same names once more


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
