"""`trio-jobs worker`: run jobs until a signal comes, and then stop in order, or by force."""

from __future__ import annotations

import os
import socket
from typing import Annotated

from cyclopts import Parameter

from .._open import open_registry
from .._registry import JobRegistry
from .faults import Fault, Stopped
from .load import load_handlers
from .options import DEFAULT_STORE, HandlersAt, Seconds, Store, file_of
from .output import note
from .watchdog import Watchdog


async def worker(
    handlers: HandlersAt,
    /,
    *,
    store: Store = DEFAULT_STORE,
    capacity: Annotated[int, Parameter(metavar="N")] = 100,
    lease: Seconds = 30.0,
    grace: Seconds = 10.0,
    name: Annotated[str | None, Parameter(metavar="X", show_default=False)] = None,
) -> None:
    """Run jobs until SIGTERM or Ctrl-C.

    Then it claims no more, tells the jobs, waits for the grace, and hands over what still runs: another
    worker goes on with it. It is gone within the grace and two seconds, by force if a handler does not
    stop. Another signal, a second or more after the first, ends it at once.

    Args:
        capacity: How many jobs may run at once.
        lease: After so long without a sign of life, another worker may take over a job.
        grace: How long jobs may take to end by themselves when the worker is to stop.
        name: What the histories of its jobs say; by default, host and process.

    Raises:
        Stopped: A signal came.
    """
    file_of(store)
    found = load_handlers(handlers)
    name = name or f"{socket.gethostname()}:{os.getpid()}"
    running: list[JobRegistry] = []
    watchdog = Watchdog(grace, lambda: running[0].running if running else {})
    with watchdog.on_guard():
        try:
            opened = open_registry(
                store, handlers=found.values(), capacity=capacity, lease=lease, grace=grace, name=name
            )
        except (TypeError, ValueError) as error:
            raise Fault(str(error)) from error
        async with opened as jobs:
            running.append(jobs)
            note(f"{name} runs {', '.join(found)} from {store}, {capacity} at once; Ctrl-C stops it")
            await watchdog.stopping.wait()
            if left := len(jobs.running):
                what = f"{left} job{'' if left == 1 else 's'}"
                note(f"stopping: {grace:g}s for {what} to end; what still runs then is handed over")
    if watchdog.signal is not None:
        note("stopped: nothing runs here any more")
        raise Stopped(watchdog.signal)
