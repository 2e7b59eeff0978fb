"""What an idle worker costs: `python -m benchmarks.durable.idle [seconds]`, as a share of a core.

It needs no quiet machine, as it is processor time that counts.
"""

from __future__ import annotations

import sys
import tempfile
from time import monotonic, process_time

import trio

from trio_jobs import open_registry
from trio_jobs.stores.sqlite import notices

from .peers.ours import work


async def share(seconds: float) -> float:
    """Return the share of a core that a worker takes which waits for jobs."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_registry(f"sqlite:///{folder}/jobs.db", handlers=[work]) as jobs:
            await (await jobs.submit(work, 1)).result()
            await trio.sleep(1)
            began, spent = monotonic(), process_time()
            await trio.sleep(seconds)
            return (process_time() - spent) / (monotonic() - began)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    print(f"where the system tells of writes: {trio.run(share, seconds):.2%} of a core, target < 0.5%")
    notices._watch = lambda path: None  # noqa: ARG005, SLF001  # as on a system that has no inotify
    print(f"where it does not: {trio.run(share, seconds):.2%}, target <= 1%")


if __name__ == "__main__":
    main()
