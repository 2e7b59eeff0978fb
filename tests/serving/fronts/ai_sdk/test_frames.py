"""A log as the stream of a UI message: each event has its frames, and no token breaks a client."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.wire import Large
from trio_jobs import Ended, ErrorRecord, Event, Kind, Progress, Reason
from trio_jobs.serving.fronts.ai_sdk.frames import MessageStream, frame_of

FAULT = ErrorRecord("ValueError", "no /home/ann/secret", "Traceback: line 7")
CALL = {"toolCallId": "c1", "toolName": "add"}
INPUT = {"type": "tool-input-available", **CALL, "input": {"one": 1}}
OUTPUT = {"type": "tool-output-available", "toolCallId": "c1", "output": 2}
START = {"type": "tool-input-start", **CALL}
DELTA = {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": "{"}
WRONG = {"type": "tool-input-error", **CALL, "input": "{", "errorText": "no JSON"}
BROKEN = {"type": "tool-output-error", "toolCallId": "c1", "errorText": "no sum"}
URL = {"type": "source-url", "sourceId": "s", "url": "https://example.org"}
DOCUMENT = {"type": "source-document", "sourceId": "s", "mediaType": "text/plain", "title": "A page"}
FILE = {"type": "file", "url": "data:,", "mediaType": "text/plain"}
ASKED = {"type": "tool-approval-request", "toolCallId": "c1", "approvalId": "a1"}
DENIED = {"type": "tool-output-denied", "toolCallId": "c1"}


def log(*entries: tuple[Any, ...], attempt: int = 1) -> list[Event]:
    """Return a log of kinds and data, an attempt's start with its number."""
    found: list[Event] = []
    told: list[tuple[Any, ...]] = [(Kind.SUBMITTED, "chat"), (Kind.STARTED, 1), *entries]
    for seq, (kind, data) in enumerate(told, 1):
        attempt = data if kind is Kind.STARTED else attempt
        found.append(Event(seq, attempt, kind, 0.0, data))
    return found


def said(*entries: tuple[Any, ...], **options: Any) -> list[Any]:
    """Return the frames of a log, but for the first one."""
    first, *rest = MessageStream("j1", **options).frames(log(*entries))
    assert first == {"type": "start", "messageId": "j1"}
    return rest


def texts(*tokens: Any) -> list[tuple[Kind, Any]]:
    return [(Kind.TOKEN, token) for token in tokens]


def part(kind: str, seq: int, *deltas: str, end: bool = True) -> list[Any]:
    """Return the frames of a part."""
    found: list[Any] = [{"type": f"{kind}-start", "id": str(seq)}]
    found += [{"type": f"{kind}-delta", "id": str(seq), "delta": delta} for delta in deltas]
    return found + [{"type": f"{kind}-end", "id": str(seq)}] * end


FINISH = {"type": "finish", "finishReason": "stop"}
DONE = (Kind.COMPLETED, None)
AGAIN = (Kind.RETRIED, Ended(Reason.ERROR, error=FAULT))

TABLE: dict[str, tuple[list[tuple[Any, Any]], list[Any]]] = {
    "text": ([*texts("Hel", "lo"), DONE], [*part("text", 3, "Hel", "lo"), FINISH]),
    "nothing": ([DONE], [FINISH]),
    "reasoning, then text": (
        [*texts({"reasoning": "Hm"}, "Hi"), DONE],
        [*part("reasoning", 3, "Hm"), *part("text", 4, "Hi"), FINISH],
    ),
    "a tool between two texts": (
        [*texts("a", INPUT, OUTPUT, "b"), DONE],
        [*part("text", 3, "a"), INPUT, OUTPUT, *part("text", 6, "b"), FINISH],
    ),
    "a call in pieces": ([*texts(START, DELTA, OUTPUT)], [START, DELTA, OUTPUT]),
    "a call that cannot be made": ([*texts(WRONG, BROKEN)], [WRONG, BROKEN]),
    "a call that somebody has to allow": ([*texts(INPUT, ASKED, DENIED)], [INPUT, ASKED, DENIED]),
    "what follows no call": (
        [*texts(OUTPUT, ASKED, DENIED, {**INPUT, "toolCallId": "c2"}, BROKEN, {**DELTA, "toolCallId": "c2"})],
        [
            *({"type": "data-token", "data": value} for value in (OUTPUT, ASKED, DENIED)),
            {**INPUT, "toolCallId": "c2"},
            {"type": "data-token", "data": BROKEN},
            {"type": "data-token", "data": {**DELTA, "toolCallId": "c2"}},
        ],
    ),
    "a call that a later attempt answers": (
        [*texts(INPUT), AGAIN, (Kind.STARTED, 2), *texts(OUTPUT)],
        [INPUT, {"type": "data-restart", "data": {"attempt": 2, "reason": "error"}}, OUTPUT],
    ),
    "other values": (
        [*texts(7, None, {"reasoning": 7}, {"reasoning": "x", "more": 1})],
        [
            {"type": "data-token", "data": value}
            for value in (7, None, {"reasoning": 7}, {"reasoning": "x", "more": 1})
        ],
    ),
    "a value that is too large": (
        [*texts("a", Large(2**21), "b")],
        [
            *part("text", 3, "a"),
            {"type": "data-gap", "data": {"first": 4, "last": 4}},
            *part("text", 5, "b", end=False),
        ],
    ),
    "progress is no part": (
        [*texts("a"), (Kind.PROGRESS, Progress(1, 2)), *texts("b")],
        [
            *part("text", 3, "a", end=False),
            {"type": "data-progress", "data": Progress(1, 2), "transient": True},
            {"type": "text-delta", "id": "3", "delta": "b"},
        ],
    ),
    "what says nothing": (
        [(Kind.SAVED, 1), (Kind.INPUT, 2), (Kind.STEP, 3), (Kind.CANCEL_REQUESTED, None), (Kind.READY, None)],
        [],
    ),
    "an answer that was cut off": (
        [(Kind.COMPLETED, {"finish_reason": "length", "tool_calls": [{"name": "add", "arguments": "{"}]})],
        [{"type": "finish", "finishReason": "length"}],
    ),
    "an answer that calls tools": (
        [(Kind.COMPLETED, {"tool_calls": [{"id": "c1", "name": "add", "arguments": "{}"}]})],
        [{"type": "finish", "finishReason": "tool-calls"}],
    ),
    "a reason of its own": ([(Kind.COMPLETED, {"finish_reason": ["x"]})], [FINISH]),
    "an empty answer": ([(Kind.COMPLETED, "")], [FINISH]),
    "an answer that was not streamed": (
        [*texts({"reasoning": "Hm"}), (Kind.COMPLETED, "Hi")],
        [*part("reasoning", 3, "Hm"), *part("text", 4, "Hi"), FINISH],
    ),
    "an answer that was streamed": (
        [*texts("Hi"), (Kind.COMPLETED, {"content": "Hi"})],
        [*part("text", 3, "Hi"), FINISH],
    ),
    "an answer that is too large": (
        [(Kind.COMPLETED, Large(2**21))],
        [{"type": "data-gap", "data": {"first": 3, "last": 3}}, FINISH],
    ),
    "an answer that was streamed and is too large": (
        [*texts("Hi"), (Kind.COMPLETED, Large(2**21))],
        [*part("text", 3, "Hi"), FINISH],
    ),
    "new attempts that stream nothing": (
        [*texts("a"), AGAIN, (Kind.STARTED, 2), AGAIN, (Kind.STARTED, 3), (Kind.COMPLETED, "b")],
        [
            *part("text", 3, "a"),
            {"type": "data-restart", "data": {"attempt": 2, "reason": "error"}},
            *part("text", 8, "b"),
            FINISH,
        ],
    ),
    "a failure": (
        [*texts("a"), (Kind.FAILED, Ended(Reason.ERROR, error=FAULT))],
        [*part("text", 3, "a"), {"type": "error", "errorText": "the job failed: an error happened"}],
    ),
    "too late": (
        [(Kind.EXPIRED, Ended(Reason.QUEUE_TIMEOUT))],
        [{"type": "error", "errorText": "the job failed: it waited in the queue longer than it may"}],
    ),
    "a cancellation": (
        [*texts("a"), (Kind.CANCELLED, Ended(Reason.USER, "mine"))],
        [*part("text", 3, "a"), {"type": "abort", "reason": "user"}],
    ),
    "a new attempt": (
        [*texts("a"), AGAIN, (Kind.STARTED, 2), *texts("b"), DONE],
        [
            *part("text", 3, "a"),
            {"type": "data-restart", "data": {"attempt": 2, "reason": "error"}},
            *part("text", 6, "b"),
            FINISH,
        ],
    ),
    "a new attempt, of one that said nothing": (
        [AGAIN, (Kind.STARTED, 2), *texts("b"), DONE],
        [*part("text", 5, "b"), FINISH],
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_each_event_has_its_frames(name: str) -> None:
    """What the table says of a log is what clients are sent."""
    entries, frames = TABLE[name]
    assert said(*entries) == frames


@pytest.mark.parametrize("cut", range(1, 8))
def test_it_does_not_matter_how_a_log_is_cut(cut: int) -> None:
    """A log that is given in two parts has the same bytes as in one."""
    events = log(*TABLE["a new attempt"][0])
    whole, parts = MessageStream("j1"), MessageStream("j1")
    assert parts.write(events[:cut]) + parts.write(events[cut:]) == whole.write(events)
    assert (parts.over, whole.over) == (True, True)


def test_a_new_attempt_is_an_error_by_choice() -> None:
    """With `error` the stream ends where a new attempt begins, if something was shown; who reads that attempt
    only sees nothing of those before."""
    entries = [*texts("a"), (Kind.PROGRESS, 1), AGAIN, (Kind.STARTED, 2), *texts("b"), DONE]
    *before, end, error = said(*entries, restarts="error")
    assert before == [
        *part("text", 3, "a", end=False),
        {"type": "data-progress", "data": 1, "transient": True},
    ]
    assert end == {"type": "text-end", "id": "3"}
    assert error["type"] == "error"
    assert said(*entries, restarts="error", since=2) == [*part("text", 7, "b"), FINISH]


def test_what_is_gone_is_told() -> None:
    """A hole in the log is a part of its own, between two texts."""
    events = log(*texts("a", "b", "c"), DONE)
    del events[3]
    _, *frames = MessageStream("j1").frames(events)
    gone = {"type": "data-gap", "data": {"first": 4, "last": 4}}
    assert frames == [*part("text", 3, "a"), gone, *part("text", 5, "c"), FINISH]


def test_an_error_tells_nothing_of_the_program() -> None:
    """What a handler raised is in no frame."""
    events = log(*texts("a"), (Kind.FAILED, Ended(Reason.ERROR, error=FAULT)))
    assert b"secret" not in MessageStream("j1").write(events)


def test_the_bytes_are_events_of_one_line() -> None:
    """Each frame is JSON on one line, whatever line ends a token has, and the end is marked."""
    data = MessageStream("j1").write(log(*texts("a\r\n\u2028\x85b"), DONE)).decode()
    *frames, done, rest = data.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    assert all(len(frame.splitlines()) == 1 for frame in frames)
    assert json.loads(frames[2].removeprefix("data: "))["delta"] == "a\r\n\u2028\x85b"


@pytest.mark.parametrize(
    ("token", "fits"),
    [
        ({**START, "dynamic": True}, True),
        ({**START, "dynamic": "yes"}, False),
        ({"type": "tool-input-start", "toolCallId": 7, "toolName": "add"}, False),
        ({"type": "data-weather", "data": [1], "id": "w", "transient": True}, True),
        ({"type": "data-weather"}, False),
        ({**DOCUMENT, "filename": "a.txt"}, True),
        ({"type": "finish"}, False),
        ({"type": "text-delta", "id": "9", "delta": "x"}, False),
        ({"type": "error", "errorText": "x"}, False),
        ({"type": 7}, False),
        ({}, False),
        ("text", False),
    ],
)
def test_a_token_is_a_frame_only_if_clients_understand_it(token: Any, fits: bool) -> None:
    """A token with all that its type needs, of the right types, is a frame; what the stream says is none."""
    assert frame_of(token) == (token if fits else None)


@pytest.mark.parametrize(
    "whole",
    [START, DELTA, INPUT, WRONG, ASKED, OUTPUT, BROKEN, DENIED, URL, DOCUMENT, FILE],
    ids=lambda one: one["type"],
)
def test_a_token_that_lacks_a_field_is_no_frame(whole: dict[str, Any]) -> None:
    """With just the fields that its type needs it is one, without any of them it is none."""
    assert frame_of(whole) == whole
    for name in whole:
        assert frame_of({key: value for key, value in whole.items() if key != name}) is None


def test_a_frame_has_no_field_that_clients_do_not_know() -> None:
    """What else a token has stays behind."""
    assert frame_of({**OUTPUT, "secret": 1}) == OUTPUT
