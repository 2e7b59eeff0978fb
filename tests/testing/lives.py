"""Let Hypothesis write many lives of jobs: `python tests/testing/lives.py --examples 500 --steps 50`.

`--of streams` is about senders and readers (`flow.py`), `--of streams-in-a-file` is the same in a file, and
`--of streams-between-processes` in one that two processes have open.
A failing example prints the program that fails, at its shortest.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis.stateful import run_state_machine_as_test

from trio_jobs.testing import JobMachine, TrioMachine

sys.path.append(str(Path(__file__).parents[2]))

from tests.testing.flow import FlowBetweenProcesses, FlowInAFile, FlowMachine  # found only now

MACHINES: dict[str, type[TrioMachine]] = {
    "jobs": JobMachine,
    "streams": FlowMachine,
    "streams-in-a-file": FlowInAFile,
    "streams-between-processes": FlowBetweenProcesses,
}


def main() -> None:
    """Run as many examples as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=500, help="how many lives (default: 500)")
    parser.add_argument("--steps", type=int, default=50, help="steps in each, at most (default: 50)")
    parser.add_argument("--seed", type=int, default=0, help="what they are drawn from (default: 0)")
    parser.add_argument("--of", choices=MACHINES, default="jobs", help="whose (default: jobs)")
    given = parser.parse_args()
    machine: Any = MACHINES[given.of]
    logging.disable(logging.CRITICAL)
    counts: Counter[str] = Counter()

    class Counted(machine):  # type: ignore[misc]
        def teardown(self) -> None:
            super().teardown()
            counts["examples"] += 1

        def check_invariants(self, *args: object, **kwargs: object) -> None:
            counts["steps"] += 1
            super().check_invariants(*args, **kwargs)

    began = time.monotonic()
    run_state_machine_as_test(
        seeded(given.seed)(Counted),
        settings=settings(
            max_examples=given.examples,
            stateful_step_count=given.steps,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=[
                HealthCheck.too_slow,
                HealthCheck.filter_too_much,
                HealthCheck.data_too_large,
            ],
        ),
    )
    took = time.monotonic() - began
    print(f"{counts['examples']} lives, {counts['steps']} steps, no promise broken, {took:.0f} s")


if __name__ == "__main__":
    main()
