"""What the project is tested with, for users to test their own code with.

Names are loaded when they are first used: some need Hypothesis, some need not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._connection import Connection
    from ._history import BadHistory, Call, HandlerRun, History, Reading, check_history
    from ._machine import TrioMachine, initialize, invariant, rule
    from ._simulation import Scenario, SimulationFailed, simulate
    from ._trace import Trace

_HOMES = {
    "BadHistory": "_history",
    "Call": "_history",
    "Connection": "_connection",
    "HandlerRun": "_history",
    "History": "_history",
    "Reading": "_history",
    "Scenario": "_simulation",
    "SimulationFailed": "_simulation",
    "Trace": "_trace",
    "TrioMachine": "_machine",
    "check_history": "_history",
    "initialize": "_machine",
    "invariant": "_machine",
    "rule": "_machine",
    "simulate": "_simulation",
}

__all__ = [
    "BadHistory",
    "Call",
    "Connection",
    "HandlerRun",
    "History",
    "Reading",
    "Scenario",
    "SimulationFailed",
    "Trace",
    "TrioMachine",
    "check_history",
    "initialize",
    "invariant",
    "rule",
    "simulate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
