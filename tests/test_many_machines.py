"""Servers and workers in processes of their own, which have only a PostgreSQL database in common.

They stand for machines: nothing but the database and the server's port connects them.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

import trio_jobs
from trio_jobs import Kind, State
from trio_jobs.client import connect
from trio_jobs.serving import serve_http

ROOT = Path(trio_jobs.__file__).parents[1]
PATIENCE = 60.0  # seconds before a hung process fails its test; no test passes because of it
PROGRAM = """
import sys
import trio
import trio_jobs


async def count(job: trio_jobs.JobContext[int], upto: int) -> str:
    for number in range(job.saved or 0, upto):
        await job.send(number)
        await job.save(number + 1)
        if job.attempt == 1 and number + 1 == 20:
            await trio.sleep_forever()  # until this worker is stopped
    return f"{job.attempt} attempts"


async def wait(job: trio_jobs.JobContext[str]) -> None:
    await job.send("begun")
    try:
        await trio.sleep_forever()
    finally:
        print("stopped", flush=True)


async def main(url: str) -> None:
    async with trio_jobs.open_registry(url, handlers=[count, wait], lease=float(sys.argv[2])) as jobs:
        print("working", flush=True)
        with trio.open_signal_receiver(15) as signals:
            async for _ in signals:
                break


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
"""
Start = Callable[..., subprocess.Popen[str]]


async def count(job: trio_jobs.JobContext[int], upto: int) -> str:
    raise NotImplementedError


async def wait(job: trio_jobs.JobContext[str]) -> None:
    raise NotImplementedError


@pytest.fixture
def start(postgres_url: str, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a worker in a process of its own, and returns when it works."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    started: list[subprocess.Popen[str]] = []

    def begin(lease: float = 30.0) -> subprocess.Popen[str]:
        command = [sys.executable, str(program), postgres_url, str(lease)]
        worker = subprocess.Popen(
            command, stdout=subprocess.PIPE, encoding="utf-8", env={"PYTHONPATH": str(ROOT)}
        )
        started.append(worker)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "working\n"
        return worker

    yield begin
    for worker in started:
        worker.kill()
        worker.communicate()


@asynccontextmanager
async def in_front(url: str) -> AsyncIterator[trio_jobs.JobRegistry]:
    """Open the database without running jobs, as a server in front of workers does."""
    with trio.fail_after(PATIENCE):
        async with trio_jobs.open_registry(url, handlers=[count, wait], capacity=0) as jobs:
            yield jobs


async def receive(stream: trio_jobs.TokenStream[int], number: int) -> list[int]:
    return [await stream.receive() for _ in range(number)]


async def test_a_job_is_followed_through_a_deploy(postgres_url: str, start: Start) -> None:
    """A worker that gets SIGTERM hands its job over; another goes on, and a reader misses nothing."""
    async with in_front(postgres_url) as jobs:
        old = await trio.to_thread.run_sync(start)
        handle = await jobs.submit(count, 100)
        async with handle.stream(restarts="continue") as stream:
            first = await receive(stream, 20)
            new = await trio.to_thread.run_sync(start)
            old.send_signal(signal.SIGTERM)
            rest = [token async for token in stream]
        assert await handle.result() == "2 attempts"
        assert sorted({*first, *rest}) == [*range(100)]
        assert len(first + rest) <= 101, "only what was sent and not yet saved is sent again"
        kinds = [
            (event.kind, event.attempt) for event in await handle.history() if event.kind is not Kind.SAVED
        ]
        assert kinds[1:] == [
            (Kind.STARTED, 1),
            (Kind.RETRIED, 1),
            (Kind.STARTED, 2),
            (Kind.COMPLETED, 2),
        ]
        assert await trio.to_thread.run_sync(old.wait) == 0
        assert new.poll() is None


async def test_another_worker_takes_over_from_one_that_was_killed(postgres_url: str, start: Start) -> None:
    """After kill -9 the lease lapses, and the job goes on elsewhere from what it had saved."""
    async with in_front(postgres_url) as jobs:
        killed = await trio.to_thread.run_sync(start, 2.0)
        handle = await jobs.submit(count, 60)
        async with handle.stream(restarts="continue") as stream:
            first = await receive(stream, 20)
            killed.kill()
            await trio.to_thread.run_sync(start)
            rest = [token async for token in stream]
        assert sorted({*first, *rest}) == [*range(60)]
        assert await handle.result() == "2 attempts"


async def test_a_cancellation_reaches_a_worker_elsewhere(postgres_url: str, start: Start) -> None:
    """The handler in the other process is told, and has ended when CANCELLED is read here."""
    async with in_front(postgres_url) as jobs:
        worker = await trio.to_thread.run_sync(start)
        handle = await jobs.submit(wait)
        async with handle.stream() as stream:
            assert await stream.receive() == "begun"
        with trio.fail_after(20):  # sooner than a lease ends
            report = await handle.cancel("enough")
        assert report.outcome == "cancelled"
        assert (await handle.snapshot()).state is State.CANCELLED
        assert worker.stdout is not None
        assert await trio.to_thread.run_sync(worker.stdout.readline) == "stopped\n"


async def test_clients_and_the_page_see_what_runs_elsewhere(postgres_url: str, start: Start) -> None:
    """A server that runs nothing submits, streams, lists and cancels over HTTP what another process runs."""
    async with in_front(postgres_url) as jobs, trio.open_nursery() as nursery:
        (url,) = await nursery.start(partial(serve_http, jobs, port=0))
        await trio.to_thread.run_sync(start)
        async with connect(url) as there:
            handle = await there.submit("count", 5)
            async with handle.stream() as stream:
                assert [token async for token in stream] == [0, 1, 2, 3, 4]
            assert await handle.result() == "1 attempts"
            waiting = await there.submit("wait")
            async with waiting.stream() as stream:
                assert await stream.receive() == "begun"
            assert (await waiting.cancel("enough")).outcome == "cancelled"
        page = await trio.run_process(["curl", "-s", f"{url}/v1/jobs"], capture_stdout=True)
        states = {job["handler"]: job["state"] for job in json.loads(page.stdout)["jobs"]}
        assert states == {"count": "completed", "wait": "cancelled"}
        nursery.cancel_scope.cancel()
