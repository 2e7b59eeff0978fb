"""What a request asks for, in the words of chat completions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.wire import BadRequest
from trio_jobs.serving.fronts.openai.asked import NewCompletion, NewResponse, messages_of

USER = {"role": "user", "content": "hi"}


def fields(kind: Any, **given: Any) -> dict[str, Any]:
    """Return the fields that a request gives to a handler."""
    found = msgspec.convert({"model": "chat", **given}, kind).fields()
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize(
    ("item", "messages"),
    [
        (USER, [USER]),
        ({"type": "message", **USER}, [USER]),
        (
            {"role": "user", "content": [{"type": "input_text", "text": "h"}, {"type": "text", "text": "i"}]},
            [USER],
        ),
        (
            {"type": "function_call", "call_id": "c", "name": "add", "arguments": "{}"},
            [
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}
                    ],
                }
            ],
        ),
        (
            {"type": "function_call_output", "call_id": "c", "output": "3"},
            [{"role": "tool", "tool_call_id": "c", "content": "3"}],
        ),
        ({"type": "reasoning", "summary": []}, []),
    ],
)
def test_items_are_messages(item: dict[str, Any], messages: list[Any]) -> None:
    """Each item of an input that a chat has a message for becomes that."""
    assert messages_of(None, [item]) == messages
    assert messages_of("be brief", [item]) == [{"role": "system", "content": "be brief"}, *messages]


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ({"type": "image"}, "an item of type 'image'"),
        ({"role": "user"}, "an item of type message needs 'content'"),
        ({"content": "hi"}, "an item of type message needs 'role'"),
        ({"role": "user", "content": [{"type": "input_image"}]}, "a part of type 'input_image'"),
        ({"role": "user", "content": [{"type": "text"}]}, "needs 'text'"),
        ({"role": "user", "content": ["hi"]}, "a part of type None"),
        ({"role": "user", "content": 7}, "a part of type None"),
        ({"role": "user", "content": {"type": ["text"]}}, r"a part of type \['text'\]"),
        ({"role": "user", "content": [{"type": "text", "text": None}]}, "is a text; got None"),
    ],
)
def test_items_that_are_refused(item: dict[str, Any], why: str) -> None:
    """What is no text is refused, by its name."""
    with pytest.raises(BadRequest, match=why):
        messages_of(None, [item])


def test_both_protocols_give_the_same() -> None:
    """Names that differ between the protocols are one for handlers, and so is the form of tools."""
    tool = {"name": "add", "parameters": {}}
    nested = {"type": "function", "function": tool}
    same = {"temperature": 0.5, "top_p": 0.9, "tool_choice": "auto", "tools": [nested]}
    wanted = {**same, "messages": [USER], "max_tokens": 7, "reasoning_effort": "low"}
    flat = {**same, "tools": [{"type": "function", **tool}]}
    more = {"max_output_tokens": 7, "reasoning": {"effort": "low"}}
    assert fields(NewResponse, input="hi", **flat, **more) == wanted
    for name in ("max_tokens", "max_completion_tokens"):
        chat = {"messages": [USER], name: 7, "reasoning_effort": "low"}
        assert fields(NewCompletion, **chat, **same) == wanted


@pytest.mark.parametrize(
    ("kind", "given", "why"),
    [
        (NewResponse, {"input": "hi", "previous_response_id": "j"}, "previous_response_id is not kept here"),
        (NewResponse, {"input": "hi", "conversation": {"id": "c"}}, "conversation is not kept here"),
        (NewCompletion, {"messages": [USER], "n": 2}, "a job has one answer; leave n=2 out"),
    ],
)
def test_what_would_change_the_answer_is_refused(kind: Any, given: Any, why: str) -> None:
    """A field that a job cannot follow is refused, if its answer would be another one without it."""
    with pytest.raises(BadRequest, match=why):
        fields(kind, **given)
