"""The metrics, parsed as Prometheus parses them."""

from __future__ import annotations

import re
from typing import Any, cast

import attrs
import pytest
import trio
from trio.testing import MockClock

from trio_jobs import JobContext, JobRegistry, Retry, Schedule, State, open_registry
from trio_jobs.stores import Store
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.telemetry.gauges import exposition

SAMPLE = re.compile(r'([a-z_]+)(?:\{state="([a-z]+)"\})? (\S+)')


def samples(text: str) -> dict[tuple[str, str | None], float]:
    """Return the samples; every other line must be a comment about the metric below it."""
    found: dict[tuple[str, str | None], float] = {}
    declared: set[str] = set()
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# HELP "):
            name = line.split(" ")[2]
            assert name not in declared, "a metric has one HELP"
            declared.add(name)
        elif line.startswith("# TYPE "):
            assert line.split(" ")[2] in declared
            assert line.split(" ")[3] == "gauge"
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            assert match[1] in declared
            found[match[1], match[2]] = float(match[3])
    return found


async def gauges(jobs: JobRegistry) -> dict[str, float]:
    """Return what a registry answers, by name, but for the states."""
    found = samples((await exposition(jobs)).decode())
    return {name.removeprefix("trio_jobs_"): value for (name, state), value in found.items() if state is None}


async def test_all_statistics_are_exposed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each figure is one sample, and so is each state, also one without jobs."""
    async with open_registry() as jobs:
        statistics = attrs.evolve(
            await jobs.statistics(),
            states={State.QUEUED: 3, State.COMPLETED: 7},
            running=2,
            capacity=5,
            paused=True,
            readers=4,
            all_paused=True,
            paused_handlers=("a", "b"),
        )

        async def told() -> Any:
            await trio.lowlevel.checkpoint()
            return statistics

        monkeypatch.setattr(jobs, "statistics", told)
        found = samples((await exposition(jobs)).decode())
        states = {state: found.pop(("trio_jobs_jobs", str(state))) for state in State}
        assert states == {**dict.fromkeys(State, 0), State.QUEUED: 3, State.COMPLETED: 7}
        assert await gauges(jobs) == {
            "running": 2,
            "capacity": 5,
            "paused": 1,
            "readers": 4,
            "all_paused": 1,
            "paused_handlers": 2,
            "reader_lag_events": 0,
            "oldest_due_seconds": 0,
            "schedule_late_seconds": 0,
        }


async def test_the_text_ends_with_a_line_end() -> None:
    """The last line has an end, without which Prometheus refuses the text."""
    async with open_registry() as jobs:
        text = (await exposition(jobs)).decode()
    assert text.endswith("\n")
    assert "\n\n" not in text


async def sends(job: JobContext[int], number: int) -> None:
    await job.send_many(range(number))
    await trio.sleep_forever()


async def nothing(job: JobContext[int]) -> None:
    await trio.lowlevel.checkpoint()


async def fails(job: JobContext[int]) -> None:
    raise ValueError


async def test_a_registry_at_rest() -> None:
    """Where nothing waits and nobody reads, all of it is 0."""
    async with open_registry() as jobs:
        await (await jobs.submit(nothing)).wait()
        found = await gauges(jobs)
        assert (found["reader_lag_events"], found["oldest_due_seconds"], found["schedule_late_seconds"]) == (
            0,
            0,
            0,
        )


async def test_the_lag_of_readers() -> None:
    """The lag is that of the slowest reader; a reader that has read all, or left, has none."""
    async with open_registry() as jobs:
        handle = await jobs.submit(sends, 10)
        async with handle.events(policy="gap") as fast, handle.events(policy="gap") as slow:
            for _ in range(12):  # submitted and started are events, too
                await fast.receive()
            assert (await gauges(jobs))["reader_lag_events"] == 12
            for _ in range(7):
                await slow.receive()
            assert (await gauges(jobs))["reader_lag_events"] == 5
        assert (await gauges(jobs))["reader_lag_events"] == 0


@pytest.mark.parametrize(("before", "age"), [(0, 10), (3, 10), (150, 10), (1000, 0)])
async def test_the_oldest_due_job(before: int, age: int, autojump_clock: MockClock) -> None:
    """Jobs that are due later do not count, nor hide one that is due, unless a thousand came first."""
    async with open_registry(capacity=0) as jobs:
        await jobs.submit_many(nothing, [()] * before, delay=1000)
        await trio.sleep(5)
        await jobs.submit(nothing)
        await trio.sleep(3)
        await jobs.submit(nothing)
        await trio.sleep(7)
        assert (await gauges(jobs))["oldest_due_seconds"] == pytest.approx(age)


async def test_a_job_that_is_to_run_again_may_be_the_oldest(autojump_clock: MockClock) -> None:
    """A job that waits to be tried again counts from when it is due."""
    async with open_registry(capacity=1) as jobs:
        again = await jobs.submit(fails, retry=Retry(attempts=2, initial=60, jitter=0))
        await jobs.submit(sends, 0)
        await trio.sleep(100)
        await jobs.submit(nothing)
        assert (await again.snapshot()).state == "retrying"
        await trio.sleep(10)
        assert (await gauges(jobs))["oldest_due_seconds"] == pytest.approx(50)


async def test_how_late_a_schedule_is(autojump_clock: MockClock) -> None:
    """A tick that is due and cannot fire is late, unless the schedule is paused."""
    every = Schedule(nothing, every=60, name="often")
    async with open_registry(capacity=0, queue_limit=1, schedules=[every]) as jobs:
        await jobs.submit(nothing)
        await trio.sleep(45)
        assert (await gauges(jobs))["schedule_late_seconds"] == 0
        await trio.sleep(20)
        assert (await gauges(jobs))["schedule_late_seconds"] == pytest.approx(5)
        await jobs.schedules.pause("often")
        assert (await gauges(jobs))["schedule_late_seconds"] == 0


class NoSchedules:
    """A store that keeps no schedules."""

    def __init__(self) -> None:
        self._store = MemoryStore()

    def __getattr__(self, name: str) -> Any:
        if name == "schedules":
            raise AttributeError(name)
        return getattr(self._store, name)


async def test_a_store_without_schedules() -> None:
    """A store of one's own that keeps no schedules has none that are late, and jobs age by the wall clock."""
    async with open_registry(cast("Store", NoSchedules()), capacity=0) as jobs:
        await jobs.submit(nothing)
        found = await gauges(jobs)
        assert found["schedule_late_seconds"] == 0
        assert 0 < found["oldest_due_seconds"] < 30
