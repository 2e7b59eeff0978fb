"""Let Hypothesis draw sessions of many peers: `python tests/serving/machine/run.py --examples 9 --seed 7`.

A failure prints the session, and the command that repeats it.
"""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
import time
from pathlib import Path
from typing import cast

sys.path.insert(0, str(Path(__file__).parents[3]))

from hypothesis import HealthCheck, Phase, seed, settings  # found only now
from hypothesis.stateful import run_state_machine_as_test

from tests.serving.machine.machine import ServerMachine


def sessions(number: int, examples: int, steps: int, *, shrink: bool) -> int:
    """Run so many sessions, and return how many there were.

    Raises:
        BaseException: What the first one raised that broke a rule.
    """
    count = 0

    class Counted(ServerMachine):
        def __init__(self) -> None:
            nonlocal count
            count += 1
            super().__init__()

    try:
        run_state_machine_as_test(
            seed(number)(Counted),
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                database=None,
                phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
                suppress_health_check=cast("list[HealthCheck]", list(HealthCheck)),
            ),
        )
    except BaseException as error:
        again = f"python tests/serving/machine/run.py --seed {number} --examples {examples} --steps {steps}"
        error.add_note(f"session {count}; again: {again}")
        raise
    return count


def main() -> None:
    """Run as many sessions as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=300, help="sessions (default: 300)")
    parser.add_argument("--steps", type=int, default=20, help="steps in each, at most (default: 20)")
    parser.add_argument("--seed", type=int, help="what they are drawn from (default: by chance)")
    parser.add_argument("--shrink", action="store_true", help="make what fails as short as can be")
    given = parser.parse_args()
    number = secrets.randbits(32) if given.seed is None else given.seed
    logging.getLogger("trio_jobs").addHandler(logging.NullHandler())
    print(f"seed {number}", flush=True)
    began = time.monotonic()
    count = sessions(number, given.examples, given.steps, shrink=given.shrink)
    print(f"{count} sessions of {given.steps} steps break no rule, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
