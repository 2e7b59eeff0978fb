"""Let Hypothesis write many lives of jobs: `python tests/testing/lives.py --examples 500 --steps 50`.

A failing example prints the program that fails, at its shortest.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections import Counter

from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis.stateful import run_state_machine_as_test

from trio_jobs.testing import JobMachine


def main() -> None:
    """Run as many examples as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=500, help="how many lives (default: 500)")
    parser.add_argument("--steps", type=int, default=50, help="steps in each, at most (default: 50)")
    parser.add_argument("--seed", type=int, default=0, help="what they are drawn from (default: 0)")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    counts: Counter[str] = Counter()

    class Counted(JobMachine):
        def teardown(self) -> None:
            super().teardown()
            counts["examples"] += 1

        def check_invariants(self, *args: object, **kwargs: object) -> None:
            counts["steps"] += 1
            super().check_invariants(*args, **kwargs)  # type: ignore[arg-type]

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
