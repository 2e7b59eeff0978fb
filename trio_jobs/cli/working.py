"""Run jobs until a signal comes, then stop them in order, or by force: what `worker` and `serve` share."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import attrs
import trio
from cyclopts import Parameter

from .._common.validate import RefusedAs
from .._registry.address import without_password
from .._registry.opening import open_registry
from .._registry.registry import JobRegistry
from .escape import one_line
from .faults import Fault, Stopped
from .load import load_handlers, load_hook, load_limits, load_schedules
from .options import DEFAULT_STORE, Seconds, Store
from .output import note
from .watchdog import Watchdog

if TYPE_CHECKING:
    from .._running.hooks import OnEvent
    from ..telemetry.prometheus import Metrics

_logger: Final = logging.getLogger("trio_jobs.cli")
_Hook: TypeAlias = Annotated[str | None, Parameter(metavar="MODULE:NAME")]


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class WorkerOptions:
    """The options of `worker` and `serve` about the jobs that they run.

    Attributes:
        store: Where the jobs are kept, as sqlite:///jobs.db or postgresql://host/database.
        capacity: How many jobs may run at once.
        lease: After so long without a sign of life, another worker may take over a job.
        grace: How long jobs may take to end by themselves when the process is to stop.
        name: What the histories of its jobs say; by default, host and process.
        watch_loop: Warn of each place that blocks the event loop, and count that in the metrics.
        log_level: What is logged on standard error: at info, each start and end of a job too.
        log_format: How: as lines of text, or of JSON objects that tell which job wrote them.
        wrap: A function of yours, as app:wrap, that returns an async context manager around each attempt.
        on_event: A function of yours, as app:on_event, that is told how attempts begin and end.
    """

    store: Store = DEFAULT_STORE
    capacity: Annotated[int, Parameter(metavar="N")] = 100
    lease: Seconds = 30.0
    grace: Seconds = 10.0
    name: Annotated[str | None, Parameter(metavar="X", show_default=False)] = None
    watch_loop: Annotated[bool, Parameter(negative=())] = False
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    log_format: Literal["text", "json"] = "text"
    wrap: _Hook = None
    on_event: _Hook = None

    def tell(self, text: str) -> None:
        """Tell what the command does, at any level; if the log is JSON, as a line of that."""
        if self.log_format == "json":
            _logger.info("%s", one_line(text))
        else:
            note(text)


DEFAULTS: Final = WorkerOptions()


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


def _configure_logging(options: WorkerOptions) -> None:
    level = options.log_level.upper()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    if options.log_format == "json":
        from ..logs import JsonFormatter

        handler.setFormatter(JsonFormatter())
    # A program that has configured logging itself keeps its configuration.
    logging.basicConfig(handlers=[handler], level=level)
    logging.getLogger("trio_jobs").setLevel(level)
    _logger.setLevel(logging.INFO)


def _watched(
    options: WorkerOptions, metrics: Metrics | None
) -> AbstractAsyncContextManager[object, bool | None]:
    if not options.watch_loop:
        return nullcontext()
    from .._common.loop_watch import watch_loop

    return watch_loop(on_block=None if metrics is None else metrics.on_block)


def _observer(options: WorkerOptions, metrics: Metrics | None) -> OnEvent | None:
    """Return what tells the metrics, and then the function that `--on-event` names. Raises `Fault`."""
    named: OnEvent | None = load_hook("--on-event", options.on_event)
    if metrics is None or named is None:
        return named if metrics is None else metrics.on_event
    from .._running.hooks import check_hooks  # which few programs need

    with RefusedAs(Fault):
        check_hooks(None, named)
    return partial(_tell_both, metrics.on_event, named)


def _tell_both(first: OnEvent, other: OnEvent, *told: Any) -> None:
    first(*told)
    other(*told)


@asynccontextmanager
async def working(
    handlers: str, options: WorkerOptions, metrics: Metrics | None = None
) -> AsyncGenerator[Working]:
    """Run jobs for the length of the block, with the limits and schedules of the module, and stop in order.

    The block has the time that the watchdog leaves beyond the grace: it should end soon after `stopping`.

    Raises:
        Stopped: A signal came.
        Fault: The handlers cannot be loaded, or the registry refuses an option.
    """
    _configure_logging(options)
    found, declared, limits = load_handlers(handlers), load_schedules(handlers), load_limits(handlers)
    wrap, on_event = load_hook("--wrap", options.wrap), _observer(options, metrics)
    name = options.name or f"{socket.gethostname()}:{os.getpid()}"
    running: list[JobRegistry] = []
    watchdog = Watchdog(options.grace, lambda: running[0].running if running else {})
    with watchdog.on_guard():
        with RefusedAs(Fault):
            opened = open_registry(
                options.store,
                handlers=found.values(),
                capacity=options.capacity,
                lease=options.lease,
                grace=options.grace,
                name=name,
                schedules=declared,
                limits=limits,
                wrap=wrap,
                on_event=on_event,
            )
        async with _watched(options, metrics), opened as jobs:
            running.append(jobs)
            shown = without_password(options.store)
            description = f"{name} runs {', '.join(found)} from {shown}, {options.capacity} at once"
            if declared:
                description += f"; schedules {', '.join(one.name for one in declared)}"
            yield Working(jobs, description, watchdog.stopping)
            if left := len(jobs.running):
                what = f"{left} job{'' if left == 1 else 's'}"
                options.tell(
                    f"stopping: {options.grace:g}s for {what} to end; what still runs then is handed over"
                )
    if watchdog.signal is not None:
        options.tell("stopped: nothing runs here any more")
        raise Stopped(watchdog.signal)
