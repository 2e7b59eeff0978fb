"""What the time and order of starts and ends say, by the numbers of the design and nobody else's."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from .._model.job import Event, Job

PENALTY: Final = {0: 0.0, 1: 60.0, 2: 300.0, 3: 1800.0}
_CRASHES: Final = 3
_SLACK: Final = 1e-3  # wall times are floats of 1e9 seconds


@attrs.frozen
class Wait:
    """A job's stay in the queue.

    Attributes:
        job_id: Which job.
        due: When it might have started.
        left: When it left the queue.
        started: Whether by a start.
        rank: What the order of starts goes by.
    """

    job_id: str
    due: float
    left: float
    started: bool
    rank: float


def waits(job: Job, log: Sequence[Event], delay: float) -> Iterator[Wait]:
    """Return each stay of a job in the queue.

    Args:
        job: The job.
        log: Its log.
        delay: The delay with which it was submitted.
    """
    due: float | None = log[0].timestamp + delay
    for event in log[1:]:
        if due is not None and event.kind in {"started", "cancelled", "expired"}:
            rank = due + PENALTY[int(job.priority)]
            yield Wait(job.id, due, event.timestamp, event.kind == "started", rank)
            due = None
        elif event.kind == "retried":
            due = event.timestamp + (event.data.delay or 0.0)
    if due is not None:
        yield Wait(job.id, due, float("inf"), started=False, rank=due + PENALTY[int(job.priority)])


def check_order(stays: Sequence[Wait]) -> None:
    """Check that nothing started before it was due, and nothing while something else was to go first.

    Raises:
        AssertionError: It did.
    """
    for stay in stays:
        if not stay.started:
            continue
        assert stay.left >= stay.due - _SLACK, f"job {stay.job_id} started before it was due"
        for other in stays:
            passed_over = other.due < stay.left - _SLACK and other.left > stay.left + _SLACK
            assert not (passed_over and other.rank < stay.rank - _SLACK), (
                f"job {stay.job_id} started {stay.left - other.due:g} s after job {other.job_id} was due, "
                f"which has a lower rank and still waited"
            )


def check_limits(job: Job, log: Sequence[Event], mute: Collection[str] = (), *, unread: bool = False) -> None:
    """Check that a job ran no longer and no more often than it may.

    A handler that was asked to end before its time was over may take long to do so, and completes then.

    Args:
        job: The job.
        log: Its log.
        mute: The workers that may have been late to say how an attempt had ended, or have asked it to end
            themselves, by name.
        unread: Whether it may have been asked to end because nobody read it, of which its log says nothing.

    Raises:
        AssertionError: It did.
    """
    spent, began, worker, asked = 0, 0.0, "", inf
    for event in log:
        if event.kind == "started":
            spent, began, worker, asked = spent + 1, event.timestamp, event.data, inf
        elif event.kind == "cancel_requested":
            asked = min(asked, event.timestamp - began)
        elif event.kind == "completed" and job.timeouts.run is not None and worker not in mute:
            took, most = event.timestamp - began, job.timeouts.run + _SLACK
            assert unread or took <= most or asked <= most, f"job {job.id} completed after {took:g} s"
        elif event.kind == "retried":
            reason = str(event.data.reason)
            most = max(job.retry.attempts, _CRASHES) if reason == "worker_lost" else job.retry.attempts
            spent -= reason in {"shutdown", "snoozed"}
            assert spent < most or reason in {"shutdown", "snoozed"}, f"job {job.id} is retried too often"
        elif event.kind == "expired":
            assert spent == 0, f"job {job.id} expired after it had started"


def check_child(log: Sequence[Event]) -> None:
    """Check that a child job was never on its own: it has no second attempt, and is not lost by itself.

    Raises:
        AssertionError: It was.
    """
    for event in log:
        assert event.kind != "retried", f"{event} of a child, which nobody would run again"
        lost = event.kind in {"failed", "cancelled"} and event.data.reason == "worker_lost"
        assert not lost, f"{event} of a child, which has no lease"


def check_capacity(running: Mapping[str, int], capacity: int) -> None:
    """Check that no worker runs more handlers at once than it may.

    Raises:
        AssertionError: One does.
    """
    for worker, count in running.items():
        assert count <= capacity, f"{worker} runs {count} handlers at once, and may run {capacity}"
