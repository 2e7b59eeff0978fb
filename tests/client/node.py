"""A server in a process of its own, on a file, for tests that kill it: `python node.py FILE PORT`.

It prints its URL once it listens.
"""

from __future__ import annotations

import sys
from functools import partial

import trio

import trio_jobs
from trio_jobs.serving import serve_http

STOPS = {1: 100, 2: 200}


@trio_jobs.handler(retry=trio_jobs.Retry(attempts=100, initial=0.01))
async def tick(job: trio_jobs.JobContext[str], n: int) -> int:
    """Send n values, and resume where the attempt before was killed; two kills are waited for."""
    for number in range(job.saved or 0, n):
        await job.send(f"{job.attempt}:{number}")
        await job.save(number + 1)
        if number + 1 == STOPS.get(job.attempt):
            await trio.sleep_forever()  # so that it cannot end before it is killed
        await trio.sleep(0.002)
    return n


async def main(file: str, port: int) -> None:
    """Serve until killed."""
    async with (
        trio_jobs.open_registry(f"sqlite:///{file}", handlers=[tick], lease=0.5) as jobs,
        trio.open_nursery() as nursery,
    ):
        (url,) = await nursery.start(partial(serve_http, jobs, port=port))
        print(url, flush=True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]))
