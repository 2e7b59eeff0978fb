"""What a token of a language model says: a text is a piece of its answer, an object may be of its reasoning.

This is the only statement of how such tokens are told apart, for the command line and the fronts of a server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, cast

_REASONING: Final = "reasoning"


class Said(NamedTuple):
    """What a token says.

    Attributes:
        kind: Whether it is of the answer, or of the reasoning before it.
        text: The text.
    """

    kind: Literal["text", "reasoning"]
    text: str


def said_in(token: object) -> Said | None:
    """Return what a token says; None if it is neither a text, nor an object with just `reasoning`, a text."""
    if isinstance(token, str):
        return Said("text", token)
    if not isinstance(token, Mapping):
        return None
    fields = cast("Mapping[str, Any]", token)
    text = fields.get(_REASONING) if len(fields) == 1 else None
    return Said(_REASONING, text) if isinstance(text, str) else None
