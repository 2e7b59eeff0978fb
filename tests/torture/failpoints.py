"""The failpoint matrix: each verb that writes, at each step of its transaction, met by each kind of fault.

    python tests/torture/failpoints.py

A short programme of jobs runs through every verb. The first time that a given verb comes to a given step,
something happens: an error of SQLite's, a pause for longer than the lease, or the end of the process. Then
nothing more happens, and everything must end as it would have without. An error after the commit is one of an
answer that was lost: what was asked for has happened.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from unittest.mock import patch

import apsw
import attrs
import trio

import trio_jobs
from trio_jobs import JobContext, Retry, State, handler
from trio_jobs._submission import submission
from trio_jobs.stores import Claimant, Outcome, Transition
from trio_jobs.stores.sqlite import SqliteStore, open_sqlite
from trio_jobs.stores.sqlite.group import Group
from trio_jobs.testing._fold import check_agrees

T = TypeVar("T")
LEASE: Final = 0.4
VERBS: Final = (
    *("submit", "claim", "heartbeat", "append", "finish"),
    *("spawn", "request_cancel", "sweep", "remove", "prune"),
)
STEPS: Final = ("begin/before", "serve/before", "serve/after", "commit/before", "commit/after")
FAULTS: Final = ("kill", "hang", "io", "full", "busy")
_ERRORS: Final = {"io": apsw.IOError, "full": apsw.FullError, "busy": apsw.BusyError}


@attrs.frozen
class Case:
    """What happens where."""

    verb: str
    step: str
    fault: str

    def __str__(self) -> str:
        return f"{self.verb} {self.step} {self.fault}"


CASES: Final = [Case(*each) for each in itertools.product(VERBS, STEPS, FAULTS)]


@contextmanager
def planted(case: Case) -> Iterator[list[Case]]:
    """Let the fault happen once inside the block; the list has the case when it has."""
    method, moment = case.step.split("/")
    write, reach = SqliteStore._write, getattr(Group, method)
    armed: list[Group] = []
    happened: list[Case] = []

    async def arming(store: SqliteStore, work: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if work.__name__ == case.verb and not happened:
            armed.append(store._writer)
        return await write(store, work, *args, **named)

    def strike() -> None:
        happened.append(case)
        if case.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif case.fault == "hang":
            time.sleep(1.5 * LEASE)
        else:
            raise _ERRORS[case.fault]("planted")

    def reaching(group: Group, *args: Any) -> None:
        strikes = group in armed and not happened
        if strikes and moment == "before":
            strike()
        reach(group, *args)
        if strikes and moment == "after":
            strike()

    with patch.object(SqliteStore, "_write", arming), patch.object(Group, method, reaching):
        yield happened


# ------------------------------------------------------------ the programme


@handler
async def child(job: JobContext[str]) -> str:
    """Be spawned."""
    await job.send("child")
    return "grown"


@handler(retry=Retry(attempts=10))  # so that a machine that stands still for a lease is no fault
async def talk(job: JobContext[str]) -> str:
    """Send, save, and spawn; long enough for a heartbeat."""
    for place in range(5):
        await job.send(f"{place}")
    await job.save("half")
    spawned = await job.spawn(child)
    await trio.sleep(LEASE / 2)
    return await spawned.result()


@handler
async def sleeper(job: JobContext[str]) -> None:
    """Wait to be cancelled."""
    await trio.sleep_forever()


HANDLERS: Final = (child, talk, sleeper)


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Ask again until there is an answer, as a careful program does."""
    while True:
        try:
            return await call()
        except trio_jobs.StoreUnavailable:
            await trio.sleep(0.01)


async def programme(path: Path) -> None:
    """Run through every verb; when it is started again, go on where the last one was."""
    async with trio_jobs.open_registry(f"sqlite:///{path}", handlers=HANDLERS, lease=LEASE) as jobs:
        submit = jobs.submit
        spoken = await insist(partial(submit, talk, key="talk"))
        stopped = await insist(partial(submit, sleeper, key="stopped"))
        waiting = await insist(partial(submit, sleeper, key="waiting", delay=600))
        await insist(partial(stopped.cancel, patience=30))
        await insist(partial(waiting.cancel, patience=30))
        assert await spoken.result() == "grown"
        lost = await jobs.find(tags={"lost": "yes"})
        for job in lost:
            assert await (await jobs.get(job.id)).result() == "grown"
        old = await jobs.find(tags={"old": "yes"})
        for job in old:
            try:
                await insist(partial(jobs.remove, job.id))
            except trio_jobs.UnknownJob:  # the answer to the first call was lost
                pass
        await insist(partial(jobs.prune, older_than=1e6))


async def before(path: Path) -> None:
    """Leave a job of a dead worker, and one that has ended."""
    async with open_sqlite(path, handlers=HANDLERS) as store:
        lost = submission(talk, (), {"tags": {"lost": "yes"}})
        await store.submit([lost], 1, Claimant("dead", 0.01))
        old = submission(child, (), {"tags": {"old": "yes"}})
        await store.submit([old], 1, Claimant("done", 60.0))
        await store.finish(old.id, 1, Outcome(Transition.COMPLETED, "done"))


# ------------------------------------------------------------ one case


def play(case: Case, folder: Path) -> bool:
    """Play one case, and return whether it came to it.

    Raises:
        AssertionError: Something is not as it must be.
    """
    path = folder / "jobs.db"
    trio.run(before, path)
    if case.fault == "kill":
        happened = _killed(case, path)
        trio.run(programme, path)
    else:
        with planted(case) as found:
            trio.run(programme, path)
        happened = bool(found)
    trio.run(judge, path)
    return happened


def _killed(case: Case, path: Path) -> bool:
    """Let a process of its own run into the case, and return whether it died of it."""
    pid = os.fork()
    if not pid:
        try:
            with planted(case):
                trio.run(programme, path)
        except BaseException:  # noqa: BLE001  # a process of its own: it is reported by how it ends
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, f"the process ended with {status}"
    return os.WIFSIGNALED(status)


async def judge(path: Path) -> None:
    """Check that every job ended as it would have without a fault, and that the file is whole."""
    async with trio_jobs.open_registry(f"sqlite:///{path}", handlers=HANDLERS, capacity=0) as jobs:
        found = await jobs.find()
        for job in found:
            async with (await jobs.get(job.id)).events() as events:
                check_agrees(job, [event async for event in events])
            assert job.state.over, f"{job.handler} is {job.state}"
    ends = {job.key: job.state for job in found if job.key}
    assert ends == {"talk": State.COMPLETED, "stopped": State.CANCELLED, "waiting": State.CANCELLED}, ends
    assert not [job for job in found if job.tags.get("old")], "a removed job is still there"
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        totals = db.execute("SELECT sum(jobs) FROM trio_jobs_total").fetchone()[0]
        assert totals == len(found), f"the totals count {totals} jobs, and there are {len(found)}"


def main() -> int:
    """Play all cases, and say which do not hold."""
    parser = argparse.ArgumentParser(description="Meet each verb at each step with each kind of fault.")
    parser.add_argument("--every", type=int, default=1, help="only every n-th case (default: all)")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    began, met, broken = time.monotonic(), 0, 0
    cases = CASES[:: given.every]
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="trio-jobs-") as folder:
            try:
                met += play(case, Path(folder))
            except BaseException as error:  # noqa: BLE001  # whatever it is, it is this case's fault
                broken += 1
                print(f"FAULT: {case}: {''.join(traceback.format_exception(error))}", flush=True)
    print(f"{len(cases)} cases, {met} of them met, {broken} broken, {time.monotonic() - began:.0f} s")
    return 1 if broken or met < 0.9 * len(cases) else 0


if __name__ == "__main__":
    sys.exit(main())
