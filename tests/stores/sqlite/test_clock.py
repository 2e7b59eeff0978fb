"""The file's clock: the machine's time since boot, which cannot be set."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.stores.sqlite.parts import time_in, writer_of
from trio_jobs import JobContext, State, Timeouts, open_registry
from trio_jobs.stores import Claim, Claimant, Where
from trio_jobs.stores.sqlite import clock, open_sqlite
from trio_jobs.stores.sqlite.clock import FileClock
from trio_jobs.testing.checks.kit import accept, make, start, work

opened = partial(open_sqlite, handlers=[work])


def test_it_counts_from_its_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new clock shows the wall's time, and only the time since boot moves it."""
    monkeypatch.setattr(clock, "since_boot", lambda: 100.0)
    monkeypatch.setattr("time.time", lambda: 5000.0)
    now = clock.FileClock(clock.ahead())
    assert now() == 5000.0
    monkeypatch.setattr("time.time", lambda: 1.0)
    assert now() == 5000.0
    monkeypatch.setattr(clock, "since_boot", lambda: 107.0)
    assert now() == 5007.0


def test_without_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no time since boot, it is the wall clock."""
    monkeypatch.setattr("time.time", lambda: 5000.0)
    assert clock.FileClock(None)() == 5000.0


def test_a_boot_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The boot's name is the system's text without the line end; None if there is no such file."""
    monkeypatch.setattr(clock, "_BOOT_ID", tmp_path / "boot_id")
    assert clock.boot() is None
    (tmp_path / "boot_id").write_text("a-b-c\n")
    assert clock.boot() == "a-b-c"


def test_all_processes_agree(tmp_path: Path) -> None:
    """Two processes on a file have the same time, though the second opened it later."""
    script = (
        "import sys, time, trio\n"
        "from trio_jobs.stores.sqlite import open_sqlite\n"
        "real = time.time\n"
        "time.time = lambda: real() + float(sys.argv[2])\n"
        "async def main():\n"
        "    async with open_sqlite(sys.argv[1]) as store:\n"
        "        print(store._now())\n"
        "trio.run(main)\n"
    )

    def now(ahead: float) -> float:
        command = [sys.executable, "-c", script, str(tmp_path / "jobs.db"), str(ahead)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)

    first, second = now(0), now(3600)
    assert first < second < first + 60


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
async def test_the_wall_clock_jumps(jump: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the wall clock jumps, no lease and no queue timeout passes, a delayed job comes no sooner and no
    later, also in a file that is opened afterwards, and the file's times continue."""
    real = time.time
    path = tmp_path / "jobs.db"
    async with opened(path) as store:
        held = (await start(store, worker=Claimant("w", 60.0))).submission.id
        (waits,) = await accept(store, make(timeout=None, delay=50.0))
        (soon,) = await accept(store, make(delay=0.05))
        monkeypatch.setattr("time.time", lambda: real() + jump)
        async with opened(path) as other:
            for one in (store, other):
                await one.sweep()
                assert (await one.get(held)).state is State.RUNNING
                assert (await one.get(waits)).state is State.QUEUED
            with trio.fail_after(10):
                claims: list[Claim] = []
                while not claims:
                    await other.due()
                    claims = await other.claim(9, Claimant("w", 60.0))
            assert [claim.submission.id for claim in claims] == [soon]
            log = await other.read(soon, 0, 9)
            assert 0 <= log[1].timestamp - log[0].timestamp - 0.05 < 9


# ------------------------------------------------------------ a wall clock that is wrong at first


class Machine:
    """A machine whose wall clock is wrong.

    Attributes:
        behind: Seconds that its wall clock is behind.
        skipped: Seconds that have passed by themselves.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.name = "first"
        self.behind = self.skipped = 0.0
        wall, boot = time.time, clock.since_boot
        monkeypatch.setattr("time.time", lambda: wall() - self.behind + self.skipped)
        monkeypatch.setattr(clock, "since_boot", lambda: boot() + self.skipped)
        monkeypatch.setattr(clock, "boot", lambda: self.name)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


async def claimed(path: Path) -> int:
    """Return how many jobs are due now."""
    async with opened(path) as store:
        return len(await store.claim(99, Claimant("w", 60.0)))


@pytest.mark.parametrize("noted", [True, False])
async def test_a_boot_with_the_clock_behind(tmp_path: Path, machine: Machine, noted: bool) -> None:
    """After a boot no time is before the newest in the file, so that a due job stays due, though the wall
    clock is behind; also in a file of a version without times."""
    path = tmp_path / "jobs.db"
    async with opened(path) as store:
        (waiting,) = await accept(store, make())
        before = time_in(store)
        if not noted:
            await writer_of(store).call(
                lambda tx: tx.db.execute("DELETE FROM trio_jobs_meta WHERE name = 'newest'")
            )
    machine.name, machine.behind = "second", 3600.0
    async with opened(path) as store:
        newest = before if noted else (await store.get(waiting)).created_at.timestamp()
        assert newest <= time_in(store) <= before + 30
        assert len(await store.claim(9, Claimant("w", 60.0))) == 1
    assert await claimed(path) == 0


async def test_the_clock_is_set_right_after_a_boot(tmp_path: Path, machine: Machine) -> None:
    """The file's clock follows the corrected wall clock in every process, jobs start at their wall times, and
    no lease lapses by it."""
    path = tmp_path / "jobs.db"
    async with opened(path) as store:
        now = time_in(store)
        await accept(store, make(timeouts=Timeouts(queue=60.0), delay=7300.0))
    machine.name, machine.skipped, machine.behind = "second", 7200.0, 7200.0 + 3600.0
    async with opened(path) as here, opened(path) as there:
        assert time_in(here) < now + 60
        held = (await start(here, worker=Claimant("w", 60.0))).submission.id
        at = datetime.fromtimestamp(now + 7200.0, UTC)
        (waits,) = await accept(there, make(run_at=at))
        machine.behind = 0.0
        with trio.fail_after(30):
            await there.due()
            (claim,) = await there.claim(9, Claimant("w", 60.0))
            assert claim.submission.id == waits
            while time_in(here) < now + 7200:
                await here.get(held)
            for store in (here, there):
                await store.sweep()
        assert (await here.get(held)).state is State.RUNNING
        (log,) = await here.read(held, 0, 1)
        times = [log.timestamp, *(event.timestamp for event in await here.read(waits, 0, 9))]
        assert times == sorted(times)
        assert await here.count(Where(frozenset({State.FAILED}))) == {}
    machine.skipped += 150.0
    assert await claimed(path) == 1


async def test_a_clock_that_is_far_off(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the wall clock was years behind when a file was made, and is corrected, the file's clock follows
    after a while, as a wrong setting is possible, and not at once."""
    machine.behind = 1e9
    steps: list[float] = []
    async with opened(tmp_path / "jobs.db", poll=0.001) as store:
        now = time_in(store)
        machine.behind = 0.0
        own = FileClock(now - clock.since_boot())
        assert not own.is_off()
        machine.skipped = 59.0
        assert not own.is_off()
        machine.behind = 1e9
        assert not own.is_off()
        machine.behind, machine.skipped = 0.0, 120.0
        assert not own.is_off()
        machine.skipped = 181.0
        assert own.is_off()
        with trio.fail_after(30):
            while time_in(store) < now + 1e9:
                machine.skipped += 10.0
                await trio.sleep(0.002)
                steps.append(time_in(store))
    assert len(steps) >= 5


async def test_a_clock_that_another_process_has_set_right(tmp_path: Path, machine: Machine) -> None:
    """Before it corrects the clock a process reads the file, and sets nothing if that is right by now."""
    async with opened(tmp_path / "jobs.db") as store:
        before = time_in(store)
        done, _ = await writer_of(store).call(lambda tx: FileClock(-1e9).set_right(tx.db))
        assert not done
        assert before <= time_in(store) < before + 60


async def test_handlers_do_not_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry works on while the wall clock is set back and forth."""

    async def jump(job: JobContext[int]) -> float:
        for number in range(4):
            monkeypatch.setattr("time.time", lambda number=number: 1e9 * number)
            await job.send(number)
            await job.save(number)
        return job.attempt

    async with open_registry(f"sqlite:///{tmp_path}/jobs.db", handlers=[jump], lease=5) as jobs:
        handle = await jobs.submit(jump)
        with trio.fail_after(10):
            assert await handle.result() == 1
        times = [event.timestamp for event in await handle.history()]
        assert times == sorted(times)
        assert times[-1] - times[0] < 10
