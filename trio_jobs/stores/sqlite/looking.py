"""The verbs that read, each as a function over one transaction."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import attrs
import msgspec

from ..._common.errors import LeaseLost, UnknownJob, check_cursor
from ..._model.job import Event
from ..rows import text
from ..workers import HELD, WorkerStatus, workers_of
from . import chunks
from .group import Row, Transaction


@attrs.define  # not frozen, as each end makes one; it never changes
class Running:
    """A running job: the row of the query `running`."""

    number: int
    seq: int
    appended: int
    kept: int
    bytes: int
    cancel_requested: float | None
    cancel_message: str | None
    attempt: int
    losses: int
    consumed: int
    last_input: int
    repeated: str | None
    repeats: int
    children: int  # whether any of them is open


def running(
    tx: Transaction,
    job_id: str,
    attempt: int,
    claim: str | None = None,
    *,
    appended: int = 0,
    received: int | None = None,
) -> Running:
    """Return the job, if it runs that attempt of that claim.

    Args:
        tx: The transaction.
        job_id: The job.
        attempt: The attempt.
        claim: The id of its claim.
        appended: How many events the attempt has appended.
        received: The input that it received last.

    Raises:
        LeaseLost: It does not run that attempt, or lacks such an event or input.
    """
    row = tx.one("running", id=job_id, attempt=attempt, claim=claim)
    job = None if row is None else Running(*row)
    if job is None or appended > job.appended or (received or 0) > job.last_input:
        raise LeaseLost(job_id, attempt)
    return job


def job(tx: Transaction, job_id: str) -> Row:
    """Return the row of a snapshot."""
    return known(tx, "job", job_id)


def known(tx: Transaction, query: str, job_id: str) -> Row:
    """Return the row that a query gives of a job.

    Raises:
        UnknownJob: There is none.
    """
    row = tx.one(query, id=job_id)
    if row is None:
        raise UnknownJob(job_id)
    return row


def ended(tx: Transaction, job_id: str) -> Row | None:
    """Return the row of a snapshot if the job has ended, else None."""
    return job(tx, job_id) if _place(tx, job_id)[2] else None


def _place(tx: Transaction, job_id: str) -> tuple[int, int, bool]:
    """Return a job's number, its newest cursor, and whether it is over."""
    number, seq, over = known(tx, "log_place", job_id)
    return number, seq, bool(over)


def page(tx: Transaction, job_id: str, after: int, limit: int) -> tuple[list[Event], bool, int]:
    """Return up to `limit` events behind a cursor, whether the job is over, and its newest cursor."""
    number, seq, over = _place(tx, job_id)
    return (chunks.read(tx, number, after, limit) if after < seq else []), over, seq


def history(tx: Transaction, job_id: str) -> list[Event]:
    """Return all events except tokens, progress and inputs."""
    return chunks.history(tx, _place(tx, job_id)[0])


def inputs(tx: Transaction, job_id: str, after: int, limit: int) -> list[Event]:
    """Return up to `limit` inputs, and the end of the inputs, behind a cursor."""
    number, seq, _ = _place(tx, job_id)
    check_cursor(job_id, after, seq)
    rows = tx.run("inputs", **chunks.log_ids(number, after), limit=limit)
    return [event for row in rows for event in chunks.events_of(row)]


def heard(tx: Transaction, places: Mapping[str, int]) -> set[str]:
    """Return the jobs that have an input behind a cursor, or a log that ends before it, or are gone."""
    rows = tx.run("heard", places=msgspec.json.encode(places).decode())
    return {job_id for (job_id,) in rows}


def listed(names: Iterable[str]) -> str:
    """Return names as a list in JSON, the form that the queries take."""
    return msgspec.json.encode(list(names)).decode()


def news(tx: Transaction, job_ids: Iterable[str]) -> dict[str, tuple[int, bool]]:
    """Return the newest cursor of each of these jobs that is there, and whether it is over."""
    return {job_id: (seq, bool(over)) for job_id, seq, over in tx.run("news", ids=listed(job_ids))}


def next_overdue(tx: Transaction) -> float:
    """Return when the first lease or queue timeout passes."""
    return float((tx.one("next_overdue") or (math.inf,))[0])


def workers(tx: Transaction) -> list[WorkerStatus]:
    """Return the workers that hold jobs."""
    return workers_of((lapses, begun) for lapses, begun in tx.run("workers", now=tx.now, limit=HELD))


def cancelling(tx: Transaction) -> dict[str, float]:
    """Return the running jobs whose cancellation was requested, and the grace."""
    return {text(job_id) or "": grace for job_id, grace in tx.run("cancelling")}
