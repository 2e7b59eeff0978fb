"""Requests: checked as in the process, and encoded for the wire."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

import trio_jobs
from tests.wire import RetryOptions, decode_request, requests
from trio_jobs import Debounce, InvalidPayload, Priority, Reason, Retry, State, Timeouts
from trio_jobs.client.requests import called, filter_of, options_of, text_of


@trio_jobs.handler(name="marked", retry=Retry(attempts=3, on=OSError))
async def work(job: trio_jobs.JobContext[str], n: int, *more: int) -> None:
    """A handler."""


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {}),
        ({"timeout": 3}, {"timeout": 3.0}),
        ({"timeout": None}, {"timeout": None}),
        ({"timeout": math.inf}, {"timeout": None}),
        (
            {"timeouts": Timeouts(run=1, idle=math.inf)},
            {"timeouts": {"run": 1, "queue": None, "first_token": None, "idle": None}},
        ),
        (
            {"retry": Retry(attempts=2, jitter=0)},
            {"retry": {"attempts": 2, "initial": 1, "factor": 2, "maximum": 60, "jitter": 0}},
        ),
        ({"priority": Priority.URGENT}, {"priority": "urgent"}),
        ({"priority": 3}, {"priority": "low"}),
        ({"priority": "high"}, {"priority": "high"}),
        ({"delay": 2}, {"delay": 2}),
        ({"run_at": datetime(2030, 1, 1, tzinfo=UTC)}, {"run_at": "2030-01-01T00:00:00Z"}),
        ({"tags": {"a": "b"}, "metadata": {"c": [1]}}, {"tags": {"a": "b"}, "metadata": {"c": [1]}}),
        ({"when_unread": "cancel", "linger": 5}, {"when_unread": "cancel", "linger": 5}),
        ({"exclusive": "a", "on_busy": "after"}, {"exclusive": "a", "on_busy": "after"}),
        (
            {"exclusive": "a", "on_busy": Debounce(1, 2)},
            {"exclusive": "a", "on_busy": {"seconds": 1, "at_most": 2}},
        ),
        ({"owner": "ann"}, {"owner": "ann"}),
        ({"limit_key": "a"}, {"limit_key": "a"}),
    ],
)
def test_options_are_sent_as_the_wire_has_them(given: dict[str, Any], sent: dict[str, Any]) -> None:
    """The server decodes exactly the options that were given."""
    request = requests.Submit(id=1, handler="work", options=options_of("work", {**given, "key": "k"}))
    text = text_of(request)
    decoded = decode_request(text.encode(), 32)
    assert isinstance(decoded, requests.Submit)
    assert decoded == request
    assert msgspec.json.decode(text)["options"] == {**sent, "key": "k"}


def test_every_submission_has_a_key() -> None:
    """A submit without a key gets a unique one, so it is one job, however often it is sent."""
    keys = {options_of("work", {}).key, options_of("work", {}).key, options_of("work", {"key": None}).key}
    assert len(keys) == 3
    assert all(isinstance(key, str) and len(key) == 32 for key in keys)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"timeuot": 3}, TypeError),
        ({"timeout": -1}, ValueError),
        ({"timeout": 1, "timeouts": Timeouts()}, ValueError),
        ({"priority": "soon"}, ValueError),
        ({"key": 7}, TypeError),
        ({"key": "a\0"}, InvalidPayload),
        ({"retry": Retry(on=ValueError)}, InvalidPayload),
        ({"run_at": datetime(2030, 1, 1)}, ValueError),  # noqa: DTZ001  # that is the mistake
    ],
)
def test_a_mistake_is_told_here(given: dict[str, Any], error: type[Exception]) -> None:
    """An option that `JobRegistry.submit` refuses is refused before anything is sent."""
    with pytest.raises(error):
        options_of("work", given)


def test_which_errors_are_retried_is_the_handler_s_affair() -> None:
    """A retry may have the handler's own `on` with other numbers; the server uses its handler's `on`."""
    assert options_of(work, {"retry": Retry(attempts=9, on=OSError)}).retry == RetryOptions(attempts=9)
    with pytest.raises(InvalidPayload, match=r"@handler\(retry"):
        options_of(work, {"retry": Retry(on=ValueError)})


def test_a_handler_is_a_name_or_a_function() -> None:
    """A function gives its name, and its arguments are checked; a name is sent unchanged."""
    assert called("anything", (1, "two"), {})["handler"] == "anything"
    assert called(work, (1, 2, 3), {})["handler"] == "marked"
    with pytest.raises(TypeError, match="takes"):
        called(work, (), {})
    with pytest.raises(TypeError, match="async function"):
        called(7, (), {})
    with pytest.raises(InvalidPayload, match="NaN"):
        called("work", (math.nan,), {})
    with pytest.raises(InvalidPayload, match="arguments of work"):
        called("work", (object(),), {})


def test_arguments_by_name_are_sent_apart() -> None:
    """Arguments by name are checked as in the process, and have a field only if there are some."""

    async def render(job: trio_jobs.JobContext[str], *, bold: bool) -> None: ...

    assert called(render, (), {"bold": True})["kwargs"] == {"bold": True}
    assert called("render", (1,), {}) == {"handler": "render", "args": [1]}
    assert "kwargs" not in text_of(requests.Submit(id=1, **called("render", (1,), {})))
    for given in ({}, {"bald": True}):
        with pytest.raises(TypeError, match="needs the keyword argument 'bold'"):
            called(render, (), given)
    with pytest.raises(TypeError, match="kwargs takes a mapping"):
        called("render", (), [1])  # type: ignore[arg-type]
    with pytest.raises(InvalidPayload, match="arguments of render"):
        called("render", (), {"bold": object()})


def test_a_filter_is_sent_as_the_wire_has_it() -> None:
    """A filter has one state or several, tags and names; fields that were not given are not sent."""
    assert filter_of({}) == {}
    assert filter_of({"state": State.FAILED}) == {"state": ["failed"]}
    assert filter_of({"state": {State.QUEUED, State.FAILED}, "handler": "a"}) == {
        "state": ["failed", "queued"],
        "handler": "a",
    }
    assert filter_of({"tags": {"a": "b"}, "parent": "7"}) == {"tags": {"a": "b"}, "parent": "7"}
    assert filter_of({"reason": Reason.ERROR}) == {"reason": Reason.ERROR}
    assert filter_of({"reason": Reason.AWAITING_INPUT}) == {"reason": "awaiting_input", "state": ["retrying"]}
    with pytest.raises(TypeError, match="leave owner out"):
        filter_of({"owner": "ann"})
    with pytest.raises(TypeError, match="cannot find jobs by sate"):
        filter_of({"sate": "failed"})  # type: ignore[arg-type]


def test_what_is_no_text_is_not_sent() -> None:
    """A request that cannot be encoded is refused, and the error names it."""
    with pytest.raises(InvalidPayload, match="the request to get"):
        text_of(requests.Get(id=1, job="\ud800"))


def test_a_filter_that_is_not_used_is_not_sent() -> None:
    """An older server may not have it, and would refuse a field that it does not know."""
    assert json.loads(text_of(requests.List(7, newest=True))) == {"op": "list", "id": 7, "newest": True}
    assert "reason" in json.loads(text_of(requests.List(7, reason=Reason.USER)))
