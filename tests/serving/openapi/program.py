"""The handlers of the tested server: one streams, one fails, one runs until it is stopped."""

from __future__ import annotations

from typing import Any

import trio

import trio_jobs


@trio_jobs.handler
async def greet(job: trio_jobs.JobContext[str], name: str, times: int = 1) -> str:
    """Greet somebody."""
    for _ in range(min(times, 10)):
        await job.send(f"hello {name}")
    return name


@trio_jobs.handler
async def fail(job: trio_jobs.JobContext[str], *anything: object) -> None:
    """Fail."""
    raise ValueError(f"{len(anything)} things, and none will do")


@trio_jobs.handler(inputs=Any, timeout=2)
async def linger(job: trio_jobs.JobContext[str], *anything: object) -> None:
    """Run until it is cancelled, or its time is over."""
    await trio.sleep_forever()
