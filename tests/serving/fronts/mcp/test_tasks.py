"""A job as a task: every state, every reason of an end, and every kind of result."""

from __future__ import annotations

from typing import Any

import pytest

from tests.serving.fronts.logs import Told, job, log
from trio_jobs import Event, Kind, Progress, Reason, State
from trio_jobs.serving.fronts.mcp.tasks import MOST, key_of, result_of, said_by, status_of, task_of

BOOLEAN = {"type": "boolean"}
WAITING: dict[str, Any] = {"state": State.RETRYING, "reason": Reason.AWAITING_INPUT, "waiting_for": "input"}
FORM = {"type": "object", "properties": {"value": BOOLEAN}, "required": ["value"]}


@pytest.mark.parametrize(
    ("fields", "inputs", "status", "told"),
    [
        ({}, None, "working", "it waits in the queue"),
        ({"state": State.RUNNING}, None, "working", None),
        ({"state": State.RETRYING, "reason": Reason.ERROR}, None, "working", "it will go on"),
        ({**WAITING, "message": "go?"}, BOOLEAN, "input_required", "go?"),
        (WAITING, BOOLEAN, "input_required", "an input is waited for"),
        (WAITING, None, "working", "it will go on"),  # its handler takes no inputs from clients
        ({**WAITING, "waiting_for": "slot"}, BOOLEAN, "working", "it will go on"),  # it has got one
        ({"state": State.COMPLETED, "result": 1}, BOOLEAN, "completed", None),
        (
            {"state": State.CANCELLED, "reason": Reason.USER},
            None,
            "cancelled",
            "the job was cancelled: its cancellation was asked for",
        ),
        ({"state": State.CANCELLED}, None, "cancelled", "the job was cancelled"),
        (
            {"state": State.FAILED, "reason": Reason.ERROR},
            None,
            "completed",
            "the job failed: an error happened",
        ),
        (
            {"state": State.FAILED, "reason": Reason.TIMEOUT},
            None,
            "completed",
            "the job failed: it took longer than it may",
        ),
        (
            {"state": State.FAILED, "reason": Reason.WORKER_LOST},
            None,
            "failed",
            "the job failed: an error happened",
        ),
        (
            {"state": State.FAILED, "reason": Reason.QUEUE_TIMEOUT},
            None,
            "failed",
            "the job failed: it waited in the queue longer than it may",
        ),
    ],
)
def test_a_job_is_a_task(fields: dict[str, Any], inputs: Any, status: str, told: str | None) -> None:
    """The status and its message follow from the job, and so do the only fields that go with a status."""
    task = task_of(job(**fields), log(), inputs, "")
    assert (task["status"], task.get("statusMessage")) == (status, told)
    more = {"input_required": {"inputRequests"}, "completed": {"result"}, "failed": {"error"}}
    always = {"taskId", "status", "statusMessage", "createdAt", "lastUpdatedAt", "ttlMs", "pollIntervalMs"}
    assert task.keys() - always == more.get(status, set())


def test_what_every_task_has() -> None:
    """The id is the job's, times are those of the job and its last event, and no time ends it."""
    newest = [*log(), Event(3, 1, Kind.SAVED, 9.0, None)]
    assert task_of(job(), newest, None, "") == {
        "taskId": "j1",
        "status": "working",
        "statusMessage": "it waits in the queue",
        "createdAt": "1970-01-01T00:00:07Z",
        "lastUpdatedAt": "1970-01-01T00:00:09Z",
        "ttlMs": None,
        "pollIntervalMs": 1000,
    }
    assert task_of(job(), [], None, "")["lastUpdatedAt"] == "1970-01-01T00:00:07Z"


def test_an_input_is_asked_for_by_a_form() -> None:
    """A wait for an input is an elicitation, under a key that no other attempt's question has."""
    asked = task_of(job(**WAITING, message="go?", attempt=2), log(), BOOLEAN, "")["inputRequests"]
    params = {"mode": "form", "message": "go?", "requestedSchema": FORM}
    assert asked == {"after-attempt-2": {"method": "elicitation/create", "params": params}}
    assert key_of(job(attempt=3)) not in asked


@pytest.mark.parametrize(
    ("events", "told"),
    [
        (
            [(Kind.PROGRESS, Progress(1)), (Kind.PROGRESS, Progress(2, 4, "reading")), (Kind.TOKEN, 7)],
            "2 of 4: reading",
        ),
        ([(Kind.PROGRESS, Progress(0.5))], "0.5"),
        ([(Kind.PROGRESS, Progress(3, 3)), (Kind.STARTED, "worker", 2)], None),  # it begins anew
    ],
)
def test_progress_is_told(events: list[Told], told: str | None) -> None:
    """What an attempt reported last is the message of a task that is worked on."""
    attempt = max(one.attempt for one in log(*events))
    assert (
        task_of(job(state=State.RUNNING, attempt=attempt), log(*events), None, "").get("statusMessage")
        == told
    )


@pytest.mark.parametrize("reason", Reason)
def test_a_failure_is_a_result_or_an_error_and_never_tells_what_was_raised(reason: Reason) -> None:
    """Each failed job has a status of an end and a text; a text of the handler's is in neither."""
    failed = job(state=State.FAILED, reason=reason, message="secret", error="secret")
    task = task_of(failed, log(), None, "secret")
    assert "secret" not in str(task)
    unserved = {"queue_timeout", "worker_lost", "bad_result", "shutdown", "restarts"}
    assert (task["status"] == "failed") is (reason in unserved)
    if task["status"] == "failed":
        assert task["error"] == {"code": -32603, "message": task["statusMessage"]}
    else:
        blocks = [{"type": "text", "text": task["statusMessage"]}]
        assert task["result"] == {"resultType": "complete", "content": blocks, "isError": True}


@pytest.mark.parametrize(
    ("result", "said", "text", "structured"),
    [
        ("hello", "", "hello", None),
        ("hello", "streamed", "hello", None),
        (None, "streamed", "streamed", None),
        (None, "", None, None),
        (7, "", "7", None),
        ([1, "a"], "", '[1,"a"]', None),
        ({"a": 1}, "", '{"a":1}', {"a": 1}),
    ],
)
def test_a_result_is_a_text_and_an_object_if_it_is_one(
    result: object, said: str, text: str | None, structured: object
) -> None:
    """A text is itself, nothing is what was streamed, other values are JSON, and objects are both."""
    found = result_of(job(state=State.COMPLETED, result=result), said)
    assert found["content"] == ([] if text is None else [{"type": "text", "text": text}])
    assert (found["isError"], found["resultType"]) == (False, "complete")
    assert found.get("structuredContent") == structured


@pytest.mark.parametrize(("result", "told"), [("x" * MOST, "bytes"), (object(), "no JSON")])
def test_a_result_that_does_not_fit_is_told_as_an_error(result: object, told: str) -> None:
    """It is neither cut nor sent."""
    found = result_of(job(state=State.COMPLETED, result=result), "")
    assert found["isError"] is True
    [block] = found["content"]
    assert told in block["text"]
    assert len(block["text"]) < 100


def test_the_streamed_text_is_that_of_the_last_attempt() -> None:
    """Reasoning and other values are no part of it, a new attempt drops it, and it has an end."""
    events = log((Kind.TOKEN, "lost"), (Kind.STARTED, "worker", 2), (Kind.TOKEN, {"reasoning": "hm"}, 2))
    assert said_by("before", [*events, *log((Kind.TOKEN, "Hel"), (Kind.TOKEN, 7), begun=False)]) == "Hel"
    assert said_by("Hel", log((Kind.TOKEN, "lo"), begun=False)) == "Hello"
    assert len(said_by("x" * MOST, log((Kind.TOKEN, "more"), begun=False))) == MOST


def test_no_state_is_without_a_status() -> None:
    """Every state of a job has one."""
    assert all(status_of(job(state=state), None) for state in State)
