"""Run jobs until a signal comes, then stop them in order, or by force: what `worker` and `serve` share."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import trio

from .._registry.opening import open_registry
from .._registry.registry import JobRegistry
from .faults import Fault, Stopped
from .load import load_handlers
from .output import note
from .watchdog import Watchdog


@attrs.frozen
class Working:
    """A registry that runs jobs until a signal comes.

    Attributes:
        jobs: The registry.
        description: Which worker runs which handlers from which store, as a line of text.
        stopping: Set when a signal came, and the block is to be left.
    """

    jobs: JobRegistry
    description: str
    stopping: trio.Event


def show_log(level: str) -> None:
    """Log to standard error: of this package from `level` on, of others from warnings on.

    A program that has configured logging itself keeps its configuration.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("trio_jobs").setLevel(level.upper())


@asynccontextmanager
async def working(
    handlers: str, *, store: str, capacity: int, lease: float, grace: float, name: str | None
) -> AsyncGenerator[Working]:
    """Run jobs for the length of the block, and stop them in order when it is left.

    The block has the time that the watchdog leaves beyond the grace: it should end soon after `stopping`.

    Raises:
        Stopped: A signal came.
        Fault: The handlers cannot be loaded, or the registry refuses an option.
    """
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
            description = f"{name} runs {', '.join(found)} from {store}, {capacity} at once"
            yield Working(jobs, description, watchdog.stopping)
            if left := len(jobs.running):
                what = f"{left} job{'' if left == 1 else 's'}"
                note(f"stopping: {grace:g}s for {what} to end; what still runs then is handed over")
    if watchdog.signal is not None:
        note("stopped: nothing runs here any more")
        raise Stopped(watchdog.signal)
