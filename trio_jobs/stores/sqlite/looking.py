"""The verbs that read, each as what it does in one transaction."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from ..._errors import UnknownJob
from ..._job import Event
from ..._states import State
from ..._store import Where
from . import chunks
from .group import Row, Transaction
from .queries import SUMMARY, states_in


def job(tx: Transaction, job_id: str) -> Row:
    """Return the row of a snapshot."""
    row = tx.one("job", id=job_id)
    if row is None:
        raise UnknownJob(job_id)
    return row


def ended(tx: Transaction, job_id: str) -> Row | None:
    """Return the row of a snapshot, once the job is over."""
    return job(tx, job_id) if _place(tx, job_id)[2] else None


def _place(tx: Transaction, job_id: str) -> tuple[int, int, bool]:
    """Return a job's number, its newest cursor, and whether it is over."""
    row = tx.one("log_place", id=job_id)
    if row is None:
        raise UnknownJob(job_id)
    return row[0], row[1], bool(row[2])


def page(tx: Transaction, job_id: str, after: int, limit: int) -> tuple[list[Event], bool, int]:
    """Return up to `limit` events behind a cursor, whether the job is over, and its newest cursor."""
    number, seq, over = _place(tx, job_id)
    return (chunks.read(tx, number, after, limit) if after < seq else []), over, seq


def history(tx: Transaction, job_id: str) -> list[Event]:
    """Return the events but for tokens and progress."""
    return chunks.history(tx, _place(tx, job_id)[0])


def next_due(tx: Transaction, handlers: Iterable[str]) -> float:
    """Return when the first of the jobs that wait for these handlers is due."""
    (found,) = tx.one("next_due", handlers=listed(handlers)) or (None,)
    return math.inf if found is None else found


def listed(names: Iterable[str]) -> str:
    """Return names as a list in JSON, as the queries want it."""
    return msgspec.json.encode(list(names)).decode()


def news(tx: Transaction, job_ids: Iterable[str]) -> dict[str, tuple[int, bool]]:
    """Return the newest cursor of each of these jobs that is there, and whether it is over."""
    return {job_id: (seq, bool(over)) for job_id, seq, over in tx.run("news", ids=listed(job_ids))}


def next_overdue(tx: Transaction) -> float:
    """Return when the first lease or queue timeout passes."""
    return float((tx.one("next_overdue") or (math.inf,))[0])


def cancelling(tx: Transaction) -> dict[str, float]:
    """Return the running jobs whose cancellation was requested, and the grace."""
    return dict(tx.run("cancelling"))


# ------------------------------------------------------------ by filter


_HAS_TAGS: Final = (
    "NOT EXISTS (SELECT 1 FROM json_each(:tags) AS wanted WHERE NOT EXISTS (SELECT 1 "
    "FROM json_each(job.options, '$.tags') AS tag WHERE tag.key = wanted.key AND tag.value = wanted.value))"
)
_COUNT: Final = "SELECT state, count(*) FROM trio_jobs_job AS job"


def _condition(where: Where) -> tuple[str, dict[str, Any]]:
    """Return a filter as SQL, and the values in it."""
    clauses, values = ["1"], dict[str, Any]()
    if where.states is not None:
        clauses.append(f"job.state IN {states_in(where.states)}")
    for name, value in {"handler": where.handler, "owner": where.owner}.items():
        if value is not None:
            clauses.append(f"job.{name} = :{name}")
            values[name] = value
    if where.parent is not None:
        clauses.append("job.parent = :parent")
        values["parent"] = where.parent
    if where.tags:
        clauses.append(_HAS_TAGS)
        values["tags"] = msgspec.json.encode(where.tags).decode()
    return " AND ".join(clauses), values


def find(tx: Transaction, where: Where, limit: int, after: int | None, *, newest: bool) -> list[Row]:
    """Return the rows of the summaries that match, the oldest first, or the newest; one more than `limit`."""
    condition, values = _condition(where)
    values["limit"] = limit + 1
    if after is not None:
        condition += " AND job.number < :after" if newest else " AND job.number > :after"
        values["after"] = after
    order = "job.number DESC" if newest else "job.number"
    return list(tx.select(f"{SUMMARY} WHERE {condition} ORDER BY {order} LIMIT :limit", values))


def count(tx: Transaction, where: Where) -> Mapping[State, int]:
    """Return how many match in each state."""
    if where == Where():
        rows = tx.run("totals")
    else:
        condition, values = _condition(where)
        rows = tx.select(f"{_COUNT} WHERE {condition} GROUP BY state", values)
    return {State(state): number for state, number in rows}
