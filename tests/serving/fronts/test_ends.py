"""How a job ended, in words for anybody, and what its result says."""

from __future__ import annotations

from typing import Any

import pytest

from tests.serving.fronts.logs import ended
from trio_jobs import ErrorRecord, Reason
from trio_jobs.serving.fronts.ends import Call, Outcome, outcome_of, why


@pytest.mark.parametrize("reason", Reason)
def test_no_end_tells_what_was_raised(reason: Reason) -> None:
    """Whatever the reason, neither the message of an end nor its error is told."""
    end = ended(reason, message="secret", error=ErrorRecord("SecretError", "secret", "secret.py, line 1"))
    assert why(end)
    assert "ecret" not in why(end)


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        ("hi", Outcome("hi")),
        (None, Outcome()),
        (7, Outcome()),
        ({}, Outcome()),
        ({"content": 7, "tool_calls": 7, "usage": 7, "finish_reason": 7}, Outcome()),
        ({"content": "hi", "finish_reason": "length"}, Outcome("hi", cut_off=True)),
        (
            {"usage": {"total_tokens": 3, "details": {}, "cost": 0.1, "all": True}},
            Outcome(usage={"total_tokens": 3}),
        ),
        (
            {
                "tool_calls": [
                    {"id": "c", "name": "add", "arguments": "{}"},
                    7,
                    {"name": "a"},
                    {"arguments": "{}"},
                ]
            },
            Outcome(calls=[Call("c", "add", "{}")]),
        ),
        (
            {"tool_calls": ({"id": None, "name": "add", "arguments": "{}"},)},
            Outcome(calls=[Call("call_0", "add", "{}")]),
        ),
    ],
)
def test_what_a_result_says(result: Any, outcome: Outcome) -> None:
    """A text is the answer, an object has its fields, and what does not fit is passed over."""
    assert outcome_of(result) == outcome
