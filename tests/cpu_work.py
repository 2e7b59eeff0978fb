"""A program that test_cpu runs: jobs in busy loops, each in a process of its own that ends with the job.

It prints, for each way to end a job, how the job ended and whether its process is gone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import trio
import trio_parallel

from trio_jobs import JobContext, JobRegistry, open_registry


def spin(pid_file: str) -> None:
    """Send the pid of this process, and never return."""
    Path(pid_file).write_text(str(os.getpid()))
    while True:
        pass


async def crunch(job: JobContext[Any], pid_file: str) -> None:
    """Run a function that uses the CPU in a process that ends with this job's scope."""
    await trio_parallel.run_sync(spin, pid_file, kill_on_cancel=True)


async def warm_up(job: JobContext[Any]) -> None:
    """Start a worker process, which takes longer than the timeout below."""
    await trio_parallel.run_sync(os.getpid, kill_on_cancel=True)


async def is_gone(pid: int) -> bool:
    """Wait until a process has ended, ten seconds at most."""
    with trio.move_on_after(10):
        while True:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return True
            await trio.sleep(0.01)
    return False


async def started(pid_file: Path) -> int:
    """Wait for the pid of the process that spins."""
    while not pid_file.exists() or not pid_file.read_text():
        await trio.sleep(0.01)
    return int(pid_file.read_text())


async def by_timeout(jobs: JobRegistry, pid_file: Path) -> str:
    await (await jobs.submit(warm_up)).wait()
    handle = await jobs.submit(crunch, str(pid_file), timeout=2)
    job = await handle.wait()
    return f"{job.state} {job.reason}"


async def by_cancel(jobs: JobRegistry, pid_file: Path) -> str:
    handle = await jobs.submit(crunch, str(pid_file))
    await started(pid_file)
    report = await handle.cancel()
    return f"{report.outcome} {(await handle.snapshot()).reason}"


async def by_leaving(jobs: JobRegistry, pid_file: Path) -> str:
    await jobs.submit(crunch, str(pid_file))
    await started(pid_file)
    return "left"


async def main(folder: Path) -> None:
    for how in (by_timeout, by_cancel, by_leaving):
        pid_file = folder / how.__name__
        async with open_registry() as jobs:
            ended = await how(jobs, pid_file)
        gone = await is_gone(await started(pid_file))
        print(how.__name__, ended, "gone" if gone else "still there", flush=True)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
