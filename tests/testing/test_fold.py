"""The independent reading of a log: it accepts exactly the legal logs."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf
from typing import Any

import attrs
import pytest
from trio.testing import MockClock

from trio_jobs import Ended, Event, Job, JobContext, Kind, Reason, Retry, RetryAfter, Step, open_registry
from trio_jobs.testing.fold import NEXT, check_agrees, fold


def log(*entries: tuple[Any, ...]) -> list[Event]:
    """Return a log of (attempt, kind, data) entries, numbered from 1."""
    filled: list[Any] = [(*entry, None)[:3] for entry in entries]
    return [Event(seq, entry[0], Kind(entry[1]), 0.0, entry[2]) for seq, entry in enumerate(filled, 1)]


SUBMITTED, STARTED, AGAIN = (0, "submitted"), (1, "started"), (2, "started")
LOST = (1, "retried", Ended(Reason.WORKER_LOST))
BAD = {
    "empty": [],
    "no beginning": log(STARTED),
    "a hole": [*log(SUBMITTED, STARTED)[:1], Event(3, 1, Kind.STARTED, 0.0)],
    "after the end": log(SUBMITTED, STARTED, (1, "completed", 1), (1, "token", "late")),
    "two ends": log(SUBMITTED, STARTED, (1, "completed", 1), (1, "failed", Ended(Reason.ERROR))),
    "started twice": log(SUBMITTED, STARTED, AGAIN),
    "an attempt left out": log(SUBMITTED, AGAIN),
    "a token before the start": log(SUBMITTED, (0, "token", 1)),
    "a token of an older attempt": log(SUBMITTED, STARTED, LOST, AGAIN, (1, "token", 1)),
    "a token between attempts": log(SUBMITTED, STARTED, LOST, (1, "token", 1)),
    "completed from the queue": log(SUBMITTED, (0, "completed", 1)),
    "expired while it ran": log(SUBMITTED, STARTED, (1, "expired", Ended(Reason.QUEUE_TIMEOUT))),
    "retried in spite of a request": log(SUBMITTED, STARTED, (1, "cancel_requested"), LOST),
    "an input after their end": log(SUBMITTED, (0, "inputs_ended"), (0, "input", 1)),
    "a step before the start": log(SUBMITTED, (0, "step", 1)),
    "a token that received": [*log(SUBMITTED, STARTED), Event(3, 1, Kind.TOKEN, 0.0, "a", 0)],
    "a save that consumes less": [
        *log(SUBMITTED, STARTED, (1, "input", 1)),
        Event(4, 1, Kind.SAVED, 0.0, "a", 3),
        Event(5, 1, Kind.SAVED, 0.0, "a", 2),
    ],
    "two requests": log(SUBMITTED, STARTED, (1, "cancel_requested"), (1, "cancel_requested")),
}


@pytest.mark.parametrize("events", BAD.values(), ids=BAD)
def test_bad_logs_are_rejected(events: list[Event]) -> None:
    """A log that no job can have is rejected."""
    with pytest.raises(AssertionError):
        fold(events)


def test_a_good_log() -> None:
    """A log has the job's state, attempts, saved value and result."""
    seen = fold(
        log(
            SUBMITTED,
            STARTED,
            (1, "token", "a"),
            (1, "saved", 7),
            (1, "retried", Ended(Reason.SHUTDOWN)),
            AGAIN,
            (2, "token", "b"),
            (2, "cancel_requested"),
            (2, "completed", 9),
        )
    )
    assert attrs.astuple(seen)[:7] == ("completed", 2, 1, None, 9, 7, True)


def test_a_log_with_inputs() -> None:
    """It says what is consumed, and until when the job waits for an input."""
    events = [
        *log(SUBMITTED, STARTED, (1, "input", 1), (1, "input", 2), (1, "step", Step("a", "", 1))),
        Event(6, 1, Kind.SAVED, 0.0, "a", 3),
        Event(7, 1, Kind.RETRIED, 0.0, Ended(Reason.AWAITING_INPUT, delay=inf), 4),
        Event(8, 1, Kind.INPUT, 0.0, 3),
        Event(9, 2, Kind.STARTED, 0.0),
        Event(10, 2, Kind.INPUTS_ENDED, 0.0),
        Event(11, 2, Kind.COMPLETED, 0.0, 9, 4),
    ]
    seen = [fold(events[:count]) for count in (7, 8, 10, 11)]
    assert [(one.due, one.consumed, one.unconsumed) for one in seen] == [
        (inf, 3, [4]),
        (0.0, 3, [4, 8]),
        (None, 3, [4, 8]),
        (None, 4, [8]),
    ]
    assert [one.inputs_ended for one in seen] == [False, False, True, True]
    assert seen[0].spent == 0
    late = fold([*events[:6], attrs.evolve(events[6], received=3)])
    assert (late.state, late.due) == ("retrying", 0.0)


def test_the_rules_are_those_of_the_design() -> None:
    """There are nine transitions, and none from an end."""
    assert len(NEXT) == 9
    assert not {before for before, _ in NEXT} & {"completed", "failed", "cancelled"}


NOW = datetime.now(UTC)
WRONG: dict[str, Any] = {
    "state": "running",
    "attempt": 1,
    "spent": 9,
    "reason": Reason.ERROR,
    "result": 0,
    "saved": 0,
    "last_seq": 1,
    "cancel_requested_at": NOW,
    "finished_at": None,
    "next_attempt_at": NOW,
    "unconsumed": 1,
}


async def twice(job: JobContext[int]) -> int:
    await job.save(5)
    if job.attempt == 1:
        raise RetryAfter(1)
    return job.attempt


@pytest.mark.parametrize("field", WRONG)
async def test_a_snapshot_must_be_the_fold(autojump_clock: MockClock, field: str) -> None:
    """A snapshot that is right passes, and with any one field wrong it does not."""
    async with open_registry() as jobs:
        handle = await jobs.submit(twice, retry=Retry(attempts=2))
        job: Job = await handle.wait()
        async with handle.events() as stream:
            events = [event async for event in stream]
    check_agrees(job, events)
    with pytest.raises(AssertionError, match=field):
        check_agrees(attrs.evolve(job, **{field: WRONG[field]}), events)
