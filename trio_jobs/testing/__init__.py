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

_HOMES = {
    "FIRST_RUN": "_first_run",
    "QUEUE_LIMIT": "checks",
    "RETENTION": "checks",
    "BadHistory": "_judge",
    "Call": "_history",
    "Check": "_conformance",
    "Connection": "_connection",
    "HandlerRun": "_history",
    "History": "_history",
    "JobMachine": "_jobs",
    "Life": "_life",
    "OpenStore": "_conformance",
    "Reading": "_history",
    "Scenario": "_simulation",
    "SimulationFailed": "_simulation",
    "StoreCheckFailed": "_conformance",
    "StoreMachine": "_agreement",
    "Trace": "_trace",
    "TrioMachine": "_machine",
    "all_schedules": "_schedules",
    "cancel_at_every_checkpoint": "_cancel",
    "check_history": "_judge",
    "check_store": "_conformance",
    "expect_events": "_life",
    "expect_state": "_life",
    "initialize": "_rules",
    "invariant": "_rules",
    "narrow_store_checks": "_conformance",
    "open_sqlite_in_lockstep": "_lockstep",
    "rule": "_rules",
    "run_handler": "_life",
    "simulate": "_simulation",
    "store_checks": "_conformance",
}

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
