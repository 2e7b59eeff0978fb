"""The gate of mutation: plant small mistakes in the dense files, and see their mirrored tests notice.

    python tests/mutation/run.py                  # what changed since the base commit, and a sample
    python tests/mutation/run.py --all            # everything, as before a release
    python tests/mutation/run.py --only 3f2a9c1b  # one, with what its tests print

The exit status is 1 if a mutant lives that is not on the list (`survivors.toml`), or the list is not true.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.mutation.changed import base_of, changed_lines  # noqa: E402  # found only now
from tests.mutation.gate import Found, TestsFailed, tried  # noqa: E402
from tests.mutation.mutants import Key, Mutant, mutants  # noqa: E402
from tests.mutation.survivors import entry, listed, stale  # noqa: E402
from tests.mutation.targets import TARGETS  # noqa: E402

SAMPLE: Final = 150
LIST: Final = Path(__file__).with_name("survivors.toml")
_SAME: Final = {"PYTHONHASHSEED": "0"}
_WITHOUT: Final = ("CI", "TRIO_JOBS_SEED")  # which would have other examples


def sample(of: Sequence[Mutant], size: int, seed: str) -> list[Mutant]:
    """Return some mutants, chosen by hash: the same for the same seed, whatever the other mutants are."""
    return sorted(of, key=lambda one: hashlib.sha256(f"{seed} {one.key.name}".encode()).digest())[:size]


def choose(every: Sequence[Mutant], arguments: argparse.Namespace, known: Iterable[Key]) -> list[Mutant]:
    """Return the mutants to try."""
    if arguments.only:
        return [one for one in every if one.key.name.startswith(tuple(arguments.only))]
    if arguments.all:
        return [*every]
    listed_ones = set(known)
    open_ones = [one for one in every if one.key not in listed_ones]
    base = arguments.base or base_of(ROOT)
    lines = {file: changed_lines(ROOT, base, file) if base else set[int]() for file in TARGETS}
    changed = [one for one in open_ones if not lines[one.key.file].isdisjoint(one.lines)]
    rest = sample([one for one in open_ones if one not in changed], arguments.sample, arguments.seed)
    print(f"{len(changed)} in lines changed since {base or 'no commit'}, and {len(rest)} of the rest")
    return changed + rest


def tell(found: Found) -> None:
    """Print a mutant that survives, the command that repeats it, and the entry for the list."""
    key = found.mutant.key
    print(f"\nlives: {key.name} in {key.file}, {key.function or 'outside of functions'}")
    print(found.mutant.diff())
    print(f"again: python tests/mutation/run.py --only {key.name}\n\n{entry(key)}", flush=True)


def main() -> int:
    """Run the gate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", nargs="*", help="only these, by a part of their names")
    parser.add_argument("--all", action="store_true", help="try all, also those that are listed")
    parser.add_argument("--only", action="append", metavar="NAME", help="try these, and print the output")
    parser.add_argument("--base", help="the commit since which changed lines are tried")
    parser.add_argument("--sample", type=int, default=SAMPLE, metavar="N", help="how many of the rest")
    parser.add_argument("--seed", default="0", help="other seeds have other samples")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N")
    arguments = parser.parse_args()
    os.chdir(ROOT)

    files = [file for file in TARGETS if not arguments.files or any(part in file for part in arguments.files)]
    known = {key: why for key, why in listed(LIST).items() if key.file in files}
    every = [one for file in files for one in mutants(file, ROOT)]
    faults = [f"stale: {key}" for key in stale(known, (one.key for one in every))]
    chosen = choose(every, arguments, known)
    alive, began = 0, time.monotonic()
    for file in files:
        try:
            lived, wrong = _tried(file, [one for one in chosen if one.key.file == file], known, arguments)
        except TestsFailed as error:
            lived, wrong = 0, [f"fails without a mutant: {error}"]
        alive += lived
        faults += wrong
    share = 100 * (1 - alive / max(1, len(chosen)))
    print(f"{len(chosen)} mutants, {share:.1f} % killed, {time.monotonic() - began:.0f} s")
    print(*faults, sep="\n")
    return int(bool(faults))


def _tried(
    file: str, chosen: Sequence[Mutant], known: Iterable[Key], arguments: argparse.Namespace
) -> tuple[int, list[str]]:
    """Try the mutants of a file, print those that survive, and return their number and the faults."""
    if not chosen:
        return 0, []
    began, lived = time.monotonic(), 0
    alive, dead, faults = set[Key](), set[Key](), list[str]()
    listed_ones = set(known)
    for found in tried(chosen, TARGETS[file], ROOT, arguments.jobs):
        key, killed = found.mutant.key, found.verdict.killed
        (alive if killed is None else dead).add(key)
        lived += killed is None
        if arguments.only:
            print(f"{found.mutant.diff()}\n{found.verdict.output}killed by {killed}")
        elif killed is None and key not in listed_ones:
            tell(found)
            faults.append(f"lives: {key.name} in {key.file}, {key.function}: {key.after}")
    if arguments.all:
        faults += [f"listed, but killed: {key}" for key in listed_ones & dead - alive]
    seconds = time.monotonic() - began
    print(f"{file}: {len(chosen)} mutants, {lived} live, {len(faults)} faults, {seconds:.0f} s", flush=True)
    return lived, faults


if __name__ == "__main__":
    if not _SAME.items() <= os.environ.items() or not os.environ.keys().isdisjoint(_WITHOUT):
        environment = {name: value for name, value in os.environ.items() if name not in _WITHOUT}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment | _SAME)  # noqa: S606  # this again
    sys.exit(main())
