"""The processes of the torture: work, submit, read. Each runs until it is killed or told to stop."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import handlers
import trio
from journal import Journal, entries_of

import trio_jobs
from trio_jobs.stores.sqlite.group import Group

LEASE: Final = 1.0
PATIENT: Final = 15.0
"""The lease where nothing dies: none lapses only because the machine is busy."""
_GRACE: Final = 0.2
_MOST_WAITING: Final = 150
_AT_ONCE: Final = 25


def run(
    role: str, name: str, folder: Path, failpoint: str | None, seed: int, *, lease: float = LEASE
) -> None:
    """Be a process of the torture.

    Args:
        role: `work`, `submit` or `read`.
        name: What its journal is called. Readers and submitters keep theirs when they are started again.
        folder: Where the file and the journals are.
        failpoint: Where to kill itself, as in `commit/after/12`: the 12th time.
        seed: For what it does at random.
        lease: Seconds without a word after which a worker counts as dead.
    """
    random.seed(seed)
    path = folder / f"{name}.jsonl"
    handlers.journal = Journal(path)
    handlers.calm = lease == PATIENT
    if failpoint is not None:
        _plant(failpoint, handlers.journal)
    roles: dict[str, Callable[[trio_jobs.JobRegistry, Journal, Path], Awaitable[None]]]
    roles = {"work": _work, "submit": _submit, "read": _read}
    trio.run(_live, roles[role], role, name, folder, path, lease)


async def _live(
    part: Callable[..., Awaitable[None]], role: str, name: str, folder: Path, path: Path, lease: float
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio_jobs.open_registry(
            f"sqlite:///{folder / 'jobs.db'}",
            handlers=handlers.ALL,
            capacity=10 if role == "work" else 0,
            lease=lease,
            grace=_GRACE,
            name=name,
        ) as jobs:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(part, jobs, handlers.journal, path)
                async for _ in signals:
                    break
                nursery.cancel_scope.cancel()


async def _work(jobs: trio_jobs.JobRegistry, journal: Journal, path: Path) -> None:
    journal.note("works")
    await trio.sleep_forever()


# ------------------------------------------------------------ submitting


_KINDS: Final[Sequence[tuple[float, Any, Callable[[], tuple[Any, ...]]]]] = (
    (30, handlers.quick, lambda: (random.randint(0, 9),)),
    (25, handlers.stream, lambda: (random.randint(1, 60), random.choice((0.0, 0.02, 0.1)))),
    (15, handlers.burst, lambda: (random.randint(1, 150),)),
    (12, handlers.flaky, lambda: (random.randint(0, 3),)),
    (10, handlers.parent, lambda: (random.randint(1, 3),)),
    (7.5, handlers.stubborn, lambda: (random.choice((0.05, 0.3)),)),
    (0.5, handlers.deadly, lambda: ()),
)


def _draw() -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Draw a job: its handler, its arguments, and its options."""
    ((_, fn, args),) = random.choices(_KINDS, [weight for weight, _, _ in _KINDS])
    options: dict[str, Any] = {"priority": random.randint(0, 3)}
    if random.random() < 0.1:
        options["delay"] = 0.2
    return fn, args(), options


async def _submit(jobs: trio_jobs.JobRegistry, journal: Journal, path: Path) -> None:
    known = {entry["key"] for entry in entries_of(path) if entry["what"] == "submit"}
    async with trio.open_nursery() as nursery:
        for number in range(len(known), 10**9):
            await _submit_one(jobs, journal, f"{path.stem}-{number}", nursery)
            await trio.sleep(random.uniform(0.0, 0.08))
            while await jobs.count(state=trio_jobs.State.QUEUED) > _MOST_WAITING:
                await trio.sleep(0.2)


async def _submit_one(jobs: trio_jobs.JobRegistry, journal: Journal, key: str, nursery: trio.Nursery) -> None:
    fn, args, options = _draw()
    while True:
        journal.note("submit", key=key)
        try:
            handle = await jobs.submit(fn, *args, key=key, **options)
        except trio_jobs.StoreUnavailable:  # perhaps it was accepted; the key makes asking again safe
            continue
        break
    journal.note("submitted", key=key, job=handle.id)
    if random.random() < 0.25:
        nursery.start_soon(_cancel, handle, journal)


async def _cancel(handle: trio_jobs.JobHandle[Any, Any], journal: Journal) -> None:
    await trio.sleep(random.choice((0.0, 0.05, 0.5)))
    journal.note("cancel", job=handle.id)
    try:
        report = await handle.cancel(grace=random.choice((0.0, 0.1)), patience=20)
    except trio_jobs.StoreUnavailable:
        return
    journal.note("cancelled", job=handle.id, outcome=report.outcome)


# ------------------------------------------------------------ reading


async def every(jobs: trio_jobs.JobRegistry) -> list[trio_jobs.JobSummary]:
    """Return all jobs, page by page."""
    page = await jobs.find(limit=1000)
    found = [*page]
    while page.next is not None:
        page = await jobs.find(limit=1000, after=page.next)
        found += page
    return found


async def _read(jobs: trio_jobs.JobRegistry, journal: Journal, path: Path) -> None:
    cursors: dict[str, int] = {}
    ended: set[str] = set()
    for entry in entries_of(path):
        if entry["what"] == "event":
            cursors[entry["job"]] = entry["seq"]
        elif entry["what"] == "end":
            ended.add(entry["job"])
    places = trio.CapacityLimiter(_AT_ONCE)
    async with trio.open_nursery() as nursery:
        while True:
            for job in await every(jobs):
                # A sixteenth of all jobs, always the same ones.
                if job.id not in ended and job.id[0] == "7":
                    ended.add(job.id)
                    nursery.start_soon(_follow, jobs, journal, job.id, cursors.get(job.id, 0), places)
            await trio.sleep(0.2)


async def _follow(
    jobs: trio_jobs.JobRegistry, journal: Journal, job_id: str, cursor: int, places: trio.CapacityLimiter
) -> None:
    async with places:
        handle = await jobs.get(job_id)
        while True:
            async with handle.events(cursor, policy="gap") as events:
                async for event in events:
                    cursor = event.seq
                    data = event.data if event.kind in {"token", "saved", "completed"} else None
                    journal.note(
                        "event", job=job_id, seq=cursor, attempt=event.attempt, kind=event.kind, data=data
                    )
                    if random.random() < 0.05:
                        break  # leave, and come again
                else:
                    journal.note("end", job=job_id)
                    return


# ------------------------------------------------------------ dying


def _plant(failpoint: str, journal: Journal) -> None:
    """Let the process kill itself the n-th time that it reaches a place in the store."""
    method, moment, number = failpoint.split("/")
    real = getattr(Group, method)
    passed = 0

    def reach(*args: Any) -> None:
        nonlocal passed
        passed += 1
        if moment == "before" and passed == int(number):
            _die(failpoint, journal)
        real(*args)
        if moment == "after" and passed == int(number):
            _die(failpoint, journal)

    setattr(Group, method, reach)


def _die(failpoint: str, journal: Journal) -> None:
    journal.note("failpoint", point=failpoint)
    os.kill(os.getpid(), signal.SIGKILL)
