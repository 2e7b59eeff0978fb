"""How a machine is run for the first time: what it finds is found, and at its shortest, in seconds."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, cast

from hypothesis import HealthCheck, Phase, settings

_SHORT: Final[dict[str, Any]] = {
    # What fails in fifty steps mostly does in a dozen, and those are made short in a tenth of the time.
    "stateful_step_count": 12,
    # To explain which parts of a program matter takes longer than to find it, and says little of a machine.
    "phases": tuple(phase for phase in Phase if phase is not Phase.explain),
    "report_multiple_bugs": False,
}

FIRST_RUN: Final = settings(
    deadline=None, suppress_health_check=cast("list[HealthCheck]", list(HealthCheck)), **_SHORT
)
"""What the `TestCase` of a `TrioMachine` runs with, unless it is told otherwise.

A search that may take longer has more examples, and more steps in each, as in
`settings(FIRST_RUN, max_examples=1000, stateful_step_count=50)`.
"""


class FirstRunTestCase:
    """The attribute `TestCase` of a machine class: Hypothesis's, with the settings of a first run.

    What a profile or a later assignment to `TestCase.settings` says otherwise than Hypothesis does counts.
    """

    def __init__(self, inherited: Any) -> None:
        self._inherited = inherited

    def __get__(self, machine: object, owner: type[Any] | None = None) -> type[Any]:
        """Return the test case of a machine class."""
        return _shortened(self._inherited.__get__(machine, owner))


@cache
def _shortened(case: type[Any]) -> type[Any]:
    usual = settings(settings.get_profile("default"), deadline=None, database=None)
    before: settings = case.settings
    untouched = {name: it for name, it in _SHORT.items() if getattr(before, name) == getattr(usual, name)}
    case.settings = settings(case.settings, **untouched)
    return case
