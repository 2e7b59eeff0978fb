"""`StoreMachine` finds no fault in a sound store, and planted faults within a bounded number of examples."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from trio_jobs import Reason
from trio_jobs.stores import Store
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.testing import Connection, StoreMachine

SOME = settings(
    max_examples=60,
    stateful_step_count=30,
    database=None,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
FIND = settings(SOME, max_examples=300, phases=[Phase.generate], report_multiple_bugs=False)


def _faults() -> Any:
    """Load the planted faults of the neighbouring file: pytest imports test files without packages."""
    name = "planted_faults"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("test_checks.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


FAULTS: dict[str, type[MemoryStore]] = {
    fault.__name__: fault for fault, _ in _faults().FAULTS if issubclass(fault, MemoryStore)
}
# Those that are found in a second or so. Of the others some need more programs, and what is about wake-ups,
# closing, or two tasks at once is left to the checks.
FOUND = [
    *("ForgetsIds", "AcceptsOneByOne", "KeysOfEverybody", "FirstComeFirstServed", "AppendsAgain"),
    *("LosesTerminators", "LosesNothing", "RemovesAnything", "TellsTokensAsHistory", "ReadsTheCursorAgain"),
    *("RequestsTwice", "LeavesOrphans", "FailsAtTheFirstCrash", "OverwritesOutcomes", "SweepsOldLeases"),
]


def machine(kind: type[MemoryStore]) -> type[StoreMachine]:
    """Return a machine for a store in memory."""

    class Machine(StoreMachine):
        def open_store(self, folder: Path) -> AbstractAsyncContextManager[Store]:
            return alone(kind)

    return Machine


@asynccontextmanager
async def alone(kind: type[MemoryStore]) -> AsyncIterator[Store]:
    store = kind()
    yield store
    store.close(Reason.SHUTDOWN)


class SharedMachine(StoreMachine):
    """A store that outlives its two connections."""

    line: type[Connection] = Connection

    def __init__(self) -> None:
        self.stores: dict[Path, MemoryStore] = {}
        super().__init__()

    @asynccontextmanager
    async def open_store(self, folder: Path) -> AsyncIterator[Store]:
        if folder not in self.stores:
            self.stores[folder] = MemoryStore()
        line = self.line(self.stores[folder])
        yield line
        line.close(Reason.SHUTDOWN)


class ForgetfulMachine(SharedMachine):
    """A store that is empty whenever it is opened."""

    @asynccontextmanager
    async def open_store(self, folder: Path) -> AsyncIterator[Store]:
        yield Connection(MemoryStore())


class NarrowMachine(StoreMachine):
    """A store with a small limit of waiting jobs."""

    queue_limit = 3

    @asynccontextmanager
    async def open_store(self, folder: Path) -> AsyncIterator[Store]:
        yield MemoryStore(queue_limit=3)


class WiderMachine(NarrowMachine):
    """A store that accepts one waiting job more than its limit."""

    @asynccontextmanager
    async def open_store(self, folder: Path) -> AsyncIterator[Store]:
        yield MemoryStore(queue_limit=4)


@pytest.mark.parametrize(
    "kind",
    [
        machine(MemoryStore),
        pytest.param(SharedMachine, marks=pytest.mark.deep),
        pytest.param(NarrowMachine, marks=pytest.mark.deep),
    ],
)
def test_a_sound_store_agrees(kind: type[StoreMachine]) -> None:
    """The store in memory agrees with itself: alone, through connections that open and close, and full."""
    run_state_machine_as_test(kind, settings=SOME)


@pytest.mark.parametrize("name", FOUND)
@pytest.mark.deep
def test_a_planted_fault_is_found(name: str) -> None:
    """A store with one faulty verb differs, within 300 programs of at most 30 steps."""
    with pytest.raises((AssertionError, KeyError)):
        run_state_machine_as_test(machine(FAULTS[name]), settings=FIND)


@pytest.mark.parametrize("kind", [ForgetfulMachine, WiderMachine])
@pytest.mark.deep
def test_a_wrong_way_of_opening_is_found(kind: type[StoreMachine]) -> None:
    """A store that keeps nothing, and one with another limit, differ too."""
    with pytest.raises(AssertionError):
        run_state_machine_as_test(kind, settings=FIND)


def test_a_difference_is_told() -> None:
    """The message has the verb, the answer of the store in memory, and the other answer."""
    with pytest.raises(AssertionError, match=r"history: MemoryStore gives\n.*\nand the other store\n"):
        run_state_machine_as_test(machine(FAULTS["TellsTokensAsHistory"]), settings=FIND)
