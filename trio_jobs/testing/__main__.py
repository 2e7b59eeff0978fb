"""Simulate many runs, or have one again: `python -m trio_jobs.testing --seed 7`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Final

from ._simulation import SimulationFailed, simulate

_CHUNK: Final = 50


def hunt(seeds: range) -> tuple[set[str], list[tuple[int, str]]]:
    """Simulate each seed.

    Returns:
        The fingerprints of the courses taken, and what was broken, by seed.
    """
    logging.disable(logging.CRITICAL)  # what the workers say of faults is no news here
    digests, broken = set[str](), list[tuple[int, str]]()
    for seed in seeds:
        try:
            digests.add(simulate(seed=seed).digest)
        except SimulationFailed as failed:
            broken.append((seed, str(failed)))
    return digests, broken


def _replay(seed: int) -> int:
    logging.disable(logging.CRITICAL)
    try:
        print(simulate(seed=seed))
    except SimulationFailed as failed:
        print(failed.trace)
        print(f"\n{failed}")
        return 1
    return 0


def _hunt_all(first: int, count: int, processes: int) -> int:
    began = time.monotonic()
    chunks = [range(at, min(at + _CHUNK, first + count)) for at in range(first, first + count, _CHUNK)]
    digests, broken = set[str](), list[tuple[int, str]]()
    with ProcessPoolExecutor(processes) as pool:
        for seen, found in pool.map(hunt, chunks):
            digests |= seen
            broken += found
            for seed, text in found[: max(0, 5 - len(broken) + len(found))]:
                print(f"--- seed {seed}\n{text}\n", file=sys.stderr)
    took = time.monotonic() - began
    courses = f"{len(digests)} different courses"
    print(f"{count} seeds from {first} on, {courses}, {len(broken)} broken, {took:.0f} s")
    return 1 if broken else 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command, and return its exit status: 0 if every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m trio_jobs.testing", description=__doc__)
    parser.add_argument("--seed", type=int, help="simulate this one run, and print its steps")
    parser.add_argument("--seeds", type=int, default=1000, help="how many runs to simulate (default: 1000)")
    parser.add_argument("--first", type=int, default=0, help="the first of their seeds (default: 0)")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="default: one for each core"
    )
    given = parser.parse_args(arguments)
    if given.seed is not None:
        return _replay(given.seed)
    if given.seeds < 1 or given.processes < 1:
        parser.error("--seeds and --processes take a number above 0")
    return _hunt_all(given.first, given.seeds, given.processes)


if __name__ == "__main__":
    sys.exit(main())
