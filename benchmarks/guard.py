"""How many instructions the hot path takes, next to the same thing in raw Trio: does a change make it dearer?

    python -m benchmarks.guard [--write]

Instructions are counted by callgrind (Debian: `apt install valgrind`), so that other programs change nothing.
Each load runs with some operations and with three times as many, and what counts is the difference: opening
and warming up cancel out. What is compared is the ratio to a load of raw Trio that is counted in the same
process, with the ratio that `guard.json` has for this Python and this Trio; two runs differ by one or two
percent, and there is room of ten. A ratio that is not stored is only printed; `--write` stores them all.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import quote

import attrs
import trio

from benchmarks import inprocess as by
from trio_jobs import JobContext, open_registry
from trio_jobs._common.states import Transition
from trio_jobs.stores.contract import Claim, Claimant, Outcome
from trio_jobs.stores.memory import MemoryStore

STORED: Final = Path(__file__).with_name("guard.json")
ROOM: Final = 1.1
DEARER: Final = "DEARER"
MARK: Final = "getpgrp"  # a function of C that nothing else calls: callgrind writes its counts down before it
Load = Callable[[int], Awaitable[object]]


def mark() -> None:
    """Begin or end what is counted."""
    os.getpgrp()


# ---------------------------------------------------------------- the loads


async def raw_tasks(count: int) -> None:
    """Start tasks that do nothing, and wait for them."""
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(trio.lowlevel.checkpoint)


async def counted(load: Callable[..., Awaitable[object]], *args: object) -> None:
    """Count what a load does."""
    mark()
    await load(*args)
    mark()


async def one_by_one(job: Callable[[int], Awaitable[object]], count: int) -> None:
    """Run jobs without tokens, one after the other."""
    for _ in range(count):
        await job(0)


async def jobs_of_ours(count: int, at_once: int = 1, where: str = "memory://") -> None:
    """Run jobs without tokens in a registry."""
    async with open_registry(where, capacity=at_once, handlers=[by.speak]) as jobs:
        run = partial(by.by_trio_jobs, jobs)
        mark()
        async with trio.open_nursery() as nursery:
            for _ in range(at_once):
                nursery.start_soon(one_by_one, run, count // at_once)
        mark()


async def jobs_in_a_file(count: int) -> None:
    """Run jobs without tokens that are kept in a file, a hundred at a time."""
    with TemporaryDirectory(prefix="trio_jobs-") as folder:
        await jobs_of_ours(count, 100, f"sqlite:///{quote(folder)}/jobs.db?synchronous=normal")


async def verbs(which: str, count: int) -> None:
    """Submit, claim and finish jobs, and count one of the three."""
    store = MemoryStore()
    async with open_registry(store, capacity=0, handlers=[by.speak]) as jobs:
        claims: list[Claim] = []

        async def submit() -> None:
            for _ in range(count):
                await jobs.submit(by.speak, 0)

        async def claim() -> None:
            for _ in range(count):
                claims.extend(await store.claim(1, Claimant("guard")))

        async def finish() -> None:
            for one in claims:
                await store.finish(one.submission.id, one.attempt, Outcome(Transition.COMPLETED))

        for phase in (submit, claim, finish):
            await (counted(phase) if phase.__name__ == which else phase())


async def replay(count: int) -> None:
    """Read the log of a job that has ended, token by token."""
    async with open_registry() as jobs:
        handle = await jobs.submit(speak_at_once, count)
        await handle.wait()
        mark()
        async with handle.stream() as stream:
            async for _ in stream:
                pass
        mark()


async def speak_at_once(job: JobContext[int], tokens: int) -> None:
    """Send all tokens in one call."""
    await job.send_many(range(tokens))


RAW_TASK, RAW_JOB, RAW_TOKEN = "a task", "a job by hand", "a token through a channel"


@attrs.frozen
class Guarded:
    """A load, what it is compared with, and with how many operations.

    Attributes:
        load: Runs so many operations, and marks where what is counted begins and ends.
        raw: The name of the load of raw Trio; None for one of these.
        count: How many; the second time it is three times as many.
    """

    load: Load
    raw: str | None
    count: int = 200


LOADS: Final[dict[str, Guarded]] = {
    RAW_TASK: Guarded(partial(counted, raw_tasks), None),
    RAW_JOB: Guarded(partial(counted, partial(one_by_one, by.by_hand)), None),
    RAW_TOKEN: Guarded(partial(counted, by.channel_each), None, 1000),
    "submit": Guarded(partial(verbs, "submit"), RAW_TASK),
    "claim": Guarded(partial(verbs, "claim"), RAW_TASK),
    "finish": Guarded(partial(verbs, "finish"), RAW_TASK),
    "a job, one at a time": Guarded(jobs_of_ours, RAW_JOB),
    "a job, 100 at a time": Guarded(partial(jobs_of_ours, at_once=100), RAW_JOB),
    "a job in a file, 100 at a time": Guarded(jobs_in_a_file, RAW_JOB),
    "send and receive": Guarded(partial(counted, by.stream_each), RAW_TOKEN, 1000),
    "send and receive an input": Guarded(partial(counted, by.inputs_each), RAW_TOKEN, 1000),
    "receive, behind the end": Guarded(replay, RAW_TOKEN, 1000),
    "a burst of 64, by token": Guarded(partial(counted, by.stream_bursts), RAW_TOKEN, 6400),
}
COMMANDS: Final[dict[str, tuple[list[str], float]]] = {
    "import trio_jobs": (["-c", "import trio_jobs"], 1.25),
    "trio-jobs --help": (["-m", "trio_jobs", "--help"], 2.5),
}
"""What starts a process, and how often the instructions of `import trio` it may take."""


# ---------------------------------------------------------------- counting


def run_loads() -> None:
    """Run every load twice; callgrind counts."""
    gc.collect()
    gc.disable()
    for guarded in LOADS.values():
        for times in (1, 1, 3):  # the first fills caches
            trio._core._run._r.seed(0)  # noqa: SLF001  # in which order tasks run changes how many steps it takes
            trio.run(guarded.load, guarded.count * times)


def count_instructions(arguments: list[str]) -> list[int]:
    """Run Python under callgrind; return the instructions between each two marks, and up to the end."""
    with TemporaryDirectory(prefix="trio_jobs-") as folder:
        out = Path(folder) / "counts"
        command = [
            "valgrind",
            "--quiet",
            "--tool=callgrind",
            f"--dump-before={MARK}",
            f"--callgrind-out-file={out}",
        ]
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for before in ([], command):  # the first compiles what is imported
            whole = [*before, sys.executable, *arguments]
            subprocess.run(whole, check=True, env=environment, stdout=subprocess.DEVNULL)  # noqa: S603  # ours
        # What is left at the end is in the file without a number.
        parts = sorted(Path(folder).glob("counts.*"), key=lambda part: int(part.suffix[1:]))
        return [_total(part) for part in [*parts, out]]


def _total(part: Path) -> int:
    lines = part.read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("totals:")).split()[1])


def operations() -> dict[str, float]:
    """Return the instructions of one operation of each load."""
    counts = count_instructions(["-m", "benchmarks.guard", "--loads"])[
        1::2
    ]  # every second one is between a begin and an end
    runs = zip(LOADS.items(), zip(*[iter(counts)] * 3, strict=True), strict=True)
    return {name: (many - few) / (2 * guarded.count) for (name, guarded), (_, few, many) in runs}


def machine() -> str:
    """Return what stored ratios are good for."""
    return f"Python {sys.version_info.major}.{sys.version_info.minor}, trio {version('trio')}"


def main() -> int:
    """Count, compare and print; return 1 if anything became dearer than may be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="store the ratios, for this Python and Trio")
    parser.add_argument("--loads", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.loads:
        run_loads()
        return 0
    if shutil.which("valgrind") is None:
        print("guard.py needs valgrind, which counts instructions: apt install valgrind", file=sys.stderr)
        return 2
    each = operations()
    stored = json.loads(STORED.read_text("utf-8")) if STORED.exists() else {}
    before = stored.get(machine(), {})
    print(f"{machine()}; instructions an operation, and the ratio to the same in raw Trio")
    ratios = {
        name: each[name] / each[guarded.raw] for name, guarded in LOADS.items() if guarded.raw is not None
    }
    verdicts = [show(name, each[name], ratios.get(name), before.get(name)) for name in LOADS]
    bare = sum(count_instructions(["-c", "import trio"]))
    print("and of those of `import trio`")
    for name, (arguments, most) in COMMANDS.items():
        verdicts.append(show(name, None, sum(count_instructions(arguments)) / bare, most / ROOM))
    if given.write:
        stored[machine()] = {name: round(ratio, 3) for name, ratio in ratios.items()}
        STORED.write_text(json.dumps(stored, indent=2, sort_keys=True) + "\n", "utf-8")
        return 0
    return 1 if DEARER in verdicts else 0


def show(name: str, each: float | None, ratio: float | None, before: float | None) -> str:
    """Print a line, and return how a ratio compares."""
    verdict = ""
    if ratio is not None:
        verdict = "not stored yet" if before is None else DEARER if ratio > ROOM * before else "fine"
    figures = f"{'' if each is None else f'{each:,.0f}':>11}{'' if ratio is None else f'{ratio:.2f}':>7}"
    most = "" if before is None else f", at most {ROOM * before:.2f}"
    print(f"  {name:<32}{figures}  {verdict}{most}", flush=True)
    return verdict


if __name__ == "__main__":
    sys.exit(main())
