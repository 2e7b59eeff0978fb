"""What a run left behind: its file, read with SQL of its own, and the journals of its processes.

Nothing here comes from the package: a rule that both had wrong would hide what it is for.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import attrs

INBOX = 8
"""How many inputs of a job may be unconsumed."""
EVERY = 1.0
"""Seconds between the ticks of each schedule."""
AT_ONCE = {"all": 3, "key": 1}
"""How many jobs of the handler `limited` may run at once, in all and of each key."""
OVER = {"completed", "failed", "cancelled"}


@attrs.define
class Event:
    """An event in the file."""

    seq: int
    attempt: int
    kind: str
    at: float
    data: Any
    received: int | None


@attrs.define
class Job:
    """A job in the file."""

    number: int
    id: str
    state: str
    attempt: int
    spent: int
    attempts: int
    seq: int
    parent: str | None
    key: str | None
    consumed: int
    unconsumed: int
    last_input: int
    inputs_ended: int | None
    exclusive: str | None
    handler: str | None
    limit_key: str | None
    schedule: str | None
    log: list[Event] = attrs.field(factory=list[Event])


@attrs.define
class Evidence:
    """The data of a run."""

    db: sqlite3.Connection
    jobs: dict[str, Job]
    journal: list[dict[str, Any]]
    lease: float

    def said(self, what: str) -> Iterator[dict[str, Any]]:
        """Return the entries of one kind."""
        return (entry for entry in self.journal if entry["what"] == what)

    def said_in_attempts(self, what: str) -> dict[tuple[str, int], list[dict[str, Any]]]:
        """Return the entries of one kind by job and attempt."""
        found: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
        for entry in self.said(what):
            found[entry["job"], entry["attempt"]].append(entry)
        return found


Rule = Callable[[Evidence], Iterator[str]]


def load(db: sqlite3.Connection) -> dict[str, Job]:
    """Return all jobs with their logs."""
    query = """
        SELECT number, id, state, attempt, spent, attempts, seq, parent, key,
            consumed, unconsumed, last_input, inputs_ended, exclusive,
            handler, json_extract(options, '$.limit_key'),
            (SELECT value FROM trio_jobs_tag WHERE job = number AND name = 'schedule')
        FROM trio_jobs_job
    """
    jobs = {row[0]: Job(*row) for row in db.execute(query)}
    events = "SELECT id, count, attempt, kind, at, data, received FROM trio_jobs_event ORDER BY id"
    for place, count, attempt, kind, at, data, received in db.execute(events):
        number, last = place >> 32, place & 0xFFFFFFFF
        if number in jobs:
            values = json.loads(data)
            seqs = range(last - count + 1, last + 1)
            jobs[number].log += [
                Event(seq, attempt, kind, at, value, received)
                for seq, value in zip(seqs, values, strict=True)
            ]
    return {job.id: job for job in jobs.values()}
