"""Parse and print durations as people write them: `90`, `1.5h`, `7d`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_LONGEST: Final = 1e10
_WRITTEN: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|[smhdw]?)")
_FEW: Final = 10


def seconds(text: str) -> float:
    """Parse a duration, and return it in seconds.

    Raises:
        ValueError: The text is no duration.
    """
    found = _WRITTEN.fullmatch(text.strip())
    value = float(found[1]) * _UNITS[found[2] or "s"] if found else -1.0
    if not 0 <= value <= _LONGEST:
        raise ValueError(
            f"takes seconds, or a number with one of ms, s, m, h, d, w, as 90, 1.5h or 7d; got {text!r}"
        )
    return value


def brief(span: float) -> str:
    """Return a duration in one unit, the largest that fits into it at least once."""
    if span < _FEW:
        return f"{max(0.0, span):.3g}s"
    unit = max((unit for unit, size in _UNITS.items() if size <= span), key=_UNITS.__getitem__)
    return f"{int(span / _UNITS[unit])}{unit}"


def ago(when: datetime, now: datetime | None = None) -> str:
    """Return how long ago a moment was, or how long it is until then."""
    past = ((now or datetime.now(UTC)) - when).total_seconds()
    return f"{brief(past)} ago" if past >= 0 else f"in {brief(-past)}"


def moment(when: datetime) -> str:
    """Return a moment to the second, in UTC."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
