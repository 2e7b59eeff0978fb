"""What a token says."""

from __future__ import annotations

from typing import Any

import pytest

from trio_jobs.serving.fronts.said import Said, said_in


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("hi", Said("text", "hi")),
        ("", Said("text", "")),
        ({"reasoning": "hm"}, Said("reasoning", "hm")),
        ({"reasoning": "hm", "more": 1}, None),
        ({"reasoning": 1}, None),
        ({"other": "hm"}, None),
        ({}, None),
        (1, None),
        (["hi"], None),
    ],
)
def test_a_token_is_text_or_reasoning(token: Any, said: Said | None) -> None:
    """A text is of the answer, an object with just a text `reasoning` of that; all else says nothing."""
    assert said_in(token) == said
