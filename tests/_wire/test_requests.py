"""Messages to structures and records to JSON: strictly decoded, and encoded without secrets."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tests.wire import (
    AnyRequest,
    BadRequest,
    NewJob,
    SubmitOptions,
    check_depth,
    decode_body,
    decode_request,
    encode_event,
    schema,
)
from trio_jobs import Ended, ErrorRecord, Event, Kind, Priority, Reason, Retry, Timeouts, open_registry
from trio_jobs.serving.values import encode_job

MARK = Retry(on=OSError)


async def broken(job: Any) -> None:
    raise ValueError("no good")


def options(**fields: Any) -> dict[str, Any]:
    return msgspec.convert(fields, SubmitOptions).given(MARK)


@pytest.mark.parametrize(
    ("fields", "given"),
    [
        ({}, {}),
        ({"timeout": 5}, {"timeout": 5.0}),
        ({"timeout": None}, {"timeout": None}),
        ({"timeouts": {"idle": 2}}, {"timeouts": Timeouts(idle=2.0)}),
        ({"retry": {"attempts": 3}}, {"retry": Retry(3, on=OSError)}),
        ({"priority": "high"}, {"priority": "high"}),
        ({"tags": {"a": "b"}, "metadata": {"c": [1]}}, {"tags": {"a": "b"}, "metadata": {"c": [1]}}),
        ({"run_at": "2030-01-01T00:00:00Z"}, {"run_at": datetime(2030, 1, 1, tzinfo=UTC)}),
        ({"key": "k", "owner": "me", "when_unread": "cancel", "linger": 1, "delay": 2},) * 2,
    ],
)
def test_options_become_those_of_submit(fields: dict[str, Any], given: dict[str, Any]) -> None:
    """Only given options are passed on; which errors are retried stays as in the handler's mark."""
    assert options(**fields) == given


@pytest.mark.parametrize(
    "fields",
    [
        {"speed": 1},
        {"timeout": "5"},
        {"timeout": True},
        {"timeout": 1e11},
        {"retry": {"attempts": 0}},
        {"retry": {"on": "Exception"}},
        {"priority": 1},
        {"priority": "Urgent"},
        {"run_at": "2030-01-01T00:00:00"},
        {"tags": {"a": 1}},
        {"key": ""},
        {"key": "k" * 257},
    ],
)
def test_other_options_are_refused(fields: dict[str, Any]) -> None:
    """Options that `submit` refuses, or that no client may set, are refused before anything is done."""
    with pytest.raises(BadRequest):
        decode_body(NewJob, json.dumps({"handler": "work", "options": fields}).encode(), 32)


def test_depth_counts_brackets_outside_of_texts() -> None:
    """The depth counts lists and objects, and no brackets in texts."""
    check_depth(b'{"a": ["[[[[[[[[["]}', 2)
    with pytest.raises(BadRequest, match="nested more than 2 deep"):
        check_depth(b'{"a": [[]]}', 2)


def test_numbers_that_are_none() -> None:
    """NaN, infinities and numbers out of range are refused."""
    for number in ("NaN", "Infinity", "1e999", "1" * 400):
        with pytest.raises(BadRequest):
            decode_request(f'{{"op": "follow", "id": 1, "job": "x", "after": {number}}}'.encode(), 32)


def failed_event(traceback: str) -> Event:
    error = ErrorRecord("ValueError", "no good", traceback)
    return Event(7, 1, Kind.FAILED, 1.5, Ended(Reason.ERROR, "failed", error))


def test_an_event_as_json() -> None:
    """An event has its fields as JSON; a traceback only if it is asked for."""
    shown = json.loads(encode_event(failed_event("line 1"), tracebacks=True))
    assert shown == {
        "seq": 7,
        "attempt": 1,
        "kind": "failed",
        "timestamp": 1.5,
        "data": {
            "reason": "error",
            "message": "failed",
            "error": {"type": "ValueError", "message": "no good", "traceback": "line 1"},
            "delay": None,
            "repeats": 0,
            "replaced_by": None,
        },
    }
    hidden = json.loads(encode_event(failed_event("line 1"), tracebacks=False))
    assert hidden["data"]["error"] == {"type": "ValueError", "message": "no good", "traceback": ""}


async def test_a_job_as_json() -> None:
    """A job has its public fields, times as ISO 8601, its priority by name; a traceback only if asked for."""
    async with open_registry() as jobs:
        job = await (await jobs.submit(broken, tags={"a": "b"}, priority=Priority.LOW)).wait()
    hidden = json.loads(encode_job(job, tracebacks=False))
    assert hidden["error"] == {"type": "ValueError", "message": "no good", "traceback": ""}
    assert (hidden["priority"], hidden["tags"], hidden["state"]) == ("low", {"a": "b"}, "failed")
    assert datetime.fromisoformat(hidden["finished_at"]) == job.finished_at
    assert "on" not in hidden["retry"]
    assert "Traceback" in json.loads(encode_job(job, tracebacks=True))["error"]["traceback"]


def test_the_schema_names_every_request() -> None:
    """The schema has every structure of a message, and every name that it refers to."""
    found = schema()
    kinds = {kind.__name__ for kind in msgspec_union(AnyRequest)}
    assert kinds <= set(found["$defs"])
    text = json.dumps(found)
    for part in text.split('"#/$defs/')[1:]:
        assert part.partition('"')[0] in found["$defs"]


def msgspec_union(union: Any) -> tuple[Any, ...]:
    return union.__args__  # type: ignore[no-any-return]
