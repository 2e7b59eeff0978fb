"""Durations as people write and read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from trio_jobs.cli.durations import ago, brief, seconds


@pytest.mark.parametrize(
    ("text", "value"),
    [("90", 90), ("1.5h", 5400), ("7d", 604800), ("2w", 1209600), ("250ms", 0.25), (".5s", 0.5), ("0", 0)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, value: float) -> None:
    """A number alone is seconds; a unit multiplies it."""
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "d", "-1", "7x", "nan", "inf", "1e3", "1 d", "9" * 30])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Other text is refused, with the right form."""
    with pytest.raises(ValueError, match="7d"):
        seconds(text)


@pytest.mark.parametrize(
    ("span", "text"),
    [(0, "0s"), (1.234, "1.23s"), (59.9, "59s"), (61, "1m"), (7200, "2h"), (86400 * 8, "1w")],
)
def test_spans_are_told_briefly(span: float, text: str) -> None:
    """A span is shown in its largest unit."""
    assert brief(span) == text


def test_past_and_future_are_told_apart() -> None:
    """A future time is shown with `in`, a past one with `ago`."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert ago(now - timedelta(minutes=5), now) == "5m ago"
    assert ago(now + timedelta(hours=2), now) == "in 2h"
