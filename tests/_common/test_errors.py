"""Errors: the message, the attributes and the base classes of each."""

from __future__ import annotations

import math
from typing import cast

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import trio_jobs
from trio_jobs import (
    Busy,
    ErrorRecord,
    IllegalTransition,
    InboxFull,
    InvalidPayload,
    JobCancelled,
    JobFailed,
    JobTimedOut,
    KeyConflict,
    LeaseLost,
    Permanent,
    QueueFull,
    Reason,
    RetryAfter,
    ScheduleDeclared,
    SchemaTooNew,
    State,
    StoreCorrupt,
    StoreUnavailable,
    StoreUnfit,
    StreamGap,
    StreamRestarted,
    TrioJobsError,
    UnknownHandler,
    UnknownJob,
    UnknownSchedule,
)
from trio_jobs._common.errors import quoted

RECORD = ErrorRecord("ValueError", "no", "Traceback …")

# Each error, its text, and the facts it carries.
EVERY: list[tuple[TrioJobsError, str, dict[str, object]]] = [
    (
        IllegalTransition(State.RUNNING, "removed", "; cancel it first"),
        "a job that is running cannot be removed; cancel it first",
        {"state": State.RUNNING, "transition": "removed"},
    ),
    (UnknownJob("7"), "no job has the id '7'", {"job_id": "7"}),
    (UnknownJob(cast("str", 7)), "no job has the id 7; an id is a str, as handle.id is", {"job_id": 7}),
    (
        UnknownHandler("c", ["b", "a"]),
        "there is no handler 'c': there is a, b; see handlers= of open_registry",
        {"name": "c", "known": ["a", "b"]},
    ),
    (
        UnknownHandler("c", ()),
        "there is no handler 'c': the registry was given none; see handlers= of open_registry",
        {"name": "c", "known": []},
    ),
    (StoreUnavailable("jobs.db: locked"), "jobs.db: locked", {}),
    (StoreUnfit("it is a standby"), "it is a standby", {}),
    (StoreCorrupt("jobs.db is damaged"), "jobs.db is damaged", {}),
    (
        SchemaTooNew("jobs.db", 2, 1),
        "jobs.db has version 2 of the schema, and this trio_jobs knows 1; upgrade trio_jobs",
        {"found": 2, "known": 1},
    ),
    (InvalidPayload("tags takes text"), "tags takes text", {}),
    (
        KeyConflict("k", "7"),
        (
            "key 'k' belongs to job 7, which was submitted with another handler, other arguments or other "
            "options; use a new key for a new job"
        ),
        {"key": "k", "job_id": "7"},
    ),
    (
        QueueFull(3),
        "3 jobs wait already, as many as queue_limit allows; try again later",
        {"limit": 3},
    ),
    (
        QueueFull(3, name="tenants", key="7"),
        "3 jobs wait already, as many as the limit 'tenants' allows for '7'; try again later",
        {"limit": 3, "name": "tenants", "key": "7"},
    ),
    (
        Busy("7"),
        (
            "job 7 has the same exclusive name and has not ended; wait for it, or say with on_busy= "
            "what is to become of it"
        ),
        {"job_id": "7"},
    ),
    (
        UnknownSchedule("nightly"),
        "no schedule has the name 'nightly'; see schedules= of open_registry",
        {"name": "nightly"},
    ),
    (
        ScheduleDeclared("nightly"),
        (
            "a running program declares the schedule 'nightly': change it there, or pause it; once no "
            "program has declared it for 180 seconds, it can be removed"
        ),
        {"name": "nightly"},
    ),
    (
        InboxFull(3, 2, "3"),
        (
            "the job has 3 unconsumed inputs, and may have 3; its handler has received 2 of them, "
            "and has to save; try again later"
        ),
        {"unconsumed": 3, "received": 2, "limit": "3"},
    ),
    (LeaseLost("7", 2), "attempt 2 of job 7 is over; nothing was written", {"job_id": "7", "attempt": 2}),
    (
        JobFailed("7", Reason.ERROR, "ValueError: no", RECORD, 2),
        "job 7 failed (error): ValueError: no",
        {"job_id": "7", "reason": Reason.ERROR, "message": "ValueError: no", "error": RECORD, "attempt": 2},
    ),
    (
        JobTimedOut("7", Reason.QUEUE_TIMEOUT, "not started", None, 0),
        "job 7 failed (queue_timeout): not started",
        {"reason": Reason.QUEUE_TIMEOUT, "error": None, "attempt": 0},
    ),
    (
        JobCancelled("7", Reason.USER, "tired"),
        "job 7 was cancelled (user): tired",
        {"job_id": "7", "reason": Reason.USER, "message": "tired"},
    ),
    (JobCancelled("7", Reason.SHUTDOWN), "job 7 was cancelled (shutdown)", {"message": None}),
    (
        JobCancelled("7", Reason.REPLACED, None, "8"),
        "job 7 was cancelled (replaced)",
        {"replaced_by": "8"},
    ),
    (
        StreamGap("7", 3, 9, 9),
        "events 3 to 9 of job 7 are not in its log; resume with after=9",
        {"job_id": "7", "first": 3, "last": 9, "oldest": 9},
    ),
    (
        StreamRestarted("7", 2, 12),
        "attempt 2 of job 7 began at 12; drop what earlier attempts sent, or read with restarts='continue'",
        {"job_id": "7", "attempt": 2, "cursor": 12},
    ),
]


@pytest.mark.parametrize(
    ("error", "text", "facts"),
    EVERY,
    ids=[f"{type(error).__name__}-{n}" for n, (error, _, _) in enumerate(EVERY)],
)
def test_every_error(error: TrioJobsError, text: str, facts: dict[str, object]) -> None:
    """An error has a message of one line, and the same facts as attributes."""
    assert str(error) == text
    assert {name: getattr(error, name) for name in facts} == facts
    assert isinstance(error, TrioJobsError)


def test_every_public_error_is_tested() -> None:
    """Each public error has a row above."""
    public = {
        one
        for one in (getattr(trio_jobs, name) for name in trio_jobs.__all__)
        if isinstance(one, type) and issubclass(one, TrioJobsError)
    }
    assert public == {TrioJobsError} | {type(error) for error, _, _ in EVERY}


@pytest.mark.parametrize("error", [error for error, _, _ in EVERY] + [RetryAfter(1), Permanent("no")])
def test_none_is_a_cancellation(error: BaseException) -> None:
    """`except Exception` catches every error here, and none is `trio.Cancelled`, nor the other way round."""
    assert isinstance(error, Exception)
    assert not isinstance(error, trio.Cancelled)
    assert not issubclass(trio.Cancelled, type(error))


def test_what_each_may_also_be_caught_as() -> None:
    """A bad value is a `ValueError`, a timed-out job a `TimeoutError`; other ends of jobs are neither."""
    assert issubclass(InvalidPayload, ValueError)
    assert issubclass(JobTimedOut, JobFailed)
    assert issubclass(JobTimedOut, TimeoutError)
    assert not issubclass(JobFailed, TimeoutError)
    assert not issubclass(JobCancelled, JobFailed)
    # What a handler says by raising is no error of the package: `except TrioJobsError` lets it pass.
    assert not issubclass(RetryAfter, TrioJobsError)
    assert not issubclass(Permanent, TrioJobsError)


def test_error_record_reads_like_the_last_line_of_a_traceback() -> None:
    """A record's text is type and message, or the type alone; the traceback is not in its repr."""
    assert str(RECORD) == "ValueError: no"
    assert str(ErrorRecord("ValueError", "", "")) == "ValueError"
    assert "Traceback" not in repr(RECORD)


@pytest.mark.parametrize("seconds", [0, 0.5, 3])
def test_retry_after(seconds: float) -> None:
    """`RetryAfter` carries its seconds, and has them in its text unless a message is given."""
    assert RetryAfter(seconds).seconds == seconds
    assert str(RetryAfter(seconds)) == f"run again in {seconds:g}s"
    assert str(RetryAfter(seconds, "busy")) == "busy"


@pytest.mark.parametrize("seconds", [-1, -0.001, math.inf, -math.inf, math.nan])
def test_retry_after_refuses(seconds: float) -> None:
    """`RetryAfter` refuses a negative, infinite or NaN duration, with an error that shows the value."""
    with pytest.raises(ValueError, match=f"at least 0 and finite; got {seconds!r}"):
        RetryAfter(seconds)


def test_permanent() -> None:
    """`Permanent` keeps what it wraps, and shows text unchanged and an error by its repr."""
    inner = ValueError("no")
    assert Permanent(inner).error is inner
    assert str(Permanent(inner)) == "ValueError('no')"
    assert Permanent("bad input").error == "bad input"
    assert str(Permanent("bad input")) == "bad input"


@given(st.text(st.characters(exclude_categories=())), st.integers(10, 100))
def test_quoted(text: str, limit: int) -> None:
    """`quoted` gives a repr on one line within the limit, and cuts only what is longer, visibly."""
    shown = quoted(text, limit)
    assert len(shown) <= limit
    assert shown.splitlines() == [shown]
    shown.encode()
    if len(repr(text)) <= limit:
        assert shown == repr(text)
    else:
        assert shown[-1] == "…"
        assert repr(text).startswith(shown[:-1])
