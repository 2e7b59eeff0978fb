"""Turn jobs and events into mappings of JSON, under the names of the public records."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

import attrs

from .._common.errors import ErrorRecord
from .._model.job import Ended, Event, Job, Progress
from .._model.summary import JobSummary

_LEFT_OUT = frozenset({"on"})  # of Retry: code
_SUMMARY = tuple(field.name for field in attrs.fields(JobSummary))
_TIMES = tuple(name for name in _SUMMARY if name.endswith("_at"))


def plain(value: Any) -> Any:
    """Return a record as a mapping, with the records in it as mappings too; other values as they are."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict[Any, Any](cast("Mapping[Any, Any]", value))
    kind = cast("type[Any]", type(value))
    if attrs.has(kind):
        names = [field.name for field in attrs.fields(kind)]
        return {name: plain(getattr(value, name)) for name in names if name not in _LEFT_OUT}
    return value


def job_record(job: Job) -> dict[str, Any]:
    """Return a job as a mapping; its priority by name."""
    return {**plain(job), "priority": job.priority.name.lower()}


def summary_record(summary: JobSummary) -> dict[str, Any]:
    """Return a summary as a mapping; its priority by name."""
    found = {
        name: getattr(summary, name) for name in _SUMMARY
    }  # what `plain` does for these fields, only quicker
    for name in _TIMES:
        if (time := found[name]) is not None:
            found[name] = time.isoformat()
    return {**found, "priority": summary.priority.name.lower(), "progress": plain(summary.progress)}


def event_record(event: Event) -> dict[str, Any]:
    """Return an event as a mapping."""
    return {
        "seq": event.seq,
        "attempt": event.attempt,
        "kind": event.kind,
        "at": plain(event.at),
        "data": plain(event.data) if isinstance(event.data, (Ended, ErrorRecord, Progress)) else event.data,
    }
