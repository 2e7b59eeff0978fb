"""`trio-jobs worker`: run jobs until a signal comes, then stop in order, or by force."""

from __future__ import annotations

from .options import DEFAULT_STORE, Capacity, HandlersAt, LogLevel, Seconds, Store, WorkerName, file_of
from .output import note
from .working import show_log, working


async def worker(
    handlers: HandlersAt,
    /,
    *,
    store: Store = DEFAULT_STORE,
    capacity: Capacity = 100,
    lease: Seconds = 30.0,
    grace: Seconds = 10.0,
    name: WorkerName = None,
    log_level: LogLevel = "warning",
) -> None:
    """Run jobs until SIGTERM or Ctrl-C.

    Then it claims no more, asks the jobs to end, waits for the grace, and hands over what still runs: another
    worker goes on with it. It exits within the grace and two seconds, by force if a handler does not
    stop. Another signal, a second or more after the first, ends it at once.

    Args:
        lease: After so long without a sign of life, another worker may take over a job.
        grace: How long jobs may take to end by themselves when the worker is to stop.

    Raises:
        Stopped: A signal came.
    """
    file_of(store)
    show_log(log_level)
    async with working(handlers, store=store, capacity=capacity, lease=lease, grace=grace, name=name) as work:
        note(f"{work.description}; Ctrl-C stops it")
        await work.stopping.wait()
