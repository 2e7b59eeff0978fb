"""How a job ended, in words that may be told to anybody, and what its result says about an answer.

The text of an exception may be a secret of the program. A front tells the reason only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import attrs

from ..._common.states import Reason
from ..._model.job import Ended

WHY: Final[Mapping[Reason, str]] = {
    Reason.TIMEOUT: "it took longer than it may",
    Reason.QUEUE_TIMEOUT: "it waited in the queue longer than it may",
    Reason.FIRST_TOKEN_TIMEOUT: "nothing was written in time",
    Reason.IDLE_TIMEOUT: "nothing more was written in time",
    Reason.USER: "its cancellation was asked for",
    Reason.PARENT: "the job that it belongs to ended",
    Reason.UNREAD: "nobody was reading it",
    Reason.LIMIT: "it wrote more than it may",
    Reason.REPLACED: "a newer one took its place",
}
"""What is told of a reason; of any other, that an error happened."""


def why(ended: Ended) -> str:
    """Return a line for people about an end, without what the handler raised."""
    return WHY.get(ended.reason, "an error happened")


@attrs.frozen
class Call:
    """A call of a tool that an answer asks for.

    Attributes:
        id: Its id.
        name: The tool.
        arguments: Its arguments, a text of JSON.
    """

    id: str
    name: str
    arguments: str


@attrs.frozen
class Outcome:
    """What the result of a job says about an answer; a result that says nothing has the defaults.

    Attributes:
        text: The whole answer, for a handler that streamed none of it.
        calls: The calls of tools.
        cut_off: Whether the answer was cut off, as it was as long as it might be.
        usage: Numbers of tokens, by the names of chat completions.
    """

    text: str | None = None
    calls: Sequence[Call] = ()
    cut_off: bool = False
    usage: Mapping[str, int] = attrs.field(factory=dict[str, int])


def outcome_of(result: object) -> Outcome:
    """Return what a result says: a text is the answer, and an object may have the fields of one.

    These are `content`, `tool_calls`, `finish_reason` and `usage`. What does not fit is passed over.
    """
    if isinstance(result, str):
        return Outcome(result)
    if not isinstance(result, Mapping):
        return Outcome()
    fields = cast("Mapping[str, Any]", result)
    text = fields.get("content")
    usage = fields.get("usage")
    numbers = cast("Mapping[str, Any]", usage if isinstance(usage, Mapping) else {})
    return Outcome(
        text if isinstance(text, str) else None,
        _calls(fields.get("tool_calls")),
        fields.get("finish_reason") == "length",
        {name: number for name, number in numbers.items() if type(number) is int},
    )


def _calls(given: object) -> Sequence[Call]:
    if not isinstance(given, list | tuple):
        return ()
    found: list[Call] = []
    for number, one in enumerate(cast("Sequence[object]", given)):
        if isinstance(one, Mapping):
            call = cast("Mapping[str, Any]", one)
            call_id, name, arguments = call.get("id"), call.get("name"), call.get("arguments")
            if isinstance(name, str) and isinstance(arguments, str):
                found.append(Call(str(call_id or f"call_{number}"), name, arguments))
    return found
