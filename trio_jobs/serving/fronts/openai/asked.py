"""What a client of OpenAI's protocols asks for, as the fields that a handler may take.

A handler gets the same for both protocols, in the words of chat completions. The structures say which fields
count; others are passed over, as clients send many that mean nothing to a job.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec
from msgspec import UNSET

from ...._common.errors import quoted
from ...._wire.options import SubmitOptions
from ...._wire.requests import BadRequest

Objects = list[dict[str, Any]]

_TEXTS: Final = ("text", "input_text", "output_text")


class Asked(msgspec.Struct, frozen=True):
    """The fields that both protocols have."""

    model: str
    stream: bool | None = None
    metadata: dict[str, str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    tools: Objects | None = None
    tool_choice: Any = None

    def options(self, key: str | None) -> SubmitOptions:
        """Return the options of the job: an idempotency key, and the metadata."""
        return SubmitOptions(key=key or UNSET, metadata=UNSET if self.metadata is None else {**self.metadata})

    def _fields(self, **more: Any) -> Mapping[str, Any]:
        names = ("temperature", "top_p", "tool_choice")
        return {**{name: getattr(self, name) for name in names}, "tools": self._tools(), **more}

    def _tools(self) -> Objects | None:
        """Return the tools as chat completions have them; in Responses a function's fields are not nested."""
        if self.tools is None:
            return None
        return [
            {"type": "function", "function": {name: value for name, value in one.items() if name != "type"}}
            if one.get("type") == "function" and "function" not in one
            else one
            for one in self.tools
        ]


class NewResponse(Asked, frozen=True, kw_only=True):
    """The body of `POST /v1/responses`."""

    input: str | Objects
    background: bool | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    reasoning: dict[str, Any] | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None

    def fields(self) -> Mapping[str, Any]:
        """Return what a handler may take.

        Raises:
            BadRequest: The request needs what a server of jobs does not keep, or the input is no text.
        """
        for name in ("previous_response_id", "conversation", "prompt"):
            if getattr(self, name) is not None:
                raise BadRequest(f"{name} is not kept here; send the whole conversation as input")
        return self._fields(
            messages=messages_of(self.instructions, self.input),
            max_tokens=self.max_output_tokens,
            reasoning_effort=(self.reasoning or {}).get("effort"),
        )


class NewCompletion(Asked, frozen=True, kw_only=True):
    """The body of `POST /v1/chat/completions`."""

    messages: Objects
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    reasoning_effort: str | None = None
    stop: Any = None
    seed: int | None = None
    stream_options: dict[str, Any] | None = None
    n: int | None = None

    def fields(self) -> Mapping[str, Any]:
        """Return what a handler may take.

        Raises:
            BadRequest: More than one answer is asked for.
        """
        if self.n not in {None, 1}:
            raise BadRequest(f"a job has one answer; leave n={self.n} out, and ask again for another")
        return self._fields(
            messages=self.messages,
            max_tokens=self.max_completion_tokens or self.max_tokens,
            reasoning_effort=self.reasoning_effort,
            stop=self.stop,
            seed=self.seed,
        )

    @property
    def with_usage(self) -> bool:
        """Whether the last chunk is to have the numbers of tokens."""
        return bool((self.stream_options or {}).get("include_usage"))


def messages_of(instructions: str | None, given: str | Objects) -> Objects:
    """Return the input of a response as the messages of a chat.

    Raises:
        BadRequest: An item is neither a message of text nor a call of a tool or what that gave.
    """
    found: Objects = [] if instructions is None else [{"role": "system", "content": instructions}]
    if isinstance(given, str):
        return [*found, {"role": "user", "content": given}]
    for item in given:
        found.extend(_messages(item))
    return found


def _messages(item: Mapping[str, Any]) -> Objects:
    kind = item.get("type", "message")
    try:
        if kind == "message":
            return [{"role": item["role"], "content": _text(item["content"])}]
        if kind == "function_call_output":
            return [{"role": "tool", "tool_call_id": item["call_id"], "content": _text(item["output"])}]
        if kind == "function_call":
            function = {"name": item["name"], "arguments": item["arguments"]}
            call = {"id": item["call_id"], "type": "function", "function": function}
            return [{"role": "assistant", "content": None, "tool_calls": [call]}]
    except KeyError as missing:
        raise BadRequest(f"an item of type {kind} needs {missing}") from None
    if kind == "reasoning":
        return []  # what a model reasoned is no part of a conversation
    raise BadRequest(
        f"the input has an item of type {quoted(kind)}; here it has messages and calls of functions"
    )


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    found: list[str] = []
    for part in cast("list[object]", content) if isinstance(content, list) else [content]:
        fields = cast("dict[str, object]", part) if isinstance(part, dict) else {}
        if fields.get("type") not in _TEXTS:
            what = quoted(fields.get("type"))
            raise BadRequest(f"a message has a part of type {what}; here it has text only")
        if not isinstance(text := fields["text"], str):
            raise BadRequest(f"the text of a part of a message is a text; got {quoted(text)}")
        found.append(text)
    return "".join(found)
