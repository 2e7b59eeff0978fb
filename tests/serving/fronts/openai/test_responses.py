"""A log as the events of a response: every kind of event, and every end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.serving.fronts.logs import Told, ended, job, log
from tests.wire import Large
from trio_jobs import Event, Kind, Progress, Reason
from trio_jobs.serving.fronts.openai.responses import ITEMS, MOST, Response

BEGUN = ["1 created", "2 in_progress"]
OPEN = ["output_item.added", "content_part.added"]
HEL, LO = (Kind.TOKEN, "Hel"), (Kind.TOKEN, "lo")
DONE = (Kind.COMPLETED, None)


def frames_of(response: Response, events: Sequence[Event]) -> list[Any]:
    return [frame for event in events for frame in response.take(event)]


def told(*events: Told | None) -> tuple[list[str], dict[str, Any]]:
    """Return the frames of a log, each as its number and kind, and the response at its end."""
    response = Response(job())
    frames = frames_of(response, log(*events))
    short = [f"{one['sequence_number']} {one['type'].removeprefix('response.')}" for one in frames]
    assert short[:2] == BEGUN
    return short[2:], response.shown()


def closed(part: str, number: int) -> list[str]:
    return [f"{number} {one}" for one in (f"{part}.done", "content_part.done", "output_item.done")]


def opened(number: int) -> list[str]:
    return [f"{number} {one}" for one in OPEN]


def texts(response: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the items of the output: the type, status and text of each."""
    return [(one["type"], one["status"], one["content"][0]["text"]) for one in response["output"]]


def test_the_text_of_an_answer() -> None:
    """An item opens with the number before its first piece, each piece has its own, and the end has all."""
    frames, response = told(HEL, LO, DONE)
    delta = "output_text.delta"
    assert frames == [*opened(2), f"3 {delta}", f"4 {delta}", *closed("output_text", 4), "5 completed"]
    assert (response["status"], texts(response)) == ("completed", [("message", "completed", "Hello")])
    assert response["id"] == "j1"
    assert response["model"] == "chat"
    assert response["created_at"] == 7


def test_a_piece_names_its_item() -> None:
    """The frames of one item have its id and place, and a piece has nothing but itself as text."""
    frames = frames_of(Response(job()), log(HEL))
    added, part, delta = frames[2:]
    assert added["item"] == {
        "id": "msg_j1_0",
        "type": "message",
        "role": "assistant",
        "status": "in_progress",
        "content": [],
    }
    place = {"item_id": "msg_j1_0", "output_index": 0, "content_index": 0}
    assert {**part, **place} == part
    assert delta == {
        "type": "response.output_text.delta",
        "sequence_number": 3,
        "delta": "Hel",
        "logprobs": [],
        **place,
    }


def test_reasoning_is_an_item_of_its_own() -> None:
    """Reasoning comes in an item before the text, and each ends when the other begins."""
    frames, response = told((Kind.TOKEN, {"reasoning": "hm"}), HEL, DONE)
    assert frames == [
        *(*opened(2), "3 reasoning_text.delta", *closed("reasoning_text", 3)),
        *(*opened(3), "4 output_text.delta", *closed("output_text", 4), "5 completed"),
    ]
    assert texts(response) == [("reasoning", "completed", "hm"), ("message", "completed", "Hel")]


def test_another_attempt_begins_anew() -> None:
    """What the attempt before wrote ends incomplete, leaves the output, and its place is not used again."""
    retried = (Kind.RETRIED, ended(Reason.ERROR, delay=1.0))
    response = Response(job())
    frames = frames_of(response, log(HEL, retried, (Kind.STARTED, "worker", 2), LO, DONE))
    items = [one for one in frames if one["type"].startswith("response.output_item")]
    assert [(one["type"][21:], one["output_index"], one["item"]["status"]) for one in items] == [
        *(("added", 0, "in_progress"), ("done", 0, "incomplete")),
        *(("added", 1, "in_progress"), ("done", 1, "completed")),
    ]
    assert [one["sequence_number"] for one in frames if one["type"] == "response.in_progress"] == [2, 5]
    assert texts(response.shown()) == [("message", "completed", "lo")]


def test_what_a_handler_returns_is_an_answer_that_it_did_not_stream() -> None:
    """A result that is a text, or has one, is the answer, if no text was sent; and never a second one."""
    for result in ("Hello", {"content": "Hello"}):
        frames, response = told((Kind.COMPLETED, result))
        assert frames == [*opened(2), "3 output_text.delta", *closed("output_text", 3), "3 completed"]
        assert texts(response) == [("message", "completed", "Hello")]
        assert texts(told(HEL, LO, (Kind.COMPLETED, result))[1]) == texts(response)
        thought = (Kind.TOKEN, {"reasoning": "hm"})
        assert texts(told(thought, (Kind.COMPLETED, result))[1])[1:] == texts(response)
        assert len(texts(told(HEL, thought, (Kind.COMPLETED, result))[1])) == 2


def test_calls_of_tools_and_usage() -> None:
    """Calls of tools in a result are items behind the text; numbers of tokens have the protocol's names."""
    usage = {"prompt_tokens": 2, "completion_tokens": 3}
    calls = [{"id": "c1", "name": "add", "arguments": '{"a":1}'}]
    frames, response = told(HEL, (Kind.COMPLETED, {"tool_calls": calls, "usage": usage}))
    arguments = "function_call_arguments"
    assert frames[-5:] == [
        *("3 output_item.added", f"4 {arguments}.delta", f"4 {arguments}.done", "4 output_item.done"),
        "4 completed",
    ]
    call = response["output"][1]
    assert (call["type"], call["call_id"], call["name"], call["arguments"]) == (
        "function_call",
        "c1",
        "add",
        '{"a":1}',
    )
    counted = [response["usage"][name] for name in ("input_tokens", "output_tokens", "total_tokens")]
    assert counted == [2, 3, 5]


@pytest.mark.parametrize(
    ("end", "frame", "status"),
    [
        (DONE, "completed", "completed"),
        ((Kind.COMPLETED, {"finish_reason": "length"}), "incomplete", "incomplete"),
        ((Kind.COMPLETED, Large(2**21)), "incomplete", "incomplete"),
        ((Kind.FAILED, ended(Reason.ERROR, message="secret")), "failed", "failed"),
        ((Kind.EXPIRED, ended(Reason.QUEUE_TIMEOUT)), "failed", "failed"),
        ((Kind.CANCELLED, ended(Reason.USER, message="secret")), "incomplete", "cancelled"),
    ],
)
def test_every_end(end: Told, frame: str, status: str) -> None:
    """Each end is a last frame and a status; what was written stays, and what was raised is not told."""
    frames, response = told(HEL, end)
    assert frames[-1] == f"4 {frame}"
    assert response["status"] == status
    over = "completed" if end[0] is Kind.COMPLETED else "incomplete"
    assert texts(response) == [("message", over, "Hel")]
    assert (response["error"] is not None) == (status == "failed")
    assert (response["incomplete_details"] is not None) == (status == "incomplete")
    assert "secret" not in str(response)


@pytest.mark.parametrize(
    "event",
    [
        (Kind.PROGRESS, Progress(1)),
        (Kind.SAVED, "hi"),
        (Kind.READY, None),
        (Kind.INPUT, "hi"),
        (Kind.INPUTS_ENDED, None),
        (Kind.STEP, None),
        (Kind.CANCEL_REQUESTED, "secret"),
        (Kind.TOKEN, 7),
    ],
)
def test_what_the_protocol_has_no_word_for(event: Told) -> None:
    """Other events have no frame, and change nothing."""
    frames, response = told(event, DONE)
    assert frames == ["4 completed"]
    assert response["output"] == []


@pytest.mark.parametrize(
    "events",
    [
        (HEL, None, LO, DONE),
        (HEL, (Kind.TOKEN, Large(2**21)), LO, DONE),
        (HEL, (Kind.TOKEN, "x" * MOST), LO, DONE),
    ],
)
def test_an_answer_that_is_not_whole_says_so(events: Sequence[Told | None]) -> None:
    """If pieces are gone, or there are too many for an object, the response ends incomplete; not silently."""
    frames, response = told(*events)
    assert frames[-1] == "6 incomplete"
    assert response["status"] == "incomplete"
    assert len(texts(response)[0][2]) <= MOST


def test_a_response_has_so_many_items() -> None:
    """As an object it has the first ones, and says that it is not whole; the stream has them all."""
    frames, response = told(*((HEL, (Kind.TOKEN, {"reasoning": "Hm"})) * (ITEMS // 2)), LO, DONE)
    assert (len(response["output"]), response["status"]) == (ITEMS, "incomplete")
    assert sum(one.endswith("output_item.done") for one in frames) == ITEMS + 1


def test_a_response_is_shown_while_it_is_written() -> None:
    """What was written so far is in the output, as an item in progress."""
    response = Response(job(metadata={"a": "1", "b": 2}))
    assert response.shown()["status"] == "queued"
    frames_of(response, log(HEL))
    shown = response.shown()
    assert (shown["status"], texts(shown)) == ("in_progress", [("message", "in_progress", "Hel")])
    assert shown["metadata"] == {"a": "1"}
