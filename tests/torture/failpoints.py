"""The failpoint matrix: each verb, at each step of its transaction, met by each kind of fault.

    python tests/torture/failpoints.py

A short programme of jobs runs through every verb, and through what some of them do besides. The first time
that a given verb comes to a given step, something happens: an error of SQLite's, a pause for longer than the
lease, or the end of the process. Then nothing more happens, and everything must end as it would have without.
An error after the commit is one of an answer that was lost: what was asked for has happened. What must hold
is checked by `checker.py`, as after the torture.
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
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import apsw
import attrs
import handlers
import trio
from checker import AUDIT, check
from evidence import EVERY
from handlers import receives, returns, saves, sends, steps
from journal import Journal, entries_of
from process import retry_until_answered

import trio_jobs
from trio_jobs import AwaitInput, JobContext, Kind, Limit, Reason, Retry, Schedule, State, handler
from trio_jobs.stores import Claimant, Outcome, Transition
from trio_jobs.stores.sqlite import SqliteStore, open_sqlite
from trio_jobs.stores.sqlite.group import Group
from trio_jobs.stores.submission import submission
from trio_jobs.testing.fold import check_agrees

LEASE: Final = 0.4
PATIENCE: Final = 90.0
JOURNAL: Final = "programme.jsonl"
VERBS: Final = (
    *("submit", "claim", "heartbeat", "append", "finish"),
    *("spawn", "request_cancel", "sweep", "remove", "prune"),
    *("send", "end_inputs", "inputs", "listening", "consume", "step", "wait"),
)
TURNS: Final = ("replace", "hand_on", "fire", "take_place")
"""Those about exclusive names, schedules and limits, which meet two kinds of fault at the commit."""
_waiting = threading.Event()
"""Set when jobs wait for a place under a limit, or may."""
_SPECIAL: Final[Mapping[str, tuple[str, Callable[[tuple[Any, ...], Mapping[str, Any]], bool]]]] = {
    "consume": ("append", lambda _, named: (named.get("received") or 0) > 0),
    "step": ("append", lambda args, _: Kind.STEP in args),
    "wait": ("finish", lambda args, _: is_wait(args[3])),
    "replace": ("submit", lambda args, _: args[1][0].options.on_busy == "cancel"),
    "hand_on": ("finish", lambda args, _: args[3].transition is Transition.CANCELLED),
    "take_place": ("claim", lambda *_: _waiting.is_set()),
}
"""Calls of a verb that do something of their own: which verb, and of what arguments."""
STEPS: Final = ("begin/before", "serve/before", "serve/after", "commit/before", "commit/after")
FAULTS: Final = ("kill", "hang", "io", "full", "busy")
_ERRORS: Final = {"io": apsw.IOError, "full": apsw.FullError, "busy": apsw.BusyError}


@attrs.frozen
class Case:
    """A fault, and its place."""

    verb: str
    step: str
    fault: str

    def __str__(self) -> str:
        return f"{self.verb} {self.step} {self.fault}"


CASES: Final = [
    *(Case(*each) for each in itertools.product(VERBS, STEPS, FAULTS)),
    *(Case(*each) for each in itertools.product(TURNS, STEPS[-2:], ("kill", "io"))),
]


def is_wait(outcome: Outcome) -> bool:
    """Return whether an attempt ends because it waits for an input."""
    return outcome.ended is not None and outcome.ended.reason is Reason.AWAITING_INPUT


@contextmanager
def planted(case: Case) -> Iterator[list[Case]]:
    """Let the fault happen once inside the block; then the list has the case."""
    method, moment = case.step.split("/")
    name, is_meant = _SPECIAL.get(case.verb, (case.verb, lambda *_: True))
    verb, call, transact = getattr(SqliteStore, name), Group.call, Group.transact
    reach = getattr(Group, method)
    asked: ContextVar[bool] = ContextVar("asked", default=False)
    marked: set[Any] = set()  # what the calls of the verb are to do
    within: set[Group] = set()  # whose transaction has such a call in it
    happened: list[Case] = []
    once = threading.Lock()

    async def asking(*args: Any, **named: Any) -> Any:
        token = asked.set(is_meant(args, named))
        try:
            return await verb(*args, **named)
        finally:
            asked.reset(token)

    async def calling(group: Group, work: Callable[..., Any]) -> Any:
        if asked.get():
            marked.add(work)
        return await call(group, work)

    def transacting(group: Group, calls: list[Any], *args: Any) -> None:
        if any(one.work in marked for one in calls):
            within.add(group)
        try:
            transact(group, calls, *args)
        finally:
            within.discard(group)

    def strike() -> None:
        with once:  # two stores have two threads
            if happened:
                return
            happened.append(case)
        if case.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif case.fault == "hang":
            time.sleep(1.5 * LEASE)
        else:
            raise _ERRORS[case.fault]("planted")

    def reaching(group: Group, *args: Any) -> None:
        strikes = group in within and not happened and (method != "serve" or args[1].work in marked)
        if strikes and moment == "before":
            strike()
        reach(group, *args)
        if strikes and moment == "after":
            strike()

    with (
        patch.object(SqliteStore, name, asking),
        patch.object(Group, "call", calling),
        patch.object(Group, "transact", transacting),
        patch.object(Group, method, reaching),
    ):
        yield happened


# ------------------------------------------------------------ the programme


@handler
async def child(job: JobContext[str]) -> str:
    """Run as a child."""
    handlers.journal.note("run", job=job.id, attempt=job.attempt)
    await sends(job, "child")
    return returns(job, "grown")


@handler(retry=Retry(attempts=10))  # so that a machine that stands still for a lease is no fault
async def talk(job: JobContext[str]) -> str:
    """Send, save, and spawn; long enough for a heartbeat."""
    for place in range(5):
        await sends(job, f"{job.attempt}.{place}")
    await job.save("half")
    spawned = await job.spawn(child)
    await trio.sleep(LEASE / 2)
    return returns(job, await spawned.result())


@handler(limits=[Limit(at_once=1)])
async def narrow(job: JobContext[str]) -> str:
    """Run alone."""
    handlers.journal.note("run", job=job.id, attempt=job.attempt)
    await trio.sleep(0.01)
    return returns(job, "done")


@handler
async def sleeper(job: JobContext[str]) -> None:
    """Wait to be cancelled."""
    await trio.sleep_forever()


@handler(inputs=str, retry=Retry(attempts=10))
async def listens(job: JobContext[str]) -> list[str]:
    """Receive an input, do a step, save, and wait for the next input without a slot; then for the end."""
    heard: list[str] = job.saved or []
    if not heard:
        heard.append(await receives(job))
        await steps(job, "answer")
        await saves(job, heard, job.received)
        handlers.journal.note("wait", job=job.id, attempt=job.attempt)
        raise AwaitInput("more")
    while True:
        try:
            heard.append(await receives(job))
        except trio.EndOfChannel:
            return returns(job, heard)


HANDLERS: Final = (child, talk, narrow, sleeper, listens)
TICK: Final = Schedule(child, name="tick", every=EVERY)
ENDS: Final = [
    ("first", State.CANCELLED),
    ("listens", State.COMPLETED),
    ("narrow 1", State.COMPLETED),
    ("narrow 2", State.COMPLETED),
    ("second", State.CANCELLED),
    ("stopped", State.CANCELLED),
    ("talk", State.COMPLETED),
    ("third", State.COMPLETED),
    ("tick", State.COMPLETED),
    ("waiting", State.CANCELLED),
    ("yes", State.COMPLETED),
]
"""What becomes of the jobs without a parent, by key; those of the dead worker and of the tick have none."""


async def programme(path: Path) -> None:
    """Run through every verb; when it is started again, go on where the last one was.

    Beside it a rival waits, with connections of its own, and takes what the first worker loses.
    """
    opened = partial(trio_jobs.open_registry, f"sqlite:///{path}", handlers=HANDLERS, lease=LEASE)
    with trio.fail_after(PATIENCE):  # a wait that does not end is this case's fault, and holds up no other
        async with opened(name="rival"), opened() as jobs, trio.open_nursery() as nursery:
            await _run_through(jobs, path, nursery)


async def _run_through(jobs: trio_jobs.JobRegistry, path: Path, nursery: trio.Nursery) -> None:
    heard = await _submit(jobs, listens, "listens")
    spoken = await _submit(jobs, talk, "talk")
    nursery.start_soon(retry_until_answered, partial(_follow, spoken, path.parent))
    await _take_turns(jobs)
    await _fire(jobs)
    await _take_places(jobs)
    stopped = await _submit(jobs, sleeper, "stopped")
    waiting = await _submit(jobs, sleeper, "waiting", delay=600)
    for job in (stopped, waiting):
        report = await retry_until_answered(partial(job.cancel, patience=30))
        assert report.outcome in {"cancelled", "already_over"}, "nobody heard that the job had ended"
        handlers.journal.note("cancelled", job=job.id, outcome=report.outcome)
    assert await spoken.result() == "grown"
    (lost,) = await retry_until_answered(partial(jobs.find, tags={"lost": "yes"}))
    assert await (await retry_until_answered(partial(jobs.get, lost.id))).result() == "grown"
    await _talk_to(heard)
    for old in await retry_until_answered(partial(jobs.find, tags={"old": "yes"})):
        try:
            await retry_until_answered(partial(jobs.remove, old.id))
        except trio_jobs.UnknownJob:  # the answer to the first call was lost
            pass
    await retry_until_answered(partial(jobs.prune, older_than=1e6))


async def _take_turns(jobs: trio_jobs.JobRegistry) -> None:
    """Submit three jobs of one name: the third ends the second, which waits, and the first, which runs."""
    first = await _submit(jobs, sleeper, "first", exclusive="door")
    await _submit(jobs, child, "second", exclusive="door", on_busy="after")
    third = await _submit(jobs, child, "third", exclusive="door", on_busy="cancel")
    assert await third.result() == "grown"
    assert (await retry_until_answered(first.snapshot)).state is State.CANCELLED


async def _fire(jobs: trio_jobs.JobRegistry) -> None:
    """Fire the first tick of a schedule, as the registries do that declare it."""
    store: Any = jobs._worker.store
    (row,) = (await retry_until_answered(store.schedules)).rows
    if row.last_tick == row.anchor:
        job = submission(child, (), {"tags": {"schedule": TICK.name}})
        await retry_until_answered(partial(store.fire, row, row.anchor + EVERY, job))
    fired, *_ = await retry_until_answered(partial(jobs.find, tags={"schedule": TICK.name}))
    assert await (await retry_until_answered(partial(jobs.get, fired.id))).result() == "grown"


async def _take_places(jobs: trio_jobs.JobRegistry) -> None:
    """Submit two jobs that have one place."""
    _waiting.set()
    places = [await _submit(jobs, narrow, f"narrow {number}") for number in (1, 2)]
    for job in places:
        assert await job.result() == "done"


async def _talk_to(job: trio_jobs.JobHandle[Any, Any]) -> None:
    """Send two inputs to a job, the second when the first one is saved, and end them.

    It comes behind all submits: one of them might take along what is due, and then nothing would ever be
    claimed by itself.
    """
    for key, value in (("1", "one"), ("2", "two")):
        handlers.journal.note("send", job=job.id, id=key, values=[value])
        seq = await retry_until_answered(partial(job.send, value, key=key))
        handlers.journal.note("sent", job=job.id, id=key, seq=seq, values=[value])
        await retry_until_answered(partial(_saved, job))
    seq = await retry_until_answered(job.end_inputs)
    handlers.journal.note("inputs ended", job=job.id, seq=seq)
    assert await job.result() == ["one", "two"]


async def _saved(job: trio_jobs.JobHandle[Any, Any]) -> None:
    """Wait until a job has saved something."""
    async with job.events(policy="gap") as events:
        async for event in events:
            if event.kind is Kind.SAVED:
                return


async def _submit(
    jobs: trio_jobs.JobRegistry, fn: Any, key: str, **options: Any
) -> trio_jobs.JobHandle[Any, Any]:
    handlers.journal.note("submit", key=key, on_busy=options.get("on_busy"))
    handle = await retry_until_answered(partial(jobs.submit, fn, key=key, **options))
    handlers.journal.note("submitted", key=key, job=handle.id)
    return handle


async def _follow(job: trio_jobs.JobHandle[Any, Any], folder: Path) -> None:
    """Read a job to its end, from the cursor of this reader's last life."""
    read = [entry for entry in entries_of(folder / JOURNAL) if entry["what"] in {"event", "end"}]
    if read and read[-1]["what"] == "end":
        return
    cursor = read[-1]["seq"] if read else 0
    async with job.events(cursor, policy="gap") as events:
        async for event in events:
            data = event.data if event.kind in {"token", "input", "saved", "completed"} else None
            facts = {"seq": event.seq, "attempt": event.attempt, "kind": event.kind, "data": data}
            handlers.journal.note("event", job=job.id, **facts)
    handlers.journal.note("end", job=job.id)


async def before(path: Path) -> None:
    """Leave a job of a crashed worker, one that has ended, and a schedule with a tick that is due."""
    async with open_sqlite(path, handlers=HANDLERS) as store:
        lost = submission(talk, (), {"tags": {"lost": "yes"}})
        await store.submit([lost], 1, Claimant("dead", 0.01))
        old = submission(child, (), {"tags": {"old": "yes"}})
        await store.submit([old], 1, Claimant("done", 60.0))
        await store.finish(old.id, 1, Outcome(Transition.COMPLETED, "done"))
        await store.declare([TICK])
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE trio_jobs_schedule SET anchor = anchor - 1, last_tick = last_tick - 1")
        db.executescript(AUDIT)


# ------------------------------------------------------------ one case


def play(case: Case, folder: Path) -> bool:
    """Play one case, and return whether it came to it.

    Raises:
        AssertionError: Something is not as it must be.
    """
    path = folder / "jobs.db"
    handlers.journal = Journal(folder / JOURNAL)
    _waiting.clear()
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
    """Let a process of its own run into the case, and return whether it was killed by it."""
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
    """Check that every job ended as without a fault, and that the file is sound."""
    report = check(path.parent, LEASE)
    assert not report.faults, "\n".join(report.faults)
    async with trio_jobs.open_registry(f"sqlite:///{path}", handlers=HANDLERS, capacity=0) as jobs:
        handles = [await jobs.get(one.id) for one in await jobs.find()]
        found = [await handle.snapshot() for handle in handles]
        for job, handle in zip(found, handles, strict=True):
            async with handle.events() as events:
                check_agrees(job, [event async for event in events])
    ends = sorted((job.key or _mark_of(job), job.state) for job in found if not job.parent)
    assert ends == ENDS, f"the jobs are {ends}"


def _mark_of(job: trio_jobs.Job) -> str:
    """Return the value of the only tag of a job without a key."""
    ((_, mark),) = job.tags.items()
    return mark


def main() -> int:
    """Play all cases, and say which do not hold."""
    parser = argparse.ArgumentParser(description="Meet each verb at each step with each kind of fault.")
    parser.add_argument("--every", type=int, default=1, help="only every n-th case (default: all)")
    parser.add_argument("--only", help="only this case, as in 'append commit/after io'")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    began, met, broken = time.monotonic(), 0, 0
    cases = [case for case in CASES if given.only in {None, str(case)}][:: given.every]
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="trio-jobs-") as folder:
            try:
                met += play(case, Path(folder))
            except BaseException as error:  # noqa: BLE001  # whatever it is, it is this case's fault
                broken += 1
                print(f"FAULT: {case}: {''.join(traceback.format_exception(error))}", flush=True)
    print(f"{len(cases)} cases, {met} of them met, {broken} broken, {time.monotonic() - began:.0f} s")
    return 1 if broken or not cases or met < 0.9 * len(cases) else 0


if __name__ == "__main__":
    sys.exit(main())
