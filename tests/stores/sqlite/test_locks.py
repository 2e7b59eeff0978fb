"""Locks: a busy file is tried again until a deadline, and workers that could not write keep their leases."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio

from tests.stores.sqlite.parts import reader_of, time_in
from trio_jobs import JobContext, State, StoreUnavailable, open_registry
from trio_jobs.stores import Claimant, Where
from trio_jobs.stores.sqlite import files, locks, open_sqlite, submit_within
from trio_jobs.stores.sqlite.locks import WriteOutages, patiently
from trio_jobs.testing.checks.kit import HOLDER, accept, completed, make, start, work

opened = partial(open_sqlite, handlers=[work])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Return a list of actions for the pauses of a wait for a lock."""
    real = time.sleep  # noqa: TID251  # in a thread

    def at_the_first(act: Callable[[], object]) -> None:
        todo = [act]

        def sleep(seconds: float) -> None:
            real(seconds)
            if todo:
                todo.pop()()

        monkeypatch.setattr(locks, "sleep", sleep)

    return at_the_first


# ------------------------------------------------------------ trying again


@pytest.mark.parametrize("error", [apsw.BusyError, apsw.ProtocolError, apsw.LockedError])
def test_what_is_busy_is_tried_again(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy call is repeated after growing pauses, until it succeeds; each refusal is reported."""
    slept: list[float] = []
    refused: list[int] = []
    monkeypatch.setattr(locks, "sleep", slept.append)

    def work() -> int:
        if len(refused) < 14:
            raise error
        return 7

    assert patiently(work, 60, lambda: refused.append(1)) == 7
    assert slept == sorted(slept)
    assert slept[-1] == 0.1
    assert len(refused) == len(slept) == 14


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy call fails at its deadline, and not before."""
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    def work() -> None:
        raise apsw.BusyError("busy")

    monkeypatch.setattr(locks, "sleep", sleep)
    monkeypatch.setattr(locks, "monotonic", lambda: now)
    with pytest.raises(apsw.BusyError):
        patiently(work, 3)
    assert 2.8 < now <= 3


def test_a_new_file_that_another_process_is_making(path: Path, pauses: Any) -> None:
    """The change to a write-ahead log, which SQLite refuses at once while another process writes, is
    repeated."""
    other = apsw.Connection(str(path))
    other.execute("CREATE TABLE mine (x)")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(apsw.BusyError):  # at once, in spite of the patience that it is told to have
        db = apsw.Connection(str(path))
        db.set_busy_timeout(10**9)
        db.execute("PRAGMA journal_mode = WAL")
    db.close()
    pauses(lambda: other.execute("ROLLBACK"))

    async def use() -> None:
        async with opened(path) as store:
            await accept(store, make())

    trio.run(use)
    other.close()


class Busy(apsw.Connection):
    """A connection to which the file is busy at one of its statements."""

    statements = 0
    refuses = 0

    def execute(self, statements: str, *args: Any, **named: Any) -> Any:
        if not statements.startswith(("ROLLBACK", "RELEASE")):
            Busy.statements += 1
            if Busy.statements == Busy.refuses:
                raise apsw.BusyError("database is locked")
        return super().execute(statements, *args, **named)


def test_whatever_finds_the_file_busy_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single busy statement during opening, reading, writing or closing has no effect: it is repeated."""

    async def use() -> None:
        async with opened(path.with_name(f"{Busy.refuses}.db"), poll=60) as store:
            claim = await start(store)
            await store.finish(claim.submission.id, 1, completed("done"))
            (found,) = await store.find(Where(), 9)
            job = await store.get(found.id)
            assert (job.result, job.last_seq) == ("done", 3)

    monkeypatch.setattr(apsw, "Connection", Busy)
    monkeypatch.setattr(locks, "sleep", lambda seconds: None)
    Busy.statements = Busy.refuses = 0
    trio.run(use)
    assert Busy.statements > 30
    for number in range(1, Busy.statements + 1):
        Busy.statements, Busy.refuses = 0, number
        trio.run(use)


async def test_a_worker_that_is_started_under_a_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A starting worker waits much longer than a call does, and logs that; then it works."""
    async with opened(path) as store:
        await accept(store, make())
    other = apsw.Connection(str(path))
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(files, "_BUSY_MILLISECONDS", 20)
    claims: list[Any] = []

    async def worker() -> None:
        async with opened(path) as store:
            claims.extend(await store.claim(1, HOLDER))

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker)
            while "waiting for a file that is locked" not in caplog.text:
                await trio.sleep(0.001)
            other.execute("ROLLBACK")
            other.close()
    assert len(claims) == 1


# ------------------------------------------------------------ the time, once the lock is had


async def test_times_are_taken_under_the_lock(path: Path, pauses: Any) -> None:
    """A call that waited for the lock has the time at which it got it: times in a log increase, and a lease
    has its whole length."""
    released: list[float] = []

    def release() -> None:
        released.append(time_in(store))
        other.execute("ROLLBACK")

    async with opened(path) as store:
        other = apsw.Connection(str(path))
        other.execute("BEGIN IMMEDIATE")
        pauses(release)
        (job_id,) = await accept(store, make())
        (event,) = await store.read(job_id, 0, 9)
        assert event.timestamp >= released[0]
        other.execute("BEGIN IMMEDIATE")
        pauses(release)
        await store.claim(1, Claimant("w", 5.0))
        lease, _ = await reader_of(store).call(
            lambda tx: tx.db.execute("SELECT lease FROM trio_jobs_job").get
        )
        assert lease >= released[1] + 5.0
        other.close()


async def test_a_submit_in_a_transaction_has_the_lock(path: Path) -> None:
    """The lock is taken before the time is read, though the program's own transaction has not written yet."""
    async with opened(path):
        mine, other = apsw.Connection(str(path)), apsw.Connection(str(path))
        mine.execute("BEGIN")
        submit_within(mine, work)
        with pytest.raises(apsw.BusyError):
            other.execute("BEGIN IMMEDIATE")
        mine.execute("ROLLBACK")
        other.execute("BEGIN IMMEDIATE")
        mine.execute("BEGIN")
        with pytest.raises(apsw.BusyError):
            submit_within(mine, work)
        mine.close()
        other.close()


# ------------------------------------------------------------ who could not be heard


def test_hearing() -> None:
    """An attempt whose lease lapsed during an outage is swept after its worker had time for a heartbeat, one
    that lapsed before at once, and one that lapses later then."""
    outages = WriteOutages()
    assert outages.judged_until(50.0) == 50.0
    outages.refused(100.0)
    outages.refused(110.0)
    outages.reached(120.0)
    assert [outages.judged_until(now) for now in (120.0, 125.9, 126.0)] == [100.0, 100.0, 126.0]
    assert [outages.judged_at(at) for at in (99.0, 100.0, 101.0, 125.0, 127.0)] == [99, 100, 126, 126, 127]


def test_a_moment_is_no_silence() -> None:
    """A short outage does not count, and neither does one without a refused write."""
    outages = WriteOutages()
    outages.refused(100.0)
    outages.reached(100.1)
    outages.reached(200.0)
    assert (outages.judged_until(100.1), outages.judged_until(200.0)) == (100.1, 200.0)


def test_one_silence_after_another() -> None:
    """Each outage has its own extra time: a later one neither ends nor extends that."""
    outages = WriteOutages()
    outages.add(100.0, 120.0)
    outages.add(121.0, 122.0)
    assert outages.judged_until(122.0) == 100.0
    assert outages.judged_until(126.5) == 121.0
    assert outages.judged_until(128.0) == 128.0
    outages.add(130.0, 140.0)
    assert outages.judged_until(140.0) == 130.0
    assert outages.judged_at(105.0) == 105.0


async def test_a_lease_that_lapses_under_a_lock(
    path: Path, pauses: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt whose lease lapses in an outage is kept until its worker had time for a heartbeat."""
    monkeypatch.setattr(locks, "_SHORT", 0.0)
    monkeypatch.setattr(locks, "_GRACE", 0.5)
    async with opened(path) as store:
        lost = (await start(store, worker=Claimant("w", 0.0))).submission.id
        await trio.sleep(0.001)
        held = (await start(store, worker=Claimant("w", 0.2))).submission.id
        silent = (await start(store, worker=Claimant("w", 0.2))).submission.id
        other = apsw.Connection(str(path))
        other.execute("BEGIN IMMEDIATE")

        def release() -> None:
            while time_in(store) < lapsed:
                time.sleep(0.01)  # noqa: TID251  # in a thread
            other.execute("ROLLBACK")

        lapsed = time_in(store) + 0.21
        pauses(release)
        await store.sweep()
        other.close()
        states = [(await store.get(job_id)).state for job_id in (lost, held, silent)]
        assert states == [State.RETRYING, State.RUNNING, State.RUNNING]
        assert not (await store.heartbeat({held: 1}, 60.0)).lost
        with trio.fail_after(30):
            while (await store.get(silent)).state is State.RUNNING:
                await store.overdue()
                await store.sweep()
        assert (await store.get(held)).state is State.RUNNING


async def test_no_attempt_is_charged_for_a_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another program holds the lock for longer than a lease, no heartbeat is possible; afterwards
    running attempts go on."""
    go_on = trio.Event()

    async def hold(job: JobContext[Any]) -> int:
        await go_on.wait()
        return job.attempt

    monkeypatch.setattr(files, "_BUSY_MILLISECONDS", 100)
    async with open_registry(f"sqlite:///{path}", handlers=[hold], lease=0.5) as jobs:
        handle = await jobs.submit(hold)
        other = apsw.Connection(str(path))
        other.execute("BEGIN IMMEDIATE")
        now = trio.current_time()
        with trio.fail_after(30):
            while trio.current_time() < now + 1.2:
                with pytest.raises(StoreUnavailable):
                    await jobs.submit(hold)
        other.execute("ROLLBACK")
        other.close()
        await jobs.submit(hold)
        go_on.set()
        assert await handle.result() == 1
        assert (await handle.snapshot()).spent == 1
