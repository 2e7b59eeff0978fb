"""An independent reading of a job's log: what it says about the job, and whether it may say so.

It is written from the table of the design, in plain words and strings, and shares no code with the package:
a mistake in the package's own table is found here, not repeated.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .._model.job import Event, Job

NEXT: Final = {
    ("queued", "started"): "running",
    ("queued", "cancelled"): "cancelled",
    ("queued", "expired"): "failed",
    ("running", "completed"): "completed",
    ("running", "failed"): "failed",
    ("running", "cancelled"): "cancelled",
    ("running", "retried"): "retrying",
    ("retrying", "started"): "running",
    ("retrying", "cancelled"): "cancelled",
}
ENDS: Final = frozenset({"completed", "failed", "cancelled", "retried"})
OVER: Final = frozenset({"completed", "failed", "cancelled"})
_WRITTEN: Final = frozenset({"token", "progress", "saved", "step", "ready"})  # by the attempt that runs
_SENT: Final = frozenset({"input", "inputs_ended"})  # from outside, at any time before the end
GIVEN_BACK: Final = frozenset({"shutdown", "snoozed", "awaiting_input"})


@attrs.define
class Folded:
    """What a log says about its job.

    Attributes:
        state: Where the job is.
        attempt: The number of its last attempt.
        spent: How many attempts its retry budget counts.
        reason: Why it failed, was cancelled or is to run again.
        result: What it returned.
        saved: What it saved last.
        cancel_requested: Whether its cancellation was asked for.
        consumed: The last input that a saved value or the result covers.
        unconsumed: The inputs behind it.
        inputs_ended: Whether no more will come.
        replaced_by: The job that took its place.
        ready: Whether the attempt that runs said that it is ready.
        due: If it awaits an input, when it is due, by the clock of the log; infinity if that is not known.
    """

    state: str = "queued"
    attempt: int = 0
    spent: int = 0
    reason: str | None = None
    result: Any = None
    saved: Any = None
    cancel_requested: bool = False
    consumed: int = 0
    unconsumed: list[int] = attrs.field(factory=list[int])
    inputs_ended: bool = False
    replaced_by: str | None = None
    due: float | None = None
    ready: bool = False
    _last_input: int = 0

    def add(self, event: Event) -> None:
        """Move on by one event.

        Raises:
            AssertionError: It may not be there.
        """
        assert self.state not in OVER, f"{event} came after the end"
        if event.kind == "started":
            self._start()
        assert event.attempt == self.attempt, f"{event} was written by another attempt than {self.attempt}"
        assert event.received is None or event.kind == "saved" or event.kind in ENDS, f"{event} says too much"
        if event.kind == "cancel_requested":
            assert not self.cancel_requested, f"{event}: cancellation was requested before"
            self.cancel_requested = True
        elif event.kind in _WRITTEN:
            assert self.state == "running", f"{event} was written while the job was {self.state}"
            self.ready = self.ready or event.kind == "ready"
            if event.kind == "saved":
                self.saved = event.data
                assert event.received is None or event.received >= self.consumed, f"{event} consumes less"
                self._consume(event.received)
        elif event.kind in _SENT:
            self._receive(event)
        else:
            self._change(event)

    def _receive(self, event: Event) -> None:
        assert not self.inputs_ended, f"{event} came after the end of the inputs"
        self.inputs_ended = event.kind == "inputs_ended"
        self._last_input = event.seq
        if self.due is not None:
            self.due = min(self.due, event.timestamp)
        if not self.inputs_ended:
            self.unconsumed.append(event.seq)

    def _consume(self, received: int | None) -> None:
        self.consumed = max(self.consumed, received or 0)
        self.unconsumed = [seq for seq in self.unconsumed if seq > self.consumed]

    def _start(self) -> None:
        assert not (self.state == "retrying" and self.cancel_requested), "it ran again in spite of a request"
        self.attempt += 1
        self.spent += 1
        self.reason = None

    def _change(self, event: Event) -> None:
        assert (self.state, event.kind) in NEXT, f"{event} is no way out of {self.state}"
        self.state, self.due, self.ready = NEXT[self.state, str(event.kind)], None, False
        if event.kind == "completed":
            self.result = event.data
            self._consume(event.received)
        elif event.kind != "started":
            self.reason, self.replaced_by = str(event.data.reason), event.data.replaced_by
        if event.kind == "retried":
            assert not self.cancel_requested, f"{event}: its cancellation was requested"
            self.spent -= self.reason in GIVEN_BACK
            if self.reason == "awaiting_input":
                there = self._last_input > (event.received or 0)
                self.due = event.timestamp + (0.0 if there else event.data.delay)


def fold(log: Sequence[Event]) -> Folded:
    """Read a whole log.

    Args:
        log: Every event of it, none trimmed.

    Returns:
        What it says about the job.

    Raises:
        AssertionError: It has a hole, or an event that may not be where it is.
    """
    assert log, "the log is empty"
    assert [event.seq for event in log] == [*range(1, len(log) + 1)], "seq has holes"
    assert log[0].kind == "submitted", f"{log[0]} is no beginning"
    seen = Folded()
    for event in log[1:]:
        seen.add(event)
    return seen


def check_agrees(job: Job, log: Sequence[Event]) -> None:
    """Check that a snapshot is the fold of the log.

    Args:
        job: The snapshot.
        log: Every event up to the same moment.

    Raises:
        AssertionError: It is not, or the log is wrong in itself.
    """
    seen = fold(log)
    for name in ("state", "attempt", "spent", "reason", "replaced_by", "result", "saved"):
        in_job, in_log = getattr(job, name), getattr(seen, name)
        assert in_job == in_log, f"{name} is {in_job!r} in the job, {in_log!r} by its log"
    over, due = seen.state in OVER, seen.state in {"queued", "retrying"} and seen.due != inf
    assert job.unconsumed == len(seen.unconsumed), f"unconsumed is {job.unconsumed}, not {seen.unconsumed}"
    assert job.last_seq == len(log), f"last_seq is {job.last_seq}, the log has {len(log)} events"
    assert (job.cancel_requested_at is not None) == seen.cancel_requested, "cancel_requested_at is wrong"
    assert (job.finished_at is not None) == over, "finished_at is wrong"
    assert (job.ready_at is not None) == seen.ready, "ready_at is wrong"
    assert (job.next_attempt_at is not None) == due, "next_attempt_at is wrong"
    if seen.due is not None and job.next_attempt_at is not None:
        late = job.next_attempt_at.timestamp() - seen.due
        assert abs(late) < 1, f"its wait for an input ends {late:g} s late"


def state_of(log: Sequence[Event]) -> str:
    """Return where a job is by its log; "unknown" if that may not be so."""
    try:
        return fold(log).state
    except AssertionError:
        return "unknown"


def states_of(log: Sequence[Event]) -> Iterator[tuple[str, float, float]]:
    """Return where a job was, one after the other, each with when that began and ended."""
    state, since = "queued", log[0].timestamp
    for event in log:
        if (after := NEXT.get((state, str(event.kind)))) is not None:
            yield state, since, event.timestamp
            state, since = after, event.timestamp
    yield state, since, inf


def start_of(log: Sequence[Event], attempt: int) -> Event | None:
    """Return the event that began an attempt."""
    return next((event for event in log if event.attempt == attempt and event.kind == "started"), None)


def end_of(log: Sequence[Event], attempt: int) -> Event | None:
    """Return the event that ended an attempt."""
    return next((event for event in log if event.attempt == attempt and event.kind in ENDS), None)


def is_lost(end: Event) -> bool:
    """Return whether an attempt was taken from its worker, rather than ended by it."""
    if end.kind == "completed":
        return False
    return end.data.reason == "worker_lost" or "worker was lost" in (end.data.message or "")
