"""A log as the chunks of a chat completion: every kind of event, and every end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.serving.fronts.logs import Told, ended, job, log
from tests.wire import Large
from trio_jobs import Kind, Progress, Reason
from trio_jobs.serving.fronts.openai.completions import Completion

HEL, LO = (Kind.TOKEN, "Hel"), (Kind.TOKEN, "lo")
ROLE = {"role": "assistant", "content": ""}
CALL = {"id": "c1", "name": "add", "arguments": "{}"}
CALLED = {"index": 0, "id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}


def told(*events: Told | None, with_usage: bool = False) -> list[Any]:
    """Return the chunks of a log: the delta of each, its reason to end, its error or its usage."""
    completion = Completion(job(), with_usage)
    found: list[Any] = []
    for event in log(*events):
        for chunk in completion.take(event):
            if "error" in chunk:
                found.append(chunk["error"]["code"])
                assert "secret" not in str(chunk)
            elif not chunk["choices"]:
                found.append(chunk["usage"])
            else:
                (choice,) = chunk["choices"]
                found.append(choice["finish_reason"] or choice["delta"])
    assert found[0] == ROLE
    return found[1:]


@pytest.mark.parametrize(
    ("events", "chunks"),
    [
        ([HEL, LO, (Kind.COMPLETED, None)], [{"content": "Hel"}, {"content": "lo"}, "stop"]),
        ([HEL, (Kind.COMPLETED, "Hello")], [{"content": "Hel"}, "stop"]),
        ([(Kind.COMPLETED, "Hello")], [{"content": "Hello"}, "stop"]),
        ([(Kind.TOKEN, {"reasoning": "hm"})], [{"reasoning_content": "hm"}]),
        ([(Kind.TOKEN, 7), (Kind.PROGRESS, Progress(1)), (Kind.SAVED, Large(2**21))], []),
        ([HEL, (Kind.COMPLETED, {"finish_reason": "length"})], [{"content": "Hel"}, "length"]),
        ([(Kind.COMPLETED, {"tool_calls": [CALL]})], [{"tool_calls": [CALLED]}, "tool_calls"]),
        ([HEL, (Kind.FAILED, ended(Reason.ERROR, message="secret"))], [{"content": "Hel"}, "server_error"]),
        ([(Kind.EXPIRED, ended(Reason.QUEUE_TIMEOUT))], ["server_error"]),
        ([HEL, (Kind.CANCELLED, ended(Reason.USER))], [{"content": "Hel"}, "cancelled"]),
        ([(Kind.STARTED, "worker", 2), HEL], [{"content": "Hel"}]),
        ([HEL, (Kind.STARTED, "worker", 2), LO], [{"content": "Hel"}, "stream_restarted"]),
        ([HEL, None, LO, (Kind.COMPLETED, None)], [{"content": "Hel"}, "stream_gap"]),
        ([(Kind.TOKEN, Large(2**21)), LO], ["stream_gap"]),
        ([HEL, (Kind.COMPLETED, Large(2**21))], [{"content": "Hel"}, "stream_gap"]),
    ],
)
def test_the_chunks_of_a_log(events: Sequence[Told | None], chunks: list[Any]) -> None:
    """Text and reasoning are deltas, ends are reasons or errors, and behind an error comes nothing."""
    assert told(*events) == chunks


def test_usage_is_told_if_it_is_asked_for() -> None:
    """The last chunk has the numbers of tokens, and no choice."""
    usage = {"prompt_tokens": 2, "total_tokens": 5}
    done = (Kind.COMPLETED, {"usage": usage})
    assert told(HEL, done) == [{"content": "Hel"}, "stop"]
    assert told(HEL, done, with_usage=True) == [{"content": "Hel"}, "stop", usage]
    assert told((Kind.COMPLETED, None), with_usage=True) == ["stop", None]
