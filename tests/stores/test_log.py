"""One job's log against a list that forgets nothing: dense, bounded, and exact about what is gone."""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_jobs import Event, InvalidPayload, Kind, Retention
from trio_jobs._job import Progress
from trio_jobs.stores._log import Log, weigh

TRIMMED = {Kind.TOKEN, Kind.PROGRESS}
KINDS = sorted(set(Kind) - TRIMMED)
VALUES = st.lists(st.text("x", max_size=40), min_size=1, max_size=12)
STEPS = st.lists(
    st.tuples(st.sampled_from(sorted(TRIMMED)), VALUES) | st.tuples(st.sampled_from(KINDS), st.integers()),
    max_size=40,
)


def write(log: Log, every: list[Event], kind: Kind, data: Any, keep: Retention) -> None:
    """Write to the log, and to a list of all that was ever written."""
    seq = len(every) + 1
    if kind in TRIMMED:
        log.extend(seq % 5, kind, float(seq), data, keep)
        every += [Event(seq + n, seq % 5, kind, float(seq), value) for n, value in enumerate(data)]
    else:
        assert log.append(seq % 5, kind, float(seq), data) == seq
        every.append(Event(seq, seq % 5, kind, float(seq), data))


@given(
    STEPS,
    st.integers(1, 20),
    st.integers(60, 1000),
    st.lists(st.tuples(st.integers(-3, 200), st.integers(0, 30)), max_size=8),
)
def test_model(steps: list[tuple[Kind, Any]], events: int, size: int, reads: list[tuple[int, int]]) -> None:
    """After any writes, the log is what was written less its oldest tokens and progress, and within
    bounds."""
    keep = Retention(events=events, bytes=size, token_bytes=10**6)
    log, every = Log(), list[Event]()
    for kind, data in steps:
        before = log.read(0, 10**6)
        write(log, every, kind, data, keep)
        kept = log.read(0, 10**6)
        assert log.last_seq == len(every)

        # Nothing is made up, nothing comes back, and the order is that of the cursors.
        gone = set(range(1, len(every) + 1)) - {event.seq for event in kept}
        assert kept == [event for event in every if event.seq not in gone]
        assert not gone & {event.seq for event in every if event.kind not in TRIMMED}
        assert {event.seq for event in kept if event.seq <= len(before)} <= {
            event.seq for event in before
        } | {event.seq for event in every[len(before) :]}

        # The oldest go first, no more of them than has to be, and the bounds hold.
        tokens = [event for event in kept if event.kind in TRIMMED]
        lost = [seq for seq in gone if every[seq - 1].kind in TRIMMED]
        assert not tokens or max(lost, default=0) < tokens[0].seq
        assert len(tokens) <= events
        assert sum(sys.getsizeof(event.data) for event in tokens) <= size

        assert log.history() == [event for event in every if event.kind not in TRIMMED]
        for after, limit in reads:
            assert log.read(after, limit) == [event for event in kept if event.seq > after][:limit]


@given(st.integers(1, 50), st.integers(1, 300))
def test_no_more_is_trimmed_than_an_eighth(events: int, written: int) -> None:
    """At most an eighth of the bound is free after trimming, so what is kept is nearly what was promised."""
    log, every = Log(), list[Event]()
    for n in range(written):
        write(log, every, Kind.TOKEN, [n], Retention(events=events))
        assert min(n + 1, events - events // 8) <= len(log.read(0, 10**6)) <= events


def test_empty() -> None:
    """A log begins before 1, with nothing to read."""
    log = Log()
    assert log.last_seq == 0
    assert log.read(0, 10) == log.read(5, 10) == log.read(-5, 10) == log.history() == []


def test_reading_over_a_gap() -> None:
    """A reader behind the kept tokens gets the history, then the tokens; the missing cursors show the gap."""
    log, every, keep = Log(), list[Event](), Retention(events=2)
    write(log, every, Kind.SUBMITTED, "f", keep)
    write(log, every, Kind.STARTED, "w", keep)
    write(log, every, Kind.TOKEN, list("abcd"), keep)
    write(log, every, Kind.SAVED, 1, keep)
    write(log, every, Kind.TOKEN, ["e"], keep)
    assert [event.seq for event in log.read(0, 99)] == [1, 2, 6, 7, 8]
    assert [event.seq for event in log.read(0, 3)] == [1, 2, 6]
    assert [event.seq for event in log.read(1, 1)] == [2]
    assert [event.seq for event in log.read(3, 99)] == [6, 7, 8]
    assert log.read(8, 99) == log.read(9, 99) == log.read(0, 0) == []


def test_a_token_of_the_exact_limit() -> None:
    """A token of `token_bytes` passes; one byte more is refused, with all that came beside it."""
    fits = "x" * 100
    keep = Retention(token_bytes=sys.getsizeof(fits))
    log = Log()
    log.extend(1, Kind.TOKEN, 0.0, [fits], keep)
    with pytest.raises(
        InvalidPayload,
        match=rf"^a token of {keep.token_bytes + 1} bytes is over Retention.token_bytes={keep.token_bytes}$",
    ):
        log.extend(1, Kind.TOKEN, 0.0, ["a", fits + "x", "b"], keep)
    assert [event.data for event in log.read(0, 99)] == [fits]


def test_a_token_over_the_bytes_of_the_job() -> None:
    """A token that may be sent, but is more than a job may keep, takes all older ones with it, and
    goes too."""
    log, keep = Log(), Retention(bytes=500)
    log.extend(1, Kind.TOKEN, 0.0, ["a", "b"], keep)
    log.append(1, Kind.SAVED, 0.0, "kept")
    log.extend(1, Kind.TOKEN, 0.0, ["x" * 1000], keep)
    assert [(event.seq, event.data) for event in log.read(0, 99)] == [(3, "kept")]
    log.extend(1, Kind.TOKEN, 0.0, ["c"], keep)
    assert [(event.seq, event.data) for event in log.read(0, 99)] == [(3, "kept"), (5, "c")]


def test_progress_is_bounded_too() -> None:
    """The text of progress events counts: a job that reports long messages keeps no more than its bytes."""
    log, keep = Log(), Retention(bytes=100_000)
    for n in range(100):
        log.extend(1, Kind.PROGRESS, 0.0, [Progress(n, None, "x" * 10_000)], keep)
    kept = log.read(0, 1000)
    assert sum(len(event.data.message) for event in kept) <= keep.bytes


def test_a_value_that_grows_after_it_was_sent() -> None:
    """Weights are taken once, so a value that changes later does not upset the count."""
    log, keep = Log(), Retention(bytes=10_000)
    values: list[list[int]] = [[] for _ in range(20)]
    log.extend(1, Kind.TOKEN, 0.0, values, keep)
    for value in values:
        value.extend(range(1000))
    log.extend(1, Kind.TOKEN, 0.0, ["x" * 9_000], keep)
    log.extend(1, Kind.TOKEN, 0.0, ["y" * 9_000], keep)
    assert [event.data[0] for event in log.read(0, 99)] == ["y"]


@pytest.mark.parametrize(
    "hold",
    [
        lambda text: text,
        lambda text: text.encode(),
        lambda text: [text],
        lambda text: (1, [{"deep": [text]}]),
        lambda text: {text},
        lambda text: frozenset([text]),
        lambda text: {text: 1},
        lambda text: {1: text},
        lambda text: OrderedDict(a=text),
        lambda text: MappingProxyType({"a": text}),
        lambda text: deque([text]),
    ],
    ids=["str", "bytes", "list", "nested", "set", "frozenset", "key", "value", "ordered", "proxy", "deque"],
)
def test_weigh_follows(hold: Any) -> None:
    """What a value holds counts, wherever it holds it."""
    assert 100_000 <= weigh(hold("x" * 100_000)) < 110_000


def test_weigh_counts_once() -> None:
    """What is held twice, or holds itself, is counted once."""
    text = "x" * 100_000
    assert weigh([text, text]) < 101_000
    loop: list[Any] = [text]
    loop.append(loop)
    assert 100_000 <= weigh(loop) < 101_000


@pytest.mark.parametrize("value", [None, 0, 1.5, "x", b"y", True, object()])
def test_weigh_scalars(value: object) -> None:
    """A plain value weighs what Python says."""
    assert weigh(value) == sys.getsizeof(value)
