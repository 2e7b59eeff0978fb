"""Judge when jobs start, how long and how often they run, by the numbers of the design; see `_judge.py`."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING, Final

import attrs

from ._asked import SLACK, Found
from ._exclusive import delay_of, freed_at
from .fold import GIVEN_BACK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._model.job import Event, Job
    from ._history import History

PENALTY: Final = {0: 0.0, 1: 60.0, 2: 300.0, 3: 1800.0}
_CRASHES: Final = 3
_NOT_ITS_OWN: Final = frozenset({"shutdown", "worker_lost"})  # the job keeps the rank that it had at first
TRAVELS: Final = 0.1  # seconds that a call is under way, as long as nothing is wrong


@attrs.frozen
class Stay:
    """A job's stay in the queue.

    Attributes:
        job_id: Which job.
        due: When it might have started.
        left: When it left the queue.
        started: Whether by a start.
        rank: What the order of starts goes by, at least.
        most: The same, at most: infinity if that is not known.
        lane: The handler and the key, if it waits under limits: only the jobs of a lane are in order of rank.
    """

    job_id: str
    due: float
    left: float
    started: bool
    rank: float
    most: float
    lane: tuple[str, str | None] | None = None


def _stays(job: Job, log: Sequence[Event], delay: float | None) -> Iterator[Stay]:
    """Return each stay of a job in the queue, but for the first one if its delay is not known."""
    due = None if delay is None else log[0].timestamp + delay
    least, most = first = log[0].timestamp + (delay or 0.0), inf if due is None else due
    newest, wanted = 0, inf  # the last input, and that for which the job waits
    penalty = PENALTY[int(job.priority)]
    for event in log[1:]:
        if event.kind in {"input", "inputs_ended"}:
            newest = event.seq
            if newest > wanted and due is not None:
                least = most = due = min(due, event.timestamp)
        if due is not None and event.kind in {"started", "cancelled", "expired"}:
            started = event.kind == "started"
            yield Stay(job.id, due, event.timestamp, started, least + penalty, most + penalty)
            due, wanted = None, inf
        elif event.kind == "retried":
            waits = event.data.reason == "awaiting_input"
            wanted = event.received or 0 if waits else inf
            due = event.timestamp + (0.0 if newest > wanted else event.data.delay or 0.0)
            least, most = first if event.data.reason in _NOT_ITS_OWN else (due, due)
    if due is not None:
        yield Stay(job.id, due, inf, started=False, rank=least + penalty, most=most + penalty)


def _tops(history: History) -> Iterator[tuple[Job, Sequence[Event]]]:
    """Return the jobs that are known and no child of another one, with their logs."""
    for job in history.jobs.values():
        if job.parent is None and history.logs.get(job.id):
            yield job, history.logs[job.id]


def stays_of(history: History) -> list[Stay]:
    """Return all stays in the queue; of a job behind another one, from when that had ended."""
    found, freed = list[Stay](), freed_at(history)
    for job, log in _tops(history):
        limits, options = history.limits.get(job.handler, {}), history.options.get(job.id, {})
        if any(limit.keyed for limit in limits.values()) and "limit_key" not in options:
            continue  # in which lane it waits is not known
        lane = (job.handler, options.get("limit_key")) if limits else None
        for stay in _stays(job, log, delay_of(history, job)):
            found.append(attrs.evolve(stay, due=max(stay.due, freed.get(job.id, 0.0)), lane=lane))
    return found


def starts_are_in_order(history: History) -> Found:
    """Nothing starts before it is due, nor while something of a lower rank was due and waited.

    Under limits that holds of the jobs of a handler and key.
    """
    stays = stays_of(history)
    for stay in (stay for stay in stays if stay.started):
        if stay.left < stay.due - SLACK:
            yield stay.job_id, f"it started {stay.due - stay.left:g} s before it was due"
        for other in (other for other in stays if other.lane == stay.lane):
            passed_over = other.due < stay.left - SLACK and other.left > stay.left + SLACK
            if passed_over and other.most < stay.rank - SLACK:
                late = f"{stay.left - other.due:g} s after job {other.job_id} was due"
                yield stay.job_id, f"it started {late}, which has a lower rank and still waited"


def limits_are_kept(history: History) -> Found:
    """A job runs no more often than it may, and completes in no longer time.

    A handler that was asked to end before its time was over may take long to do so, and completes then.
    """
    for job, log in _tops(history):
        spent, losses, began, worker, asked = 0, 0, 0.0, "", inf
        budget: float = inf if job.retry.attempts is None else job.retry.attempts
        deadly = max(job.retry.attempts or 0, _CRASHES)
        for event in log:
            if event.kind == "started":
                spent, began, worker, asked = spent + 1, event.timestamp, event.data, inf
            elif event.kind == "cancel_requested":
                asked = min(asked, event.timestamp - began)
            elif event.kind == "completed" and job.timeouts.run is not None:
                took, most = event.timestamp - began, job.timeouts.run + TRAVELS
                if min(took, asked) > most and _shows_when_it_ended(history, job.id, worker):
                    yield job.id, f"it completed after {took:g} s"
            elif event.kind == "retried":
                lost, free = event.data.reason == "worker_lost", event.data.reason in GIVEN_BACK
                spent, losses = spent - free, losses + 1 if lost else 0
                if losses >= deadly if lost else spent >= budget and not free:
                    yield job.id, "it is retried too often"
            elif event.kind == "failed" and event.data.reason == "worker_lost" and losses + 1 < deadly:
                yield job.id, f"it failed when {losses + 1} of its attempts in a row had lost their worker"
            elif event.kind == "expired" and spent:
                yield job.id, "it expired after it had started"


def _shows_when_it_ended(history: History, job_id: str, worker: str) -> bool:
    """Return whether a job's log says how long it ran, and what asked it to end.

    A worker may be late to say how an attempt ended, or ask it to end as it leaves; and a job that is
    cancelled if it is unread has a log that does not say when that happened.
    """
    options = history.options.get(job_id, {"when_unread": "unknown"})
    watched = options.get("when_unread") in {None, "continue", "pause"}
    return watched and worker not in history.mute and worker not in history.leaving


def children_have_no_lease(history: History) -> Found:
    """A child job is never on its own: it has no second attempt, and is not lost by itself."""
    for job in history.jobs.values():
        for event in history.logs.get(job.id, ()) if job.parent is not None else ():
            if event.kind == "retried":
                yield job.id, "it is a child, which nobody would run again"
            elif event.kind in {"failed", "cancelled"} and event.data.reason == "worker_lost":
                yield job.id, "it is a child, which has no lease"
