"""Structured-concurrency jobs for Trio: run, stream, cancel, time out and retry async functions.

The files in the order in which they tell the story:

    _errors, _states, _bell             what can go wrong, what may follow what, waking
    _check, _job, _retry, _options,     records and the rules about them
      _handler, _handlers, _lost, _codec,
      _arguments, _safe, _held, _stored,
      _summary
    _store, _rules, _submission,
      _filter                           the contract of what keeps jobs
    stores/                             what keeps them
    _insist, _logs, _raised,            a job speaks, and is listened to
      _audience, _place, _stream
    _deadlines, _pipe, _context,        it is tried once
      _stack, _attempt
    _worker, _sweeper, _handle          it is claimed, cleaned up after, and watched
    _lines, _registry, _address, _open  all under one nursery
"""

from ._context import JobContext
from ._errors import (
    ErrorRecord,
    IllegalTransition,
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
    StreamGap,
    StreamRestarted,
    TrioJobsError,
    UnknownHandler,
    UnknownJob,
)
from ._handle import JobHandle
from ._handler import handler
from ._job import (
    CancelReport,
    Ended,
    Event,
    Job,
    Kind,
    Priority,
    Progress,
    Retention,
    Timeouts,
)
from ._open import open_registry, serve_jobs
from ._registry import JobRegistry
from ._retry import Retry
from ._states import Reason, State
from ._stream import EventStream, TokenStream
from ._summary import JobSummary, Page

__all__ = [
    "CancelReport",
    "Ended",
    "ErrorRecord",
    "Event",
    "EventStream",
    "IllegalTransition",
    "InvalidPayload",
    "Job",
    "JobCancelled",
    "JobContext",
    "JobFailed",
    "JobHandle",
    "JobRegistry",
    "JobSummary",
    "JobTimedOut",
    "KeyConflict",
    "Kind",
    "LeaseLost",
    "Page",
    "Permanent",
    "Priority",
    "Progress",
    "QueueFull",
    "Reason",
    "Retention",
    "Retry",
    "RetryAfter",
    "SchemaTooNew",
    "State",
    "StoreCorrupt",
    "StoreUnavailable",
    "StreamGap",
    "StreamRestarted",
    "Timeouts",
    "TokenStream",
    "TrioJobsError",
    "UnknownHandler",
    "UnknownJob",
    "handler",
    "open_registry",
    "serve_jobs",
]

# Tracebacks, reprs and the documentation are to show the names that people import.
for _public in map(globals().get, __all__):
    _public.__module__ = __name__
