"""Server-sent events: a browser reads exactly the values that a job sends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.serving.served import Sent, parse
from tests.wire import BadRequest
from trio_jobs import Ended, ErrorRecord, Event, Kind, Reason
from trio_jobs.serving.sse import PING, cursor_of, encode_sse, ending, field, message

TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from("\r\n: \0\x0b\x1c\x85\u2028\u2029\ufeff"))
ATTACKS = [
    "\r\rdata: forged\r\r",
    "\n\nevent: completed\ndata: [DONE]\n\n",
    "a\r\nid: 9\r\nretry: 1",
    ":",
    " x",
]


def lines(text: str) -> str:
    """Return a text with each kind of line end as a browser has it."""
    return "\n".join(f"{text}.".splitlines())[:-1]


def an_event(kind: Kind, data: Any, seq: int = 7) -> Event:
    return Event(seq=seq, attempt=1, kind=kind, timestamp=0.0, data=data)


@given(st.sampled_from(ATTACKS) | TEXT)
def test_a_field_is_heard_as_it_was_said(text: str) -> None:
    """Any text in a field is read as that text, except its kind of line ends, and adds no field."""
    heard = parse(f"id: 1\nevent: token\n{field('data', text)}\n")
    assert heard == [Sent("1", "token", lines(text))]


@given(st.lists(st.sampled_from(ATTACKS) | TEXT, max_size=4))
def test_messages_are_heard_one_by_one(texts: list[str]) -> None:
    """Several messages are read each once, in order, with their cursors and names."""
    said = "".join(message("token", text, number) for number, text in enumerate(texts))
    wanted = [Sent(str(number), "token", lines(text)) for number, text in enumerate(texts)]
    assert parse(said) == wanted


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT, st.lists, max_leaves=5))
def test_a_token_is_heard_as_its_value(value: Any) -> None:
    """A token's data is the JSON of its value, on one line, and its id its cursor."""
    (heard,) = parse(encode_sse([an_event(Kind.TOKEN, value)], 6, 7, tracebacks=False).decode())
    assert (heard.id, heard.event, heard.value) == ("7", "token", value)
    assert len(heard.data.splitlines()) == 1


@given(st.sampled_from(ATTACKS) | TEXT, st.sampled_from([Kind.TOKEN, Kind.FAILED, Kind.RETRIED]))
def test_every_reader_sees_the_same_lines(text: str, kind: Kind) -> None:
    """Whichever characters a parser takes for line ends: none is between two fields, or in one."""
    data = text if kind is Kind.TOKEN else Ended(Reason.ERROR, text, ErrorRecord("E", text, text), 1.0)
    said = encode_sse([an_event(kind, data)], 6, 7, tracebacks=True).decode()
    assert said.splitlines() == said.removesuffix("\n").split("\n")


@given(st.sampled_from(ATTACKS) | TEXT, st.sampled_from([Kind.FAILED, Kind.EXPIRED]))
def test_a_failure_is_heard_as_one_message(text: str, kind: Kind) -> None:
    """Any error of a handler is one event `failed`, with its text behind `[ERROR] `."""
    ended = Ended(Reason.ERROR, text, ErrorRecord("ValueError", text, "secret"), None)
    (heard,) = parse(encode_sse([an_event(kind, ended)], 6, 7, tracebacks=True).decode())
    assert heard == Sent("7", "failed", f"[ERROR] {lines(text) or 'ValueError'}")


def test_how_a_job_ends() -> None:
    """A job that completed or was cancelled ends in the words of the older server."""
    assert ending(an_event(Kind.COMPLETED, 3)) == "[DONE]"
    assert ending(an_event(Kind.CANCELLED, Ended(Reason.USER, None, None, None))) == "[CANCELLED]"


@pytest.mark.parametrize("tracebacks", [True, False])
def test_a_retry_shows_a_traceback_only_if_it_may(tracebacks: bool) -> None:
    """The traceback of an attempt that is retried is sent only if tracebacks are enabled."""
    ended = Ended(Reason.ERROR, "no", ErrorRecord("ValueError", "no", "File secret.py"), 1.0)
    (heard,) = parse(encode_sse([an_event(Kind.RETRIED, ended)], 6, 7, tracebacks=tracebacks).decode())
    assert heard.value["error"]["message"] == "no"
    assert ("secret.py" in heard.data) is tracebacks


def test_a_gap_says_what_is_gone() -> None:
    """Missing events are a gap: the first and the last of them, and the cursor behind them."""
    (heard,) = parse(encode_sse([], 2, 9, tracebacks=False).decode())
    assert (heard.id, heard.event, json.loads(heard.data)) == ("9", "gap", {"first": 3, "last": 9})


def test_a_ping_is_no_event() -> None:
    """A ping is a comment, and dispatches no event."""
    assert parse(PING.decode()) == []


@pytest.mark.parametrize(
    ("text", "cursor"), [(None, None), ("", None), ("0", 0), ("17", 17), ("9" * 16, 10**16 - 1)]
)
def test_cursors(text: str | None, cursor: int | None) -> None:
    """A cursor is a whole number; a missing or empty one is None."""
    assert cursor_of(text) == cursor


@pytest.mark.parametrize("text", ["-1", "1.0", "x", "+1", " 1", "1_0", "\u0661", "9" * 17])
def test_what_is_no_cursor(text: str) -> None:
    """Any other text is refused, even if Python reads it as a number."""
    with pytest.raises(BadRequest, match="a cursor is a whole number"):
        cursor_of(text)
