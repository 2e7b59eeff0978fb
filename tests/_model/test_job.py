"""The records: frozen, checked when they are made, and consistent with one another."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import attrs
import pytest

from trio_jobs import (
    CancelReport,
    Ended,
    ErrorRecord,
    Event,
    Job,
    Kind,
    Priority,
    Progress,
    Reason,
    Retention,
    Retry,
    Timeouts,
)
from trio_jobs._model.job import DEFAULT, NO_TIMEOUTS, Statistics, new_id
from trio_jobs.stores import PENALTY, TRIMMABLE, Options


@pytest.mark.parametrize("kind", Kind)
def test_kinds(kind: Kind) -> None:
    """Four kinds end a log, two may be trimmed, and none does both."""
    assert kind.ends is (kind.value in {"completed", "failed", "cancelled", "expired"})
    assert (kind in TRIMMABLE) is (kind.value in {"token", "progress", "input", "ready"})


def test_penalties_grow() -> None:
    """Every priority has a penalty, none for the most urgent, and a lower priority a longer one."""
    assert set(PENALTY) == set(Priority)
    assert PENALTY[Priority.URGENT] == 0
    assert all(PENALTY[one] < PENALTY[other] for one, other in pairwise(sorted(Priority)))


@pytest.mark.parametrize(
    "record",
    [CancelReport, Ended, ErrorRecord, Event, Job, Options, Progress, Retention, Retry, Statistics, Timeouts],
)
def test_records_are_frozen(record: type[Any]) -> None:
    """No field of a record can be set, and no attribute added."""
    fields = attrs.fields(record)
    bare = object.__new__(record)
    for name in [field.name for field in fields] + ["another"]:
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(bare, name, 1)


def test_event_at() -> None:
    """An event's `at` is its timestamp as an aware UTC datetime."""
    event = Event(1, 0, Kind.SUBMITTED, 1_700_000_000.5, "f")
    assert event.at == datetime(2023, 11, 14, 22, 13, 20, 500_000, UTC)
    assert event.at.utcoffset() is not None


def test_reprs_leave_out_what_is_long() -> None:
    """A report's repr shows no stack, and an event's no timestamp."""
    assert "deep" not in repr(CancelReport("stuck", 1.0, "deep"))
    assert "1234.5" not in repr(Event(1, 0, Kind.TOKEN, 1234.5, "x"))


@pytest.mark.parametrize("field", [field.name for field in attrs.fields(Timeouts)])
def test_timeouts(field: str) -> None:
    """Each clock is None or a number of seconds from 0, and nothing else."""
    assert getattr(NO_TIMEOUTS, field) is None
    for good in (None, 0, 1.5):
        assert getattr(Timeouts(**{field: good}), field) == good
    with pytest.raises(ValueError, match=f"^{field} must be at least 0"):
        Timeouts(**{field: -1})
    with pytest.raises(TypeError, match=f"^{field} takes a number"):
        Timeouts(**{field: "1"})  # type: ignore[arg-type]  # the mistake under test


@pytest.mark.parametrize("field", [field.name for field in attrs.fields(Retention)])
def test_retention(field: str) -> None:
    """Each bound is a whole number from 1."""
    assert getattr(Retention(**{field: 1}), field) == 1
    with pytest.raises(ValueError, match=f"^{field} must be at least 1; got 0$"):
        Retention(**{field: 0})
    with pytest.raises(TypeError, match=f"^{field} takes a whole number"):
        Retention(**{field: 1.5})  # type: ignore[arg-type]  # the mistake under test


def test_ended_defaults() -> None:
    """An end needs only a reason."""
    assert Ended(Reason.USER) == Ended(Reason.USER, None, None, None)


def test_default_options() -> None:
    """A job submitted without options has no clocks and no retry, is due at once and needs no reader."""
    assert Options() == DEFAULT
    assert DEFAULT.timeouts == Timeouts()
    assert DEFAULT.retry == Retry()
    assert DEFAULT.priority is Priority.NORMAL
    assert (DEFAULT.delay, DEFAULT.run_at, DEFAULT.owner) == (0, None, None)
    assert (DEFAULT.tags, DEFAULT.metadata) == ({}, {})
    assert DEFAULT.when_unread == "continue"


def test_new_id() -> None:
    """An id has 128 bits in hexadecimal, and two ids differ."""
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(len(one) == 32 and 0 <= int(one, 16) < 2**128 for one in ids)
    # Every bit varies: over a thousand ids each of them is now 0 and now 1.
    every, none = 2**128 - 1, 0
    for one in ids:
        every &= int(one, 16)
        none |= int(one, 16)
    assert (every, none) == (0, 2**128 - 1)
