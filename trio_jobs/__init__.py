"""Structured-concurrency jobs for Trio: run, stream, cancel, time out and retry async functions.

The rooms in the order in which they tell the story; the first page of each says what is in it:

    _common              what can go wrong, and what may follow what
    _model               what a job is
    _json                a job as JSON
    stores               the contract of what keeps jobs, and what keeps them
    _watching            a job is read, waited for and cancelled
    _running             it is tried
    _registry            all jobs of a program, under one nursery
    _wire                what a client and a server say to each other
    telemetry            jobs as tools for watching programs see them
    serving              jobs shown to other machines
    client               a server's jobs as if they were here
    logs, telemetry      which job wrote a line of a program's log; jobs in its traces
    demo, testing, cli   to be looked at; for users' tests; the command
"""

import typing

from ._common.errors import (
    AwaitInput,
    Busy,
    ErrorRecord,
    IllegalTransition,
    InboxFull,
    InvalidPayload,
    JobCancelled,
    JobFailed,
    JobTimedOut,
    KeyConflict,
    LeaseLost,
    Permanent,
    QueueFull,
    RetryAfter,
    SchemaTooNew,
    StoreCorrupt,
    StoreUnavailable,
    StoreUnfit,
    StreamGap,
    StreamRestarted,
    TrioJobsError,
    UnknownHandler,
    UnknownJob,
)
from ._common.states import Reason, State
from ._model.handler import handler
from ._model.job import (
    CancelReport,
    Ended,
    Event,
    Job,
    Kind,
    Priority,
    Progress,
    Retention,
    Step,
    Timeouts,
)
from ._model.retry import Retry
from ._registry.opening import open_registry, serve_jobs
from ._registry.registry import JobRegistry
from ._running.context import JobContext
from ._watching.handle import JobHandle
from ._watching.streams import EventStream, TokenStream

if typing.TYPE_CHECKING:
    from ._common.loop_watch import Blocked, LoopWatch, watch_loop
    from ._model.exclusive import Debounce
    from ._model.job import Statistics
    from ._model.limits import Limit, LimitStatus
    from ._model.options import SpawnOptions, SubmitOptions
    from ._model.restart import Restart
    from ._model.schedule import Schedule, ScheduleStatus
    from ._model.summary import JobSummary, Page
    from ._registry.bulk import BulkReport
    from ._registry.filter import Filter, Search
    from ._registry.limits import JobLimits
    from ._registry.schedules import Schedules
    from ._watching.lines import LineStream
    from .stores.schedules import ScheduleDeclared, UnknownSchedule

__all__ = [
    "AwaitInput",
    "Blocked",
    "BulkReport",
    "Busy",
    "CancelReport",
    "Debounce",
    "Ended",
    "ErrorRecord",
    "Event",
    "EventStream",
    "Filter",
    "IllegalTransition",
    "InboxFull",
    "InvalidPayload",
    "Job",
    "JobCancelled",
    "JobContext",
    "JobFailed",
    "JobHandle",
    "JobLimits",
    "JobRegistry",
    "JobSummary",
    "JobTimedOut",
    "KeyConflict",
    "Kind",
    "LeaseLost",
    "Limit",
    "LimitStatus",
    "LineStream",
    "LoopWatch",
    "Page",
    "Permanent",
    "Priority",
    "Progress",
    "QueueFull",
    "Reason",
    "Restart",
    "Retention",
    "Retry",
    "RetryAfter",
    "Schedule",
    "ScheduleDeclared",
    "ScheduleStatus",
    "Schedules",
    "SchemaTooNew",
    "Search",
    "SpawnOptions",
    "State",
    "Statistics",
    "Step",
    "StoreCorrupt",
    "StoreUnavailable",
    "StoreUnfit",
    "StreamGap",
    "StreamRestarted",
    "SubmitOptions",
    "Timeouts",
    "TokenStream",
    "TrioJobsError",
    "UnknownHandler",
    "UnknownJob",
    "UnknownSchedule",
    "handler",
    "open_registry",
    "serve_jobs",
    "watch_loop",
]

# What few programs use is loaded when they do.
_LATE = {
    "Blocked": "_common.loop_watch",
    "BulkReport": "_registry.bulk",
    "Debounce": "_model.exclusive",
    "Filter": "_registry.filter",
    "JobLimits": "_registry.limits",
    "JobSummary": "_model.summary",
    "Limit": "_model.limits",
    "LimitStatus": "_model.limits",
    "LineStream": "_watching.lines",
    "LoopWatch": "_common.loop_watch",
    "Page": "_model.summary",
    "Restart": "_model.restart",
    "Schedule": "_model.schedule",
    "ScheduleDeclared": "stores.schedules",
    "ScheduleStatus": "_model.schedule",
    "Schedules": "_registry.schedules",
    "Search": "_registry.filter",
    "SpawnOptions": "_model.options",
    "Statistics": "_model.job",
    "SubmitOptions": "_model.options",
    "UnknownSchedule": "stores.schedules",
    "watch_loop": "_common.loop_watch",
}

# Tracebacks, reprs and the documentation are to show the names that people import.
for _public in filter(None, map(globals().get, __all__)):
    _public.__module__ = __name__


if not typing.TYPE_CHECKING:  # to a type checker a name that does not exist would be an object

    def __getattr__(name: str) -> object:
        """Load a name of `_LATE`."""
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        found = getattr(importlib.import_module(f"{__name__}.{_LATE[name]}"), name)
        found.__module__ = __name__
        globals()[name] = found
        return found
