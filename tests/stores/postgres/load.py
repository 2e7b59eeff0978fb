"""Jobs that are submitted and run all the time, while a test does something to the server; also as a host.

    python tests/stores/postgres/load.py URL NAME LEASE NOTES

works on such jobs until it gets SIGTERM, and writes down when each attempt began and ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
import trio

from trio_jobs import JobContext, JobHandle, JobRegistry, Kind, StoreUnavailable, open_registry

TOKENS = 3
PATIENCE = 60.0
"""Seconds after which a test that hangs ends."""
_MOST = 20  # jobs that have not ended
Note: TypeAlias = tuple[float, str, str, int]
notes: list[Note] = []
file: int | None = None
"""Where notes are written too, in a process of its own."""


def note(what: str, job: JobContext[str]) -> None:
    """Write down what a handler does; by the clock that all processes of this machine share."""
    notes.append((time.clock_gettime(time.CLOCK_BOOTTIME), what, job.id, job.attempt))
    if file is not None:
        os.write(file, json.dumps(notes[-1]).encode() + b"\n")


async def work(job: JobContext[str], number: int, seconds: float) -> int:
    """Send a few tokens."""
    note("began", job)
    try:
        for place in range(TOKENS):
            await job.send(f"{number}.{place}")
            await trio.sleep(seconds / TOKENS)
        return number
    finally:
        note("ended", job)


def sql(url: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """Run a statement beside the store."""
    with psycopg.connect(url, autocommit=True) as db:
        done = db.execute(statement.encode(), values or None)
        return done.fetchall() if done.description else []


def run(*command: str) -> None:
    """Run a command of the system."""
    subprocess.run(command, check=True, capture_output=True)


@asynccontextmanager
async def registry(url: str, **options: Any) -> AsyncGenerator[JobRegistry]:
    with trio.fail_after(PATIENCE):
        async with open_registry(url, handlers=[work], **options) as jobs:
            yield jobs


def overlaps(found: Iterable[Note]) -> list[Note]:
    """Return the beginnings of attempts at which another attempt of the job had not ended."""
    running: Counter[str] = Counter()
    wrong: list[Note] = []
    for one in sorted(found):
        running[one[2]] += 1 if one[1] == "began" else -1
        if running[one[2]] > 1:
            wrong.append(one)
    return wrong


class Load:
    """Submits jobs one after the other, and again what it got no answer for, and counts those that ended."""

    def __init__(self, jobs: JobRegistry, seconds: float) -> None:
        self._jobs = jobs
        self._seconds = seconds
        self._handles: dict[int, JobHandle[Any, Any]] = {}
        self._done = 0
        self._enough = False
        self._asked_all = trio.Event()
        self.refused = 0
        """How many calls were answered by `StoreUnavailable`."""

    async def submit(self) -> None:
        """Submit until it is enough."""
        async with trio.open_nursery() as nursery:
            number = 0
            while not self._enough:
                handle = await self._ask(number)
                self._handles[number] = handle
                nursery.start_soon(self._await, number, handle)
                number += 1
                await trio.sleep(0.01)
                while len(self._handles) - self._done >= _MOST and not self._enough:
                    await trio.sleep(0.01)
            self._asked_all.set()

    async def _ask(self, number: int) -> JobHandle[Any, Any]:
        while True:
            try:
                return await self._jobs.submit(work, number, self._seconds, key=f"load {number}")
            except StoreUnavailable:
                self.refused += 1
                await trio.sleep(0.01)

    async def _await(self, number: int, handle: JobHandle[Any, Any]) -> None:
        while True:
            try:
                assert await handle.result() == number
                break
            except StoreUnavailable:
                self.refused += 1
                await trio.sleep(0.01)
        self._done += 1

    async def go_on(self, jobs: int = 20) -> None:
        """Return when so many more jobs have completed."""
        goal = self._done + jobs
        with trio.fail_after(PATIENCE):
            while self._done < goal:
                await trio.sleep(0.01)

    async def until_refused(self) -> None:
        """Return when a caller was told that the store is not available."""
        before = self.refused
        with trio.fail_after(PATIENCE):
            while self.refused == before:
                await trio.sleep(0.01)

    async def end(self, *, lost: bool = False) -> None:
        """Submit no more, and check every job that was accepted.

        Args:
            lost: Whether workers may have been taken for dead.
        """
        self._enough = True
        with trio.fail_after(PATIENCE):
            await self._asked_all.wait()  # the last one may be under way
            while self._done < len(self._handles):
                await trio.sleep(0.01)
        assert await self._jobs.count() == len(self._handles)
        for number, handle in self._handles.items():
            job = await handle.snapshot()
            assert job.result == number
            async with handle.events() as events:
                log = [event async for event in events]
            last = [(event.kind, event.data) for event in log if event.attempt == job.attempt]
            tokens = [(Kind.TOKEN, f"{number}.{place}") for place in range(TOKENS)]
            told = [one for one in last if one[0] in {Kind.TOKEN, Kind.COMPLETED}]
            assert told == [*tokens, (Kind.COMPLETED, number)]
            # An attempt whose start was not answered is given back, and another one begins.
            assert lost or "worker_lost" not in str(
                [event.data for event in log if event.kind is Kind.RETRIED]
            )


@asynccontextmanager
async def under_load(
    url: str, *, direct: str | None = None, capacity: int = 4, seconds: float = 0.03, lease: float = 30.0
) -> AsyncGenerator[Load]:
    """Submit jobs from one registry and run them in another one.

    Args:
        url: The store, as the worker gets to it.
        direct: The store, as the submitter gets to it; by default in the same way.
        capacity: How many jobs run here at once; 0 if others run them.
        seconds: How long a job takes.
        lease: The worker's.
    """
    notes.clear()
    handlers = [work]
    async with (
        open_registry(url, handlers=handlers, capacity=capacity, lease=lease),
        open_registry(direct or url, handlers=handlers, capacity=0) as jobs,
        trio.open_nursery() as nursery,
    ):
        load = Load(jobs, seconds)
        nursery.start_soon(load.submit)
        await load.go_on(5)
        yield load
        nursery.cancel_scope.cancel()
    assert overlaps(notes) == []


async def host(url: str, name: str, lease: float) -> None:
    """Work until SIGTERM."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with open_registry(url, handlers=[work], capacity=4, lease=lease, name=name):
            print("works", flush=True)
            async for _ in signals:
                return


def read(path: Path) -> list[Note]:
    """Return what hosts have noted in a file."""
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()]


if __name__ == "__main__":
    file = os.open(sys.argv[4], os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    trio.run(host, sys.argv[1], sys.argv[2], float(sys.argv[3]))
