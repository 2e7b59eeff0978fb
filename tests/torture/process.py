"""The processes of the torture: work, submit, read. Each runs until it is killed or told to stop."""

from __future__ import annotations

import inspect
import itertools
import os
import random
import signal
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import handlers
import trio
from evidence import INBOX
from journal import Journal, entries_of

import trio_jobs
from trio_jobs.stores.postgres.connection import Connection
from trio_jobs.stores.sqlite.group import Group

T = TypeVar("T")
LEASE: Final = 1.0
PATIENT: Final = 15.0
"""The lease where nothing dies: none lapses only because the machine is busy."""
_GRACE: Final = 0.2
_MOST_WAITING: Final = 150
ENOUGH: Final = "enough"
"""A file that tells submitters to submit no more, and to end what they have begun."""
_AT_ONCE: Final = 25


def run(
    role: str,
    name: str,
    folder: Path,
    url: str,
    failpoint: str | None,
    seed: int,
    *,
    plan: int = 0,
    lease: float = LEASE,
) -> None:
    """Be a process of the torture.

    Args:
        role: `work`, `submit` or `read`.
        name: What its journal is called. Readers and submitters keep theirs when they are started again.
        folder: Where the journals are.
        url: The store.
        failpoint: Where to kill itself, as in `commit/after/12`: the 12th time.
        seed: For what it does at random.
        plan: For what is submitted, the same in each life.
        lease: Seconds without a word after which a worker counts as dead.
    """
    random.seed(seed)
    path = folder / f"{name}.jsonl"
    handlers.journal = Journal(path)
    handlers.calm = lease == PATIENT
    parts: dict[str, Callable[[trio_jobs.JobRegistry, Journal, Path], Awaitable[None]]]
    parts = {"work": _work, "submit": partial(_submit, plan), "read": _read}
    if failpoint is not None:
        _plant(failpoint, handlers.journal)
    trio.run(_live, parts[role], role, name, url, path, lease)


async def _live(
    part: Callable[..., Awaitable[None]], role: str, name: str, url: str, path: Path, lease: float
) -> None:
    open_registry = partial(
        trio_jobs.open_registry,
        url,
        handlers=handlers.ALL,
        schedules=handlers.SCHEDULES if role == "work" else (),
        capacity=10 if role == "work" else 0,
        lease=lease,
        grace=_GRACE,
        name=name,
        retention=trio_jobs.Retention(inputs=INBOX, finished=10**9),
    )
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with AsyncExitStack() as stack:
            jobs = await retry_until_answered(lambda: stack.enter_async_context(open_registry()))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(part, jobs, handlers.journal, path)
                async for _ in signals:
                    break
                nursery.cancel_scope.cancel()


async def _work(jobs: trio_jobs.JobRegistry, journal: Journal, path: Path) -> None:
    journal.note("works")
    await trio.sleep_forever()


async def retry_until_answered(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call until it is answered, as a careful program does, and until there is room for an input."""
    while True:
        try:
            return await call()
        except (trio_jobs.StoreUnavailable, trio_jobs.InboxFull):
            await trio.sleep(0.01)


# ------------------------------------------------------------ submitting


_KINDS: Final[Sequence[tuple[float, Any, Callable[[random.Random], tuple[Any, ...]]]]] = (
    (30, handlers.quick, lambda chance: (chance.randint(0, 9),)),
    (25, handlers.stream, lambda chance: (chance.randint(1, 60), chance.choice((0.0, 0.02, 0.1)))),
    (15, handlers.burst, lambda chance: (chance.randint(1, 150),)),
    (12, handlers.flaky, lambda chance: (chance.randint(0, 3),)),
    (10, handlers.parent, lambda chance: (chance.randint(1, 3),)),
    (7.5, handlers.stubborn, lambda chance: (chance.choice((0.05, 0.3)),)),
    (0.5, handlers.deadly, lambda _: ()),
    (20, handlers.limited, lambda chance: (chance.choice((0.0, 0.05, 0.3)),)),
    (12, handlers.chat, lambda chance: (chance.choice((0.0, 0.05, 0.2)), chance.choice((None, None, 0.3)))),
)
_NAMES: Final = ("one", "two", "three")
_POLICIES: Final = (*("reject", "attach", "after", "replace", "cancel"), trio_jobs.Debounce(0.1, 0.4))


def _draw(chance: random.Random) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Draw a job: its handler, its arguments, and its options."""
    ((_, fn, args),) = chance.choices(_KINDS, [weight for weight, _, _ in _KINDS])
    options: dict[str, Any] = {"priority": chance.randint(0, 3)}
    if chance.random() < 0.1:
        options["delay"] = 0.2
    if fn is handlers.limited:
        options["limit_key"] = chance.choice("abcdef")
    if chance.random() < 0.4 and fn is not handlers.chat:
        options |= {"exclusive": chance.choice(_NAMES), "on_busy": chance.choice(_POLICIES)}
        if isinstance(options["on_busy"], trio_jobs.Debounce):
            options.pop("delay", None)  # a Debounce says by itself when the job is due
    return fn, args(chance), options


async def _submit(plan: int, jobs: trio_jobs.JobRegistry, journal: Journal, path: Path) -> None:
    """Submit jobs and talk to them; go on where the last life ended, with the one it had no answer for."""
    entries = list(entries_of(path))
    known = {entry["key"]: entry["job"] for entry in entries if entry["what"] == "submitted"}
    asked = {entry["key"] for entry in entries if entry["what"] == "submit"}
    held = {entry["key"] for entry in entries if entry["what"] in {"busy", "attached"}}
    hung_up = {entry["job"] for entry in entries if entry["what"] == "hung up"}
    answered = {(entry["job"], entry["id"]) for entry in entries if entry["what"] == "sent"}
    async with trio.open_nursery() as nursery:

        def talk(key: str, job: trio_jobs.JobHandle[Any, Any]) -> None:
            nursery.start_soon(_talk, job, journal, random.Random(f"talk {plan} {key}"), answered)

        for number in itertools.count():
            key = f"{path.stem}-{number}"
            fn, args, options = _draw(random.Random(f"{plan} {key}"))
            if key in known:
                if fn is handlers.chat and known[key] not in hung_up:
                    talk(key, await retry_until_answered(partial(jobs.get, known[key])))
                continue
            if key in held:
                continue
            if (path.parent / ENOUGH).exists() and key not in asked:
                break
            job = await _submit_one(jobs, journal, partial(jobs.submit, fn, *args, key=key, **options))
            if job is not None and fn is handlers.chat:
                talk(key, job)
            if job is not None and random.random() < 0.25:
                nursery.start_soon(_cancel, job, journal)
            await trio.sleep(random.uniform(0.0, 0.08))
            count = partial(jobs.count, state=trio_jobs.State.QUEUED)
            while await retry_until_answered(count) > _MOST_WAITING:
                await trio.sleep(0.2)
    for schedule in handlers.SCHEDULES:
        await retry_until_answered(partial(jobs.schedules.pause, schedule.name))
    journal.note("has done")


async def _submit_one(
    jobs: trio_jobs.JobRegistry, journal: Journal, submit: partial[Coroutine[Any, Any, Any]]
) -> trio_jobs.JobHandle[Any, Any] | None:
    """Submit a job, and return it, or the one that it was attached to; None if it is refused."""
    key, name, policy = map(submit.keywords.get, ("key", "exclusive", "on_busy"))
    journal.note("submit", key=key, exclusive=name, on_busy=None if policy is None else str(policy))
    try:
        job: trio_jobs.JobHandle[Any, Any] = await retry_until_answered(submit)
    except trio_jobs.Busy as busy:
        journal.note("busy", key=key, exclusive=name, holder=busy.job_id)
        return None
    if policy == "attach" and (await retry_until_answered(job.snapshot)).key != key:
        journal.note("attached", key=key, exclusive=name, holder=job.id)
    else:
        journal.note("submitted", key=key, job=job.id)
    return job


async def _talk(
    job: trio_jobs.JobHandle[Any, Any],
    journal: Journal,
    chance: random.Random,
    answered: Collection[tuple[str, str]],
) -> None:
    """Send a job inputs, each in turn until there is an answer, and end them."""
    said = 0
    try:
        for number in range(chance.randint(0, 8)):
            pause, count, times = chance.choice((0.0, 0.02, 0.1, 0.4)), chance.choice((1, 1, 2, 3)), 1
            if chance.random() < 0.2:
                times = 2  # as if the answer had been lost
            values = [f"said {place}" for place in range(said, said + count)]
            said, key = said + count, f"{number}"
            if (job.id, key) in answered:
                continue
            await trio.sleep(pause)
            journal.note("send", job=job.id, id=key, values=values)
            for _ in range(times):
                seq = await retry_until_answered(partial(job.send_many, values, key=key))
                journal.note("sent", job=job.id, id=key, seq=seq, values=values)
        seq = await retry_until_answered(job.end_inputs)
        journal.note("inputs ended", job=job.id, seq=seq)
    except trio_jobs.IllegalTransition:
        journal.note("refused", job=job.id)  # it has ended
    journal.note("hung up", job=job.id)


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
            for job in await retry_until_answered(partial(every, jobs)):
                # A sixteenth of all jobs, always the same ones.
                if job.id not in ended and job.id[0] == "7":
                    ended.add(job.id)
                    nursery.start_soon(_follow, jobs, journal, job.id, cursors.get(job.id, 0), places)
            await trio.sleep(0.2)


async def _follow(
    jobs: trio_jobs.JobRegistry, journal: Journal, job_id: str, cursor: int, places: trio.CapacityLimiter
) -> None:
    async with places:
        handle = await retry_until_answered(partial(jobs.get, job_id))
        while True:
            try:
                async with handle.events(cursor, policy="gap") as events:
                    async for event in events:
                        cursor = event.seq
                        facts = {"seq": cursor, "attempt": event.attempt, "kind": event.kind}
                        shown = event.kind in {"token", "input", "saved", "completed"}
                        journal.note("event", job=job_id, **facts, data=event.data if shown else None)
                        if random.random() < 0.05:
                            break  # leave, and come again
                    else:
                        journal.note("end", job=job_id)
                        return
            except trio_jobs.StoreUnavailable:
                await trio.sleep(0.01)


# ------------------------------------------------------------ dying


def _plant(failpoint: str, journal: Journal) -> None:
    """Let the process kill itself the n-th time that it reaches a place in the store."""
    method, moment, number = failpoint.split("/")
    owner: type[Any] = Connection if method.startswith("_") else Group
    real = getattr(owner, method)
    passed = 0

    def reach() -> bool:
        nonlocal passed
        passed += 1
        return passed == int(number)

    def passes(*args: Any) -> None:
        dies = reach()
        if dies and moment == "before":
            _die(failpoint, journal)
        real(*args)
        if dies:
            _die(failpoint, journal)

    async def passes_async(*args: Any) -> Any:
        dies = reach()
        if dies and moment == "before":
            _die(failpoint, journal)
        value = await real(*args)
        if dies:
            _die(failpoint, journal)
        return value

    setattr(owner, method, passes_async if inspect.iscoroutinefunction(real) else passes)


def _die(failpoint: str, journal: Journal) -> None:
    journal.note("failpoint", point=failpoint)
    os.kill(os.getpid(), signal.SIGKILL)
