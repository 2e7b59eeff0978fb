"""Jobs and events as JSON has them: names of the public records, values of JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

import attrs

from ._errors import ErrorRecord
from ._job import Ended, Event, Job, Progress

_LEFT_OUT = frozenset({"on"})  # of Retry: code


def plain(value: Any) -> Any:
    """Return a record as a mapping, and what is in it likewise; other values as they are."""
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
    """Return a job; its priority by name."""
    return {**plain(job), "priority": job.priority.name.lower()}


def event_record(event: Event) -> dict[str, Any]:
    """Return an event."""
    return {
        "seq": event.seq,
        "attempt": event.attempt,
        "kind": event.kind,
        "at": plain(event.at),
        "data": plain(event.data) if isinstance(event.data, (Ended, ErrorRecord, Progress)) else event.data,
    }
