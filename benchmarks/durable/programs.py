"""Programs that the benchmark starts: each ends with its block, and none is waited for without a limit."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import which
from tempfile import TemporaryFile
from threading import Event, Thread
from typing import IO, Any, cast

import attrs

ROOT = Path(__file__).parents[2]
PATIENCE = 180.0  # seconds for an answer
LOOK = 0.2  # seconds between two looks whether all programs live
LAST_WORDS = 2000  # characters of a program's errors that are shown


class ProgramFailed(Exception):
    """A program ended too soon, or did not answer in time."""


@attrs.frozen(eq=False)
class Program:
    """A program that is running. Both of its outputs are ours to read."""

    name: str
    process: subprocess.Popen[str]
    errors: IO[str]

    def ask(self, order: Mapping[str, object], patience: float = PATIENCE) -> dict[str, Any]:
        """Give an order, and return the answer.

        Raises:
            ProgramFailed: There was none in time, for which the program is killed.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self.failed(order) from None
        return cast("dict[str, Any]", json.loads(self.read_line(order, patience)))

    def read_line(self, order: object, patience: float = PATIENCE) -> str:
        assert self.process.stdout is not None
        answered = Event()
        watch = Thread(target=self._kill_when_hopeless, args=(answered, patience))
        watch.start()
        try:
            line = self.process.stdout.readline()
        finally:
            answered.set()
            watch.join()
        if not line:
            raise self.failed(order)
        return line

    def _kill_when_hopeless(self, answered: Event, patience: float) -> None:
        """Kill this program when it has had its time, or when one that it may wait for has died."""
        for _ in range(math.ceil(patience / LOOK)):
            if answered.wait(LOOK):
                return
            if dead() - {self}:
                break
        self.process.kill()

    def failed(self, order: object) -> ProgramFailed:
        """Return the error that says who did not answer, who had died before, and what they said."""
        others = sorted(dead() - {self}, key=lambda one: one.name)
        what = "".join(f"; {one.name} had died (exit status {one.process.poll()})" for one in others)
        said = [one.last_words() for one in [*others, self]]
        return ProgramFailed("\n".join([f"{self.name} did not answer {order}{what}", *filter(None, said)]))

    def last_words(self) -> str:
        self.errors.seek(0)
        return self.errors.read()[-LAST_WORDS:].strip()


_RUNNING: set[Program] = set()


def dead() -> set[Program]:
    """Return the programs that ended though they should run."""
    return {one for one in _RUNNING if one.process.poll() is not None}


@contextmanager
def running(name: str, command: Sequence[str | Path]) -> Iterator[Program]:
    """Run a program for the length of the block; then it is asked to end, and killed if it does not."""
    with ExitStack() as stack:
        errors = stack.enter_context(TemporaryFile("w+", encoding="utf-8", errors="replace"))
        process = subprocess.Popen(  # noqa: S603  # the commands are the benchmark's own
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
        )
        program = Program(name, process, errors)
        _RUNNING.add(program)
        try:
            yield program
        finally:
            _RUNNING.discard(program)
            process.terminate()
            try:
                process.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


REDIS = "redis-server"


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Run a Redis server on the loopback, that writes what it is told to a file, and yield its address.

    The file is synced every second, which is Redis' default. It loses up to that second of jobs with the
    machine, which SQLite's FULL does not; this is to the peers' advantage.
    """
    port = free_port()
    command = [
        which(REDIS) or REDIS,
        *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)),
        *("--save", "", "--appendonly", "yes"),
    ]
    with running(REDIS, command) as server:
        while "Ready to accept connections" not in server.read_line("its start", 10):
            pass
        yield f"redis://127.0.0.1:{port}"


def python_of(environment: Path | None) -> str:
    return sys.executable if environment is None else str(environment / "bin" / "python")
