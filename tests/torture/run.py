"""Torture: real processes on one store, killed, stopped and told to go, over and over; then a check.

    python tests/torture/run.py --kills 300
    python tests/torture/run.py --stops 100
    python tests/torture/run.py --store postgresql --kills 300

Three workers, two submitters and a reader share a file, or a schema on a server, and schedules fire each
second. Workers are killed at any moment and at named places in the store, stopped for longer than their
leases, and terminated; the others are killed now and then, and so is the server.
With `--stops` nothing dies: workers are only terminated, which may cost no job anything.
What must hold is checked by `checker.py`, which shares no code with the package. The exit status is 1 if
something does not.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Final

import attrs
import trio
from checker import check
from journal import Journal, entries
from places import PLACES, Place
from process import ENOUGH, LEASE, PATIENT, run

_PATIENCE: Final = 90.0
_SERVER: Final = 0.04
"""How often the server is killed, beside each blow."""
_COUNTED: Final = {signal.SIGSTOP: "stopped for longer than a lease", signal.SIGTERM: "terminated"}
# What handlers raise, and the reason of an attempt whose job goes on elsewhere.
_MEANT: Final = ("OSError", '"shutdown"', '"awaiting_input"')


@attrs.define
class Process:
    """A process, and how it is started again."""

    role: str
    name: str
    pid: int = 0
    generation: int = 0
    stopped_until: float = 0.0
    stopped: bool = False


class Torture:
    """One run.

    Args:
        folder: Where the journals are.
        place: Where the jobs are.
        seed: For what is done at random; the moments at which processes get to run are not.
        lease: The lease of the workers, in seconds.
    """

    def __init__(self, folder: Path, place: Place, seed: int, lease: float = LEASE) -> None:
        self.folder = folder
        self._place = place
        self._lease = lease
        self._plan = seed
        self.counts: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._journal = Journal(folder / "torturer.jsonl")
        roles = [("work", "worker")] * 3 + [("submit", "submitter")] * 2 + [("read", "reader")]
        self._processes = [Process(role, f"{name}{place}") for place, (role, name) in enumerate(roles)]

    @property
    def kills(self) -> int:
        """How many processes were killed."""
        return self.counts["killed"] + self.counts["killed by a job"]

    def torture(self, kills: int) -> None:
        """Run until so many processes were killed."""
        for process in self._processes:
            self._start(process)
        while self.kills < kills:
            time.sleep(self._random.uniform(0.05, 0.35))
            self._strike()
            self._tend()

    def stop(self, stops: int) -> None:
        """Terminate workers so many times, and kill none."""
        for process in self._processes:
            self._start(process, calm=True)
        while self.counts["terminated"] < stops:
            time.sleep(self._random.uniform(0.02, 0.2))
            worker = self._random.choice([one for one in self._processes if one.role == "work"])
            self._send(worker, signal.SIGTERM)
            self._tend(calm=True)

    def _start(self, process: Process, *, calm: bool = False) -> None:
        process.generation += 1
        # Workers get a journal and a name for each life; the others go on in theirs.
        name = f"{process.name}.{process.generation}" if process.role == "work" else process.name
        failpoint = None
        if process.role == "work" and not calm and self._random.random() < 0.35:
            failpoint = f"{self._random.choice(self._place.points)}/{self._random.randint(1, 60)}"
        seed = self._random.randrange(2**32)
        process.pid = os.fork()
        if process.pid:
            self._journal.note("start", name=name, pid=process.pid)
            return
        status = 1
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            where = self.folder, self._place.url
            run(process.role, name, *where, failpoint, seed, plan=self._plan, lease=self._lease)
            status = 0
        except BaseException:  # noqa: BLE001  # whatever it was, it is reported
            with (self.folder / f"{name}.crash").open("a") as file:
                traceback.print_exc(file=file)
        finally:
            os._exit(status)

    def _strike(self) -> None:
        # One that was stopped is spared for a while: it is to try and write what it has no right to.
        spared = time.monotonic() - 2 * LEASE
        workers = [one for one in self._processes if one.role == "work" and not spared < one.stopped_until]
        if not workers:
            return
        others = [one for one in self._processes if one.role != "work"]
        dice = self._random.random()
        if self._place.dies and self._random.random() < _SERVER:
            self._journal.note("server", answers=False)
            self.counts["server killed"] += self._place.kill(self._random.choice((0.0, 0.3, 1.5)))
        if dice < 0.65:
            self._send(self._random.choice(workers), signal.SIGKILL)
        elif dice < 0.85:
            victim = self._random.choice(workers)
            victim.stopped_until = time.monotonic() + LEASE * self._random.uniform(1.2, 2.5)
            self._send(victim, signal.SIGSTOP)
        elif dice < 0.93:
            self._send(self._random.choice(workers), signal.SIGTERM)
        else:
            self._send(self._random.choice(others), signal.SIGKILL)

    def _send(self, process: Process, number: signal.Signals) -> None:
        process.stopped = number is signal.SIGSTOP
        if number in _COUNTED:  # whether it was a SIGKILL that it died of is seen when it is dead
            self.counts[_COUNTED[number]] += 1
        self._journal.note("signal", number=number.name, name=process.name, generation=process.generation)
        os.kill(process.pid, number)

    def _tend(self, *, calm: bool = False) -> None:
        """Continue paused processes, and restart killed ones."""
        if self._place.tend():
            self._journal.note("server", answers=True)
        for process in self._processes:
            if process.stopped and time.monotonic() > process.stopped_until:
                self._send(process, signal.SIGCONT)
            pid, status = os.waitpid(process.pid, os.WNOHANG)
            if pid:
                self._count(status)
                process.stopped, process.stopped_until = False, 0.0
                self._start(process, calm=calm)

    def _count(self, status: int) -> None:
        if os.WIFEXITED(status):
            code = os.WEXITSTATUS(status)
            self.counts["killed by a job"] += code == 9
            self.counts["crashed"] += code == 1
        elif os.WTERMSIG(status) == signal.SIGKILL:
            self.counts["killed"] += 1

    def settle(self) -> float:
        """Stop submitting, let all jobs end without faults, and return how many seconds that took."""
        (self.folder / ENOUGH).touch()
        for process in self._processes:
            self._send(process, signal.SIGCONT)
        began = time.monotonic()
        while (
            self._place.unfinished() or not self._have_submitted()
        ) and time.monotonic() < began + _PATIENCE:
            self._tend(calm=True)
            time.sleep(0.1)
        took = time.monotonic() - began
        time.sleep(2.0)  # for the reader to read on
        for process in self._processes:
            self._end(process)
        return took

    def _have_submitted(self) -> bool:
        """Return whether the submitters have done all that they had begun."""
        done = {entry["who"] for entry in entries(self.folder) if entry["what"] == "has done"}
        return done >= {process.name for process in self._processes if process.role == "submit"}

    def _end(self, process: Process) -> None:
        os.kill(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while os.waitpid(process.pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > deadline:
                self.counts["did not stop"] += 1
                os.kill(process.pid, signal.SIGKILL)
                os.waitpid(process.pid, 0)
                return
            time.sleep(0.02)

    def lost(self) -> list[str]:
        """Return ends that no handler caused, though all workers left in order."""
        db = sqlite3.connect(self.folder / "jobs.db")
        query = "SELECT id >> 32, kind, data FROM trio_jobs_event WHERE kind IN ('retried', 'failed')"
        found = [(number, kind, str(data)) for number, kind, data in db.execute(query)]
        db.close()
        lost = [one for one in found if not any(meant in one[2] for meant in _MEANT)]
        return [
            f"job {number} {kind}, though its worker left in good order: {data}"
            for number, kind, data in lost
        ]

    def crashes(self) -> list[str]:
        """Return the tracebacks of processes that ended with an error."""
        return [f"{path.stem} crashed:\n{path.read_text()}" for path in sorted(self.folder.glob("*.crash"))]


def main() -> int:
    """Run the torture, check it, and print the result."""
    parser = argparse.ArgumentParser(description="Kill processes that share a store, and check the store.")
    parser.add_argument("--kills", type=int, default=300, help="how many kills (default: 300)")
    parser.add_argument("--stops", type=int, help="only stop workers, so many times, and kill nothing")
    parser.add_argument(
        "--store", choices=PLACES, default="sqlite", help="where the jobs are (default: sqlite)"
    )
    parser.add_argument("--seed", type=int, default=None, help="for what is done at random (default: any)")
    parser.add_argument("--keep", type=Path, help="keep the file and the journals in this folder")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if given.seed is None else given.seed
    folder = given.keep or Path(tempfile.mkdtemp(prefix="trio-jobs-torture-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}", flush=True)
    began = time.monotonic()
    lease = LEASE if given.stops is None else PATIENT
    place = PLACES[given.store](folder)
    torture = Torture(folder, place, seed, lease)
    try:
        place.prepare()
        if given.stops is None:
            torture.torture(given.kills)
        else:
            torture.stop(given.stops)
        settled = torture.settle()
        faults = place.gather()
        version = place.version()
    finally:
        place.remove()
    report = check(folder, lease)
    faults += [*report.faults, *torture.crashes()]
    if given.stops is not None:
        faults += torture.lost()
    if torture.counts["did not stop"]:
        faults.append(f"{torture.counts['did not stop']} processes did not stop within 10 s of SIGTERM")
    counts = ", ".join(f"{number} {name}" for name, number in torture.counts.items())
    points = sum(entry["what"] == "failpoint" for entry in entries(folder))
    print(f"{torture.kills} kills: {counts}; {points} of them at a failpoint")
    print(f"{report.summary}; all ended {settled:.1f} s after the last blow")
    print(f"Python {platform.python_version()}, {version}, Trio {trio.__version__}")
    for fault in faults[:20]:
        print(f"FAULT: {fault}")
    print(f"{len(faults)} faults, {time.monotonic() - began:.0f} s")
    if given.keep is None and not faults:
        shutil.rmtree(folder)
    elif faults:
        print(f"the file and the journals are in {folder}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
