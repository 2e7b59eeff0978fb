"""`handle.explain` says why a job does not run, or what it is doing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_jobs import (
    AwaitInput,
    JobContext,
    JobHandle,
    JobRegistry,
    Kind,
    Limit,
    Retry,
    Schedule,
    Timeouts,
    handler,
    open_registry,
)
from trio_jobs._running.explaining import Known, explained


@handler
async def rests(job: JobContext[Any]) -> None:
    await trio.sleep_forever()


@handler(limits=[Limit(at_once=1, per_second=2, keyed=True)])
async def rests_alone(job: JobContext[Any]) -> None:
    await trio.sleep_forever()


@handler(inputs=str)
async def asks(job: JobContext[Any], timeout: float | None) -> None:
    raise AwaitInput(timeout=timeout)


@handler
async def stays(job: JobContext[Any]) -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(60)


@handler
async def fails(job: JobContext[Any]) -> None:
    raise OSError("the line\nis down")


async def waits(jobs: JobRegistry, handle: JobHandle[Any, Any]) -> list[str]:
    """Return the explanation of a job that waits, once all else has had its turn, without its first line."""
    await wait_all_tasks_blocked()
    job = await handle.snapshot()
    first, *rest = (await handle.explain()).splitlines()
    assert first == f"job {job.id} ({job.handler}): {job.state}, waits for {job.waiting_for}"
    assert all(line.startswith("  ") for line in rest)
    return [line[2:] for line in rest]


async def test_behind(autojump_clock: MockClock) -> None:
    """A job that stands behind another is explained by that one, and its state."""
    async with open_registry() as jobs:
        one = await jobs.submit(rests, exclusive="chat", on_busy="after")
        two = await jobs.submit(rests, exclusive="chat", on_busy="after")
        (line,) = await waits(jobs, two)
        assert line.startswith(f"it starts once job {one.id} has ended, which has the same exclusive name; ")
        assert line.endswith("; that one is running, attempt 1")


async def test_due(autojump_clock: MockClock) -> None:
    """A job that is due later is explained by that moment, and by what the attempt before it raised; the
    error's text is on one line."""
    async with open_registry() as jobs:
        again = await jobs.submit(fails, retry=Retry(attempts=2, initial=60, jitter=0))
        why, when = await waits(jobs, again)
        job = await again.snapshot()
        assert why == r"attempt 1 ended: error: OSError: the line\x0ais down"
        assert when == f"it starts at {job.next_attempt_at:%Y-%m-%d %H:%M:%SZ} at the earliest"


async def test_input(autojump_clock: MockClock) -> None:
    """A job that waits for an input is explained by who may send one, and by the end of its patience."""
    async with open_registry() as jobs:
        patient, other = await jobs.submit(asks, None), await jobs.submit(asks, 60.0)
        assert (await waits(jobs, patient))[1:] == [
            "it goes on once it gets an input: handle.send(…), or trio-jobs send",
            "it waits without a time limit",
        ]
        assert (await waits(jobs, other))[-1].startswith("its time to wait for one ends at 20")


async def test_paused(autojump_clock: MockClock) -> None:
    """A pause is explained by what was paused, and by what resumes it."""
    async with open_registry() as jobs:
        await jobs.pause_handlers("rests")
        handle = await jobs.submit(rests)
        text = "its handler is paused; to go on: jobs.resume_handlers('rests')"
        assert await waits(jobs, handle) == [f"{text}, or trio-jobs resume"]
        await jobs.pause_all()
        (line,) = await waits(jobs, handle)
        assert line.startswith("all handlers are paused; ")
        assert "jobs.resume_all()" in line


async def test_limit(autojump_clock: MockClock) -> None:
    """A limit is explained by what it says, and by how many run under it."""
    async with open_registry() as jobs:
        await jobs.submit(rests_alone, limit_key="a b")
        handle = await jobs.submit(rests_alone, limit_key="a b")
        (line,) = await waits(jobs, handle)
        assert line.startswith("no job may start now under the limit rests_alone[0] a b: at most ")
        assert line.endswith(": at most 1 at once, 2 per second for each key; 1 run in all")
        job = await handle.snapshot()
    # A client who does not see all jobs is not told how many run under it.
    assert explained(job, Known()).splitlines()[1:] == ["  " + line.partition(":")[0]]


async def test_slot(autojump_clock: MockClock) -> None:
    """If all slots are taken, those are named that take them, ten at most."""
    async with open_registry(capacity=11) as jobs:
        first, *_ = [await jobs.submit(rests) for _ in range(11)]
        lines = await waits(jobs, await jobs.submit(rests))
    assert lines[:3] == [
        "it starts once a worker has a free slot, and the jobs before it have started",
        "all slots of this registry are taken, 11, by",
        f"  rests {first.id}",
    ]
    assert lines[12:] == ["  and 1 more"]
    async with open_registry(capacity=1) as jobs:
        first = await jobs.submit(rests)
        assert (await waits(jobs, await jobs.submit(rests)))[-1] == f"  rests {first.id}"


async def test_worker(autojump_clock: MockClock) -> None:
    """If nothing runs, it is asked for a worker; and told what this registry lacks: it is paused, or has no
    capacity."""
    async with open_registry() as jobs:
        jobs.pause()
        asked, here = await waits(jobs, await jobs.submit(rests))
        assert asked.endswith("is there a worker that takes it, with rests among its handlers?")
        assert here == "this registry is paused: jobs.resume()"
    async with open_registry(capacity=0) as jobs:
        assert (await waits(jobs, await jobs.submit(rests)))[1:] == [
            "this registry runs no jobs: its capacity is 0"
        ]


def test_an_unknown_handler(tmp_path: Path) -> None:
    """In a file, a job whose handler this registry was not given is explained by that; and by whether a
    worker has ever had it, as far as the file has jobs of it."""

    async def main() -> tuple[list[str], list[str], str]:
        file = f"sqlite:///{tmp_path / 'jobs.db'}"
        async with open_registry(file, handlers=[fails], capacity=0) as jobs:
            waiting = (await jobs.submit(fails)).id
        async with open_registry(file, handlers=[rests]) as jobs:
            first = (await (await jobs.get(waiting)).explain()).splitlines()
        async with open_registry(file, handlers=[fails]) as jobs:
            await (await jobs.get(waiting)).wait()
        async with open_registry(file, handlers=[fails], capacity=0) as jobs:
            then = (await (await jobs.submit(fails)).explain()).splitlines()
        return first, then, waiting

    first, then, waiting = trio.run(main)
    assert first[2:] == [
        "  this registry has no handler fails",
        "  none of fails that is kept has ever started: maybe no worker has this handler",
    ]
    assert then[2] == "  this registry runs no jobs: its capacity is 0"
    assert then[3].startswith(f"  the newest of fails that has started is {waiting}, at 20")


def test_many_that_never_started(tmp_path: Path) -> None:
    """If the newest jobs of a handler all failed in the queue, it is not said that none has ever started."""

    async def main() -> list[str]:
        async with open_registry(f"sqlite:///{tmp_path / 'jobs.db'}", handlers=[fails], capacity=0) as jobs:
            for handle in [await jobs.submit(fails, timeouts=Timeouts(queue=0.001)) for _ in range(11)]:
                await handle.wait()
            return (await (await jobs.submit(fails)).explain()).splitlines()

    assert trio.run(main)[2:] == ["  this registry runs no jobs: its capacity is 0"]


async def test_many_tasks(autojump_clock: MockClock) -> None:
    """Of the stacks of many tasks the first thousand lines are told, and how many there are more."""

    @handler
    async def crowd(job: JobContext[Any]) -> None:
        for _ in range(400):
            job.nursery.start_soon(trio.sleep_forever)

    async with open_registry() as jobs:
        handle = await jobs.submit(crowd)
        await wait_all_tasks_blocked()
        lines = (await handle.explain()).splitlines()
    begun = lines.index("  its tasks, innermost call last:")
    assert len(lines[begun + 1 : -1]) == 1000
    assert lines[-1].startswith("    and ")
    assert lines[-1].endswith(" lines more")


async def test_running(autojump_clock: MockClock) -> None:
    """An attempt in this process is explained by its worker, deadlines, readers and its tasks' stacks."""
    async with open_registry(name="here") as jobs:
        handle = await jobs.submit(rests, timeout=60)
        await wait_all_tasks_blocked()
        assert "  no reader is connected in this process" in (await handle.explain()).splitlines()
        async with handle.events(2) as _, handle.events() as _:
            lines = (await handle.explain()).splitlines()
    assert lines[:6] == [
        f"job {handle.id} (rests): running",
        "  worker: here",
        "  attempt 1 runs in this process",
        "  deadline: timeout in 60s",
        "  2 readers in this process, the slowest 2 events behind",
        "  its tasks, innermost call last:",
    ]
    assert lines[6].startswith("    task rests ")
    assert any("trio.sleep_forever()" in line for line in lines[7:])


def test_elsewhere(tmp_path: Path) -> None:
    """An attempt in another process cannot be looked into, but its worker is named; where it runs, so is the
    lease."""

    async def main() -> list[list[str]]:
        file = f"sqlite:///{tmp_path / 'jobs.db'}"
        async with (
            open_registry(file, handlers=[rests], name="there", lease=60) as there,
            open_registry(file, handlers=[rests], capacity=0, name="here") as here,
        ):
            handle = await there.submit(rests)
            async with handle.events() as events:
                async for event in events:
                    if event.kind is Kind.STARTED:
                        break
            return [(await (await one.get(handle.id)).explain()).splitlines() for one in (here, there)]

    here, there = trio.run(main)
    assert here[1:] == [
        "  worker: there",
        "  it does not run in this process, here, which cannot look into it",
    ]
    assert there[2] == "  attempt 1 runs in this process, which renews its lease of 60s"


async def test_over(autojump_clock: MockClock) -> None:
    """A job that has ended is explained by how."""
    async with open_registry() as jobs:
        handle = await jobs.submit(fails)
        await handle.wait()
        lines = (await handle.explain()).splitlines()
    assert lines == [f"job {handle.id} (fails): failed", r"  reason: error: OSError: the line\x0ais down"]


async def test_of_a_schedule(autojump_clock: MockClock) -> None:
    """Of a job that a schedule submitted it is said which; of a retry of that job it is not."""
    async with open_registry() as jobs:
        await jobs.schedules.add(Schedule(fails, every=3600, name="every\nhour"))
        handle = await jobs.schedules.trigger("every\nhour")
        said = r"  submitted by schedule 'every\nhour', as its tag says"
        assert (await handle.explain()).splitlines()[1] == said
        await handle.wait()
        assert (await handle.explain()).splitlines()[1] == said
        again = await handle.resubmit()
        assert (await again.snapshot()).tags == {"schedule": "every\nhour"}
        assert "schedule" not in await again.explain()


async def test_stops(autojump_clock: MockClock) -> None:
    """Of a job whose cancellation was requested it is said, and when its grace ends."""
    async with open_registry() as jobs:
        handle = await jobs.submit(stays)
        await handle.request_cancel(grace=5)
        lines = (await handle.explain()).splitlines()
        assert lines[1].startswith("  its cancellation was requested at 20")
        assert "  deadline: user in 5s" in lines
        await trio.sleep(6)
        assert "  deadline: user 1s ago; it has not ended yet" in (await handle.explain()).splitlines()


async def test_gone(autojump_clock: MockClock) -> None:
    """Once the registry was left, nothing is explained."""
    async with open_registry() as jobs:
        handle = await jobs.submit(rests)
    with pytest.raises(trio.ClosedResourceError):
        await handle.explain()
