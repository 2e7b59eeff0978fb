"""The file's clock: the machine's time since boot, which nobody can set."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import trio

from trio_jobs import JobContext, State, open_registry
from trio_jobs.stores import Claim, Claimant
from trio_jobs.stores.sqlite import clock, open_sqlite
from trio_jobs.testing.checks._kit import accept, make, start, work

opened = partial(open_sqlite, handlers=[work])


def test_it_counts_from_its_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says the wall's time when it is made, and only the time since boot moves it."""
    monkeypatch.setattr(clock, "since_boot", lambda: 100.0)
    monkeypatch.setattr("time.time", lambda: 5000.0)
    now = clock.clock_of(clock.ahead())
    assert now() == 5000.0
    monkeypatch.setattr("time.time", lambda: 1.0)
    assert now() == 5000.0
    monkeypatch.setattr(clock, "since_boot", lambda: 107.0)
    assert now() == 5007.0


def test_without_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the wall clock, where the system has nothing better."""
    monkeypatch.setattr("time.time", lambda: 5000.0)
    assert clock.clock_of(None)() == 5000.0


def test_a_boot_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what the system says, without the line's end; and nothing where there is no such file."""
    monkeypatch.setattr(clock, "_BOOT_ID", tmp_path / "boot_id")
    assert clock.boot() is None
    (tmp_path / "boot_id").write_text("a-b-c\n")
    assert clock.boot() == "a-b-c"


def test_all_processes_agree(tmp_path: Path) -> None:
    """Two processes on a file tell the same time, though the second came later."""
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
    """No lease and no queue timeout passes by it, what is delayed comes no sooner and no later, also in a
    file that is opened afterwards, and its times go on from where they were."""
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
