"""Sessions of many peers, as Hypothesis draws them: see `ServerMachine`."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.serving.machine.machine import ServerMachine


def test_sessions() -> None:
    """A few sessions of many peers break no rule; `nox -s fuzz` has more of them."""
    run_state_machine_as_test(
        ServerMachine,
        settings=settings(
            max_examples=6,
            stateful_step_count=15,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
