"""The metrics of attempts say what happened, and have a bounded number of labels."""

from __future__ import annotations

import importlib
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.attempts import taken_over
from trio_jobs import (
    AwaitInput,
    JobContext,
    JobRegistry,
    Retry,
    RetryAfter,
    handler,
    open_registry,
    watch_loop,
)
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.telemetry.prometheus import Metrics
from trio_jobs.testing import Connection

Samples = dict[str, float]


def samples(text: bytes) -> Samples:
    """Return the samples as Prometheus reads them, by name and values of labels."""
    return {
        " ".join([one.name, *(value for _, value in sorted(one.labels.items()) if value)]): one.value
        for family in text_string_to_metric_families(text.decode())
        for one in family.samples
        if not one.name.endswith(("_bucket", "_created"))
    }


async def read(metrics: Metrics, jobs: JobRegistry) -> Samples:
    return samples(await metrics.exposition(jobs))


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An address of each kind."""
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"


@handler
async def says(job: JobContext[str], n: int) -> None:
    """Send tokens in each way, with other events in between."""
    for _ in range(n):
        await job.send("one")
    await job.progress(1)
    await job.send_many(["x"] * n)
    await job.save("saved")
    await job.tokens.send("by the channel")


@handler
async def hears(job: JobContext[str]) -> list[Any]:
    """Receive two inputs."""
    return [await job.receive(), await job.receive()]


@handler
async def fails(job: JobContext[str], first: str) -> None:
    """End the first attempt in some way, and fail in the second."""
    if job.attempt == 1 and first == "snooze":
        raise RetryAfter(0)
    if job.attempt == 1 and first == "wait":
        raise AwaitInput(timeout=0)
    raise ValueError("ouch")


HANDLERS: list[Any] = [says, hears, fails]


async def test_tokens_and_inputs_are_counted(store: str) -> None:
    """Each token is counted once in whatever way it is sent, no other event is, and each input once."""
    metrics = Metrics()
    async with open_registry(store, handlers=HANDLERS, on_event=metrics.on_event) as jobs:
        await (await jobs.submit(says, 3)).result()
        await (await jobs.submit(says, 0)).result()
        heard = await jobs.submit(hears)
        await heard.send_many([1, 2, 3])
        await heard.result()
        found = await read(metrics, jobs)
    assert found["trio_jobs_tokens_total says"] == 3 + 3 + 1 + 1
    assert found["trio_jobs_inputs_total hears"] == 2
    assert (found["trio_jobs_inputs_total says"], found["trio_jobs_tokens_total hears"]) == (0, 0)


async def test_what_runs_is_counted_so_far(store: str) -> None:
    """The tokens of an attempt that runs are counted when they are asked for, and not again at its end."""
    metrics, go_on = Metrics(), trio.Event()

    @handler
    async def pauses(job: JobContext[int]) -> None:
        await job.send_many(range(5))
        await go_on.wait()
        await job.send_many(range(2))

    counted: list[float] = []
    async with open_registry(store, handlers=[pauses], on_event=metrics.on_event) as jobs:
        handle = await jobs.submit(pauses)
        async with handle.stream() as tokens:
            for _ in range(5):
                await tokens.receive()
            for _ in range(2):
                counted.append((await read(metrics, jobs))["trio_jobs_tokens_total pauses"])
        go_on.set()
        await handle.result()
        counted.append((await read(metrics, jobs))["trio_jobs_tokens_total pauses"])
    assert counted == [5, 5, 7]


async def test_ends_are_counted_by_reason(store: str) -> None:
    """Each end is counted with its state and reason; an attempt whose job runs again is a retry."""
    metrics = Metrics()
    async with open_registry(store, handlers=HANDLERS, on_event=metrics.on_event) as jobs:
        await (await jobs.submit(fails, "error", retry=Retry(attempts=2, initial=0))).wait()
        await (await jobs.submit(fails, "snooze")).wait()
        await (await jobs.submit(fails, "wait")).wait()
        await (await jobs.submit(says, 1)).wait()
        waiting = await jobs.submit(hears)
        while (await waiting.snapshot()).state != "running":
            await trio.lowlevel.checkpoint()
        await waiting.cancel()
        found = await read(metrics, jobs)
    assert {name: value for name, value in found.items() if name.startswith("trio_jobs_ended")} == {
        "trio_jobs_ended_total fails error failed": 3,
        "trio_jobs_ended_total says completed": 1,
        "trio_jobs_ended_total hears user cancelled": 1,
    }
    assert {name: value for name, value in found.items() if name.startswith("trio_jobs_retries")} == {
        "trio_jobs_retries_total fails error": 1,
        "trio_jobs_retries_total fails snoozed": 1,
        "trio_jobs_retries_total fails awaiting_input": 1,
    }
    assert found["trio_jobs_attempts_started_total fails"] == 6
    assert found["trio_jobs_run_seconds_count fails"] == 6


async def test_times_are_measured(autojump_clock: MockClock) -> None:
    """An attempt's time is that from its start to its end, and its first token counts once."""
    metrics = Metrics()

    async def slow(job: JobContext[str], text: str) -> None:
        await trio.sleep(3)
        await job.send(text)
        await trio.sleep(4)
        await job.send(text)

    async with open_registry(on_event=metrics.on_event) as jobs:
        await (await jobs.submit(slow, "a")).result()
        await (await jobs.submit(slow, "a", timeout=1)).wait()
        found = await read(metrics, jobs)
    assert found["trio_jobs_first_token_seconds_count slow"] == 1
    assert found["trio_jobs_first_token_seconds_sum slow"] == 3
    assert found["trio_jobs_run_seconds_count slow"] == 2
    assert found["trio_jobs_run_seconds_sum slow"] == 8


async def test_waits_are_measured(autojump_clock: MockClock) -> None:
    """A job's wait is from when it is due to its first start; a child job and a retry are no wait."""
    metrics = Metrics()

    async def naps(job: JobContext[str], spawns: bool) -> None:
        await trio.sleep(2)
        if spawns:
            await (await job.spawn(naps, False)).result()

    async with open_registry(capacity=1, on_event=metrics.on_event) as jobs:
        await jobs.submit(naps, True)  # starts at 0, ends at 4
        await jobs.submit(naps, False)  # from 4 to 6
        later = await jobs.submit(naps, False, delay=3)
        await later.wait()
        await (await jobs.submit(fails, "error", retry=Retry(attempts=2, initial=50))).wait()
        for _ in range(2):
            found = await read(metrics, jobs)
            assert found["trio_jobs_queue_wait_seconds_count naps"] == 3
            assert found["trio_jobs_queue_wait_seconds_sum naps"] == pytest.approx(0 + 4 + 3)
            assert "trio_jobs_queue_wait_seconds_count fails" not in found


async def test_a_lost_lease_is_counted_apart(autojump_clock: MockClock) -> None:
    """An attempt that lost its lease is no retry and no end, and it is not counted as running any more."""
    metrics, store = Metrics(), MemoryStore()
    connection = Connection(store)

    @handler
    async def lasts(job: JobContext[str]) -> None:
        await job.send("here")
        await trio.sleep_forever()

    async with (
        open_registry(connection, lease=9, on_event=metrics.on_event) as jobs,
        taken_over(jobs, connection, store, lasts),
    ):
        connection.severed = False
        await trio.sleep(9)
        found = await read(metrics, jobs)
    assert found["trio_jobs_leases_lost_total lasts"] == 1
    assert found["trio_jobs_tokens_total lasts"] == 1
    assert not [name for name in found if "retries" in name]


async def test_a_late_loop_is_measured(mock_clock: MockClock) -> None:
    """The delay is how late a task is woken: not at all at rest, and as long as the loop was blocked."""
    metrics = Metrics()
    async with open_registry(on_event=metrics.on_event) as jobs, trio.open_nursery() as nursery:
        nursery.start_soon(metrics.measure_loop)
        await wait_all_tasks_blocked()
        for seconds in (0.25, 0.25 + 4):
            mock_clock.jump(seconds)
            await wait_all_tasks_blocked()
        found = await read(metrics, jobs)
        assert found["trio_jobs_loop_delay_seconds_count"] == 2
        assert found["trio_jobs_loop_delay_seconds_sum"] == pytest.approx(4)
        nursery.cancel_scope.cancel()


def test_blocks_of_the_loop_are_counted() -> None:
    """A block of the loop is counted, with its seconds, for the handler whose job it was, also if a task did
    it that the handler started; or for none, if no job did it."""
    watches: list[Any] = []
    metrics = Metrics()

    def block() -> None:
        """Block until the watch has seen that; the bound ends a hung test."""
        before, pause = seen(), threading.Event()
        for _ in range(30_000):
            if seen() > before:
                return
            pause.wait(0.001)

    def seen() -> int:
        return sum(", in block\n" in one.stack for one in watches[0].blocked.values())

    async def helper() -> None:
        block()

    @handler(name="slow")
    async def slow(job: JobContext[None]) -> None:
        job.nursery.start_soon(helper)

    async def counted(jobs: JobRegistry, label: str) -> float:
        while f"trio_jobs_loop_blocks_total{label}" not in (found := await read(metrics, jobs)):
            await trio.lowlevel.checkpoint()
        return found[f"trio_jobs_loop_blocked_seconds_total{label}"]

    async def main() -> None:
        async with (
            watch_loop(0.02, on_block=metrics.on_block) as watch,
            open_registry(on_event=metrics.on_event) as jobs,
        ):
            watches.append(watch)
            await (await jobs.submit(slow)).wait()
            assert await counted(jobs, " slow") >= 0.02
            block()
            assert await counted(jobs, "") >= 0.02

    trio.run(main)


async def test_names_are_bounded() -> None:
    """Handlers beyond the bound share one label, and those that have one keep it."""
    metrics = Metrics(handlers=2)
    async with open_registry(on_event=metrics.on_event) as jobs:
        await (await jobs.submit(says, 1)).wait()
        await (await jobs.submit(fails, "error")).wait()
        await (await jobs.submit(hears)).cancel()
        await (await jobs.submit(says, 1)).wait()
        found = await read(metrics, jobs)
        metrics.on_block((f"hears {'0' * 32}", "main"), 1.0)
        assert (await read(metrics, jobs))["trio_jobs_loop_blocks_total (others)"] == 1
    started = {name: value for name, value in found.items() if "attempts_started" in name}
    assert started == {
        "trio_jobs_attempts_started_total says": 2,
        "trio_jobs_attempts_started_total fails": 1,
        "trio_jobs_attempts_started_total (others)": 1,
    }


@pytest.mark.parametrize("bad", [0, "all"])
def test_the_bound_is_checked(bad: Any) -> None:
    """A bound that is no whole number from 1 on is refused at once."""
    with pytest.raises((TypeError, ValueError), match="handlers"):
        Metrics(handlers=bad)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library, the import says what to install."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "trio_jobs.telemetry.prometheus")
    with pytest.raises(ImportError, match=r"pip install 'trio-jobs\[prometheus\]'"):
        importlib.import_module("trio_jobs.telemetry.prometheus")
