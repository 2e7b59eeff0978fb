"""Random lives of a job that streams, in memory and in a file; `lives.py` and the hunt run many more."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.testing.flow import FlowInAFile, FlowMachine
from trio_jobs._watching.readers import Readers

FEW = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


def test_who_waits_and_who_gets_what() -> None:
    """After every step of a few lives, exactly the calls wait that must, and each reader has its events."""
    run_state_machine_as_test(FlowMachine, settings=FEW)


def test_who_waits_and_who_gets_what_in_a_file() -> None:
    """The same holds in a file, where everything goes through a channel and takes time."""
    run_state_machine_as_test(FlowInAFile, settings=settings(FEW, max_examples=4))


def test_a_handler_that_is_not_let_go_on_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that leaves and wakes no handler is found in a few lives."""
    monkeypatch.setattr(Readers, "_changed", lambda readers: setattr(readers, "_floor", 0))
    with pytest.raises(AssertionError, match="wait|had no room"):
        run_state_machine_as_test(FlowMachine, settings=settings(FEW, max_examples=100))
