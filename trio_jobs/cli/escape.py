"""Make text of jobs harmless for terminals: control characters are escaped, and nothing is lost."""

from __future__ import annotations

import json
from typing import Any, Final

from .._common.error_text import escaped, one_line

__all__ = ["as_json", "lines", "one_line", "shown"]
_KEPT: Final = frozenset("\n\t")


def lines(text: str) -> str:
    """Return a text with its line ends and tabs; the rest as `one_line`."""
    return "".join(char if char in _KEPT or char.isprintable() else escaped(char) for char in text)


def as_json(value: Any) -> str:
    r"""Return a value as JSON on one line, with control characters as `\u` escapes.

    What JSON does not have is written as text.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(", ", ": "), default=str)
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def shown(value: Any) -> str:
    """Return a value that a job streamed or returned: text as it is, anything else as JSON."""
    return lines(value) if isinstance(value, str) else as_json(value)
