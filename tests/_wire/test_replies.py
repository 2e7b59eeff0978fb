"""A server's replies are decoded as the records that they were made from."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import Any

import attrs
import msgspec
import pytest

from tests._json.coding import plain
from tests.client.peer import AT, job
from tests.wire import (
    ProtocolViolation,
    Seen,
    Statistics,
    Step,
    decode_reply,
    encode_event,
    events_of,
    job_of,
    record_of,
)
from trio_jobs import (
    CancelReport,
    Ended,
    ErrorRecord,
    Event,
    Job,
    JobSummary,
    Kind,
    Priority,
    Progress,
    Reason,
    Retry,
    State,
    Timeouts,
)
from trio_jobs.serving.batch import cut
from trio_jobs.serving.values import encode_job

ENDED = Ended(Reason.ERROR, "no", ErrorRecord("ValueError", "no", "Traceback"), 2.5)
JOBS = [
    job("7"),
    job(
        "8",
        state=State.FAILED,
        reason=Reason.TIMEOUT,
        message="too slow",
        error=ErrorRecord("ValueError", "no", "Traceback"),
        result={"a": [1, None]},
        priority=Priority.LOW,
        tags={"a": "b"},
        metadata={"c": 1.5},
        owner="ann",
        key="k",
        parent="6",
        timeouts=Timeouts(1, 2, 3, 4),
        retry=Retry(attempts=3, initial=0.5, factor=3, maximum=9, jitter=0),
        spent=3,
        saved="page 7",
        finished_at=AT,
        next_attempt_at=AT,
        cancel_requested_at=AT,
        last_seq=12,
    ),
]
EVENTS = [
    Event(1, 0, Kind.SUBMITTED, 1.5, "work"),
    Event(2, 1, Kind.TOKEN, 1.5, {"any": ["thing"]}),
    Event(3, 1, Kind.PROGRESS, 1.5, Progress(1, 2, "half")),
    Event(4, 1, Kind.PROGRESS, 1.5, Progress(1)),
    Event(5, 1, Kind.SAVED, 1.5, {"error": "no record, though it looks like one"}),
    Event(6, 1, Kind.RETRIED, 1.5, ENDED),
    Event(7, 1, Kind.FAILED, 1.5, Ended(Reason.LIMIT)),
    Event(8, 1, Kind.CANCELLED, 1.5, Ended(Reason.USER, "enough")),
    Event(9, 1, Kind.EXPIRED, 1.5, Ended(Reason.QUEUE_TIMEOUT, "too late")),
    Event(10, 1, Kind.CANCEL_REQUESTED, 1.5, None),
    Event(11, 1, Kind.COMPLETED, 1.5, [1, 2], received=0),
    Event(12, 0, Kind.INPUT, 1.5, {"go": "on"}),
    Event(13, 1, Kind.INPUTS_ENDED, 1.5),
    Event(14, 1, Kind.STEP, 1.5, Step("ask", "d1", [1])),
    Event(15, 1, Kind.SAVED, 1.5, "page 7", received=12),
]


ZERO = {"states": {}, "running": 0, "capacity": 0, "paused": False, "readers": 0}


def report_of(found: dict[str, Any]) -> Any:
    return said(report=json.dumps(found)).report


def statistics_of(found: dict[str, Any]) -> Any:
    return said(statistics=json.dumps(found)).statistics


def said(**fields: str) -> Any:
    """A reply whose fields are JSON, as the server writes it."""
    return decode_reply('{"re":1,' + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}")


@pytest.mark.parametrize("one", JOBS, ids=["plain", "with everything"])
def test_a_job_comes_back(one: Job) -> None:
    """A job is decoded with equal fields."""
    reply = said(job=encode_job(one, tracebacks=True).decode())
    assert job_of(reply.job) == Seen(one, ())


def test_hidden_tracebacks_are_empty() -> None:
    """A traceback that the server hides is an empty text."""
    hidden = job_of(said(job=encode_job(JOBS[1], tracebacks=False).decode()).job).job
    assert hidden == attrs.evolve(JOBS[1], error=ErrorRecord("ValueError", "no", ""))


def test_events_come_back() -> None:
    """Events of every kind are decoded as equal events, with the record of their kind."""
    texts = b",".join(encode_event(event, tracebacks=True) for event in EVENTS).decode()
    assert events_of(said(events=f"[{texts}]").events) == EVENTS
    assert events_of(said(history=f"[{texts}]").history) == EVENTS


def test_what_was_received_is_said_only_where_it_is_known() -> None:
    """An event without the place in the inputs has no such field, however many are written at once."""
    for tokens in (["a", '"received":null,'], [{"received": None}]):
        events = [Event(seq, 1, Kind.TOKEN, 1.5, token) for seq, token in enumerate(tokens, 1)]
        (batch,) = cut(0, events, tracebacks=True)
        written = json.loads(batch.json)
        assert [one.get("received", "nothing") for one in written] == ["nothing"] * len(tokens)
        assert [one["data"] for one in written] == tokens
    ended = Event(1, 1, Kind.COMPLETED, 1.5, received=7)
    assert json.loads(next(cut(0, [ended], tracebacks=True)).json)[0]["received"] == 7
    assert "received" not in plain(attrs.evolve(ended, received=None))


def test_a_wait_without_end_has_no_delay() -> None:
    """JSON has no infinity, so a wait for an input without a limit says no delay; its reason is enough."""
    wait = Event(1, 1, Kind.RETRIED, 1.5, Ended(Reason.AWAITING_INPUT, "yes or no?", delay=math.inf), 0)
    (found,) = events_of(said(events=f"[{encode_event(wait, tracebacks=True).decode()}]").events)
    assert found == attrs.evolve(wait, data=attrs.evolve(wait.data, delay=None))
    assert plain(wait)["data"]["delay"] is None


def test_a_kind_that_is_not_known_is_what_it_says() -> None:
    """An event of a kind that only newer servers know reaches a client with the name and the data it has."""
    (found,) = events_of(said(events='[{"seq":1,"attempt":1,"kind":"hum","timestamp":1,"data":[7]}]').events)
    assert (found.kind, found.kind.ends, found.data) == ("hum", False, [7])
    assert found.kind not in set(Kind)
    assert json.loads(encode_event(found, tracebacks=True))["kind"] == "hum"


def test_a_reason_that_is_not_known_is_what_it_says() -> None:
    """A job, its summary and an event have the reason that a newer server gives, if it is new here too."""
    found = {**plain(JOBS[1]), "reason": "bored"}
    bored = job_of(found).job.reason
    assert (bored, str(bored), isinstance(bored, Reason)) == ("bored", "bored", True)
    assert attrs.evolve(job_of(found).job, reason=JOBS[1].reason) == JOBS[1]
    ended = {"seq": 1, "attempt": 1, "kind": "failed", "timestamp": 1, "data": {"reason": "bored"}}
    (event,) = events_of(said(events=json.dumps([ended])).events)
    assert event.data.reason == "bored"
    assert json.loads(encode_event(event, tracebacks=True))["data"]["reason"] == "bored"


def test_reports_and_statistics_come_back() -> None:
    """The report of a cancellation and the statistics of a registry are decoded as equal records."""
    report = CancelReport("stuck", 1.5, "the stack")
    assert said(report=msgspec.json.encode(report).decode()).report == report
    there = Statistics({State.RUNNING: 3}, 3, 100, paused=False, readers=2)
    assert said(statistics=msgspec.json.encode(there).decode()).statistics == there


def test_what_a_newer_server_says_besides_is_left_out() -> None:
    """Unknown fields are ignored, large or small."""
    found = {**said(job=encode_job(JOBS[0], tracebacks=True).decode()).job, "new": 7, "large": {"newer": 9}}
    assert job_of(found) == Seen(JOBS[0], ())
    assert decode_reply('{"re":1,"new":7,"pong":true}').pong


@pytest.mark.parametrize(
    ("read", "found"),
    [
        (job_of, {}),
        (job_of, {"id": "7", "state": "running"}),
        (partial(record_of, JobSummary), {"id": "7", "priority": "low"}),
        (job_of, {**plain(JOBS[0]), "large": []}),
        (job_of, {**plain(JOBS[0]), "large": {"id": 9}}),
        (job_of, {**plain(JOBS[0]), "priority": "odd"}),
        (job_of, {**plain(JOBS[0]), "priority": 2}),
        (job_of, {**plain(JOBS[0]), "retry": {"attempts": "odd"}}),
        (report_of, {"outcome": "cancelled"}),
        (report_of, {"outcome": "odd", "took": 1}),
        (statistics_of, {}),
        (statistics_of, {**ZERO, "states": []}),
        (statistics_of, {**ZERO, "states": {"odd": 1}}),
    ],
)
def test_what_lacks_something_is_noticed(read: Any, found: dict[str, Any]) -> None:
    """A record without a field, or with an unknown word, raises an error."""
    with pytest.raises(ProtocolViolation):
        read(found)


@pytest.mark.parametrize(
    "data", ["null", '"text"', "{}", '{"reason": 7}', '{"reason": "user", "error": {"type": 1}}']
)
def test_an_end_without_its_record_is_noticed(data: str) -> None:
    """An event without the record of its end raises an error."""
    with pytest.raises(ProtocolViolation):
        events_of(
            said(events=f'[{{"seq":1,"attempt":1,"kind":"failed","timestamp":1,"data":{data}}}]').events
        )
