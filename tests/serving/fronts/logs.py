"""Logs as a front is given them: made by hand, without a store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from trio_jobs import Ended, Event, Job, Kind, Priority, Retry, State, Timeouts

Told = tuple[Kind, Any] | tuple[Kind, Any, int]


def job(**changes: Any) -> Job:
    """Return the record of a job."""
    fields: dict[str, Any] = dict.fromkeys(
        (
            "reason",
            "message",
            "error",
            "result",
            "owner",
            "key",
            "parent",
            "saved",
            "started_at",
            "finished_at",
        )
    )
    fields |= {
        "id": "j1",
        "handler": "chat",
        "state": State.QUEUED,
        "attempt": 0,
        "priority": Priority.NORMAL,
    }
    fields |= {"tags": {}, "metadata": {}, "timeouts": Timeouts(), "retry": Retry(attempts=1), "spent": 0}
    fields |= {"created_at": datetime.fromtimestamp(7, UTC), "last_seq": 1}
    fields |= {"next_attempt_at": None, "cancel_requested_at": None}
    return Job(**fields | changes)


def log(*told: Told | None, begun: bool = True) -> Sequence[Event]:
    """Return events, numbered from 1 on; None is one that is gone. `begun` puts the start before them."""
    start: Iterable[Told | None] = [(Kind.SUBMITTED, "chat"), (Kind.STARTED, "worker")] if begun else []
    found: list[Event] = []
    for seq, one in enumerate([*start, *told], 1):
        if one is not None:
            kind, data, *attempt = one
            found.append(Event(seq, attempt[0] if attempt else 1, kind, 0.0, data))
    return found


def ended(reason: Any, **more: Any) -> Ended:
    """Return how a job ended."""
    return Ended(reason, **more)
