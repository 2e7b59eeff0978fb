"""One job's log compared with a complete list: dense, bounded, and exact about missing events."""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from trio_jobs import Ended, ErrorRecord, Event, InvalidPayload, Kind, Progress, Reason, Retention
from trio_jobs.stores.log import Log, weigh

SNOOZES = 100  # see `Retention`
TRIMMED = {Kind.TOKEN, Kind.PROGRESS, Kind.READY, Kind.SAVED}
INPUTS = {Kind.INPUT, Kind.INPUTS_ENDED}
KINDS = sorted(set(Kind) - TRIMMED - INPUTS - {Kind.RETRIED, Kind.STEP})
VALUES = st.lists(st.text("x", max_size=40), min_size=1, max_size=12)
STEPS = st.lists(
    st.tuples(st.sampled_from(sorted(TRIMMED)), VALUES) | st.tuples(st.sampled_from(KINDS), st.integers()),
    max_size=40,
)

EPOCH = 1000.0


def log_of(keep: Retention) -> Log:
    """Return an empty log whose clock is the number of the newest event."""
    log = Log(keep, lambda: float(log.last_seq), EPOCH)
    return log


def write(log: Log, every: list[Event], kind: Kind, data: Any) -> None:
    """Write to the log, and to a list of everything written."""
    seq = len(every) + 1
    if kind in TRIMMED:
        if kind is Kind.TOKEN and len(data) == 1:
            log.send(data[0])
        else:
            log.extend(kind, data)
        attempt = every[-1].attempt if every else 0
        now = EPOCH + seq + len(data) - 1
        every += [Event(seq + n, attempt, kind, now, value) for n, value in enumerate(data)]
    else:
        assert log.append(seq % 5, kind, float(seq), data) == seq
        every.append(Event(seq, seq % 5, kind, EPOCH + seq, data))


def check_writer(log: Log, every: list[Event]) -> None:
    """Check that the log has the right writer, count of that attempt, and end."""
    starts = [place for place, event in enumerate(every) if event.kind is Kind.STARTED]
    since = every[starts[-1] + 1 :] if starts else every
    stops = [event for event in since if event.kind not in TRIMMED | {Kind.CANCEL_REQUESTED}]
    assert log.writer == (every[starts[-1]].attempt if starts and not stops else 0)
    assert log.appended == sum(event.kind in TRIMMED for event in since)
    ends = [event for event in every if event.kind not in TRIMMED | {Kind.STARTED, Kind.CANCEL_REQUESTED}]
    assert log.over == (ends[-1].kind.ends if ends else False)


@given(
    STEPS,
    st.integers(1, 20),
    st.integers(60, 1000),
    st.lists(st.tuples(st.integers(-3, 200), st.integers(0, 30)), max_size=8),
)
@example([(Kind.STARTED, 0), (Kind.CANCEL_REQUESTED, 0), (Kind.TOKEN, ["x"]), (Kind.FAILED, 0)], 9, 99, [])
def test_model(steps: list[tuple[Kind, Any]], events: int, size: int, reads: list[tuple[int, int]]) -> None:
    """After any writes, the log is what was written without its oldest tokens, progress and saved values, but
    with the last saved one, and within bounds."""
    keep = Retention(events=events, bytes=size, token_bytes=10**6)
    log, every = log_of(keep), list[Event]()
    check_writer(log, every)
    for kind, data in steps:
        before = log.read(0, 10**6)
        write(log, every, kind, data)
        check_writer(log, every)
        kept = log.read(0, 10**6)
        assert log.last_seq == len(every)

        # Nothing is made up, nothing comes back, and the order is that of the cursors.
        gone = set(range(1, len(every) + 1)) - {event.seq for event in kept}
        assert kept == [event for event in every if event.seq not in gone]
        saved = max((event.seq for event in every if event.kind is Kind.SAVED), default=0)
        assert not gone & {event.seq for event in every if event.kind not in TRIMMED or event.seq == saved}
        assert {event.seq for event in kept if event.seq <= len(before)} <= {
            event.seq for event in before
        } | {event.seq for event in every[len(before) :]}

        # The oldest go first, no more of them than has to be, and the bounds hold.
        may_go = [event for event in kept if event.kind in TRIMMED and event.seq != saved]
        tokens = [event for event in may_go if event.kind is not Kind.SAVED]
        lost = [seq for seq in gone if every[seq - 1].kind in TRIMMED]
        assert not tokens or max(lost, default=0) < tokens[0].seq
        assert len(may_go) <= events
        assert sum(sys.getsizeof(event.data) for event in may_go) <= size

        assert log.history() == [event for event in kept if event.kind not in TRIMMED - {Kind.SAVED}]
        weights = sum(sys.getsizeof(event.data) for event in kept if event.kind in TRIMMED)
        assert log.bytes == weights
        for after, limit in reads:
            assert log.read(after, limit) == [event for event in kept if event.seq > after][:limit]


@given(st.integers(1, 50), st.integers(1, 300))
def test_no_more_is_trimmed_than_an_eighth(events: int, written: int) -> None:
    """At most an eighth of the bound is free after trimming."""
    log, every = log_of(Retention(events=events)), list[Event]()
    for n in range(written):
        write(log, every, Kind.TOKEN, [n])
        assert min(n + 1, events - events // 8) <= len(log.read(0, 10**6)) <= events


@pytest.mark.parametrize(("kind", "beside"), [(Kind.TOKEN, 0), (Kind.PROGRESS, 0), (Kind.SAVED, 1)])
def test_exactly_the_bounds_may_stay(kind: Kind, beside: int) -> None:
    """Nothing is dropped within the bounds, and beyond one, an eighth of it is dropped; the last saved value
    does not count."""
    one = sys.getsizeof("x")
    for keep in (Retention(events=72), Retention(bytes=72 * one)):
        log = log_of(keep)
        for n in range(1, 73 + beside):
            log.extend(kind, ["x"])
            assert len(log.read(0, 99)) == n
        log.extend(kind, ["x"])
        assert [event.seq for event in log.read(0, 99)] == [*range(11, 74 + beside)]


def test_empty() -> None:
    """A log begins before 1, and is empty."""
    log = log_of(Retention())
    assert log.last_seq == 0
    assert log.read(0, 10) == log.read(5, 10) == log.read(-5, 10) == log.history() == []


def test_reading_over_a_gap() -> None:
    """A reader behind the kept tokens gets the history, then the tokens; the missing cursors show the gap."""
    log, every = log_of(Retention(events=2)), list[Event]()
    write(log, every, Kind.SUBMITTED, "f")
    write(log, every, Kind.STARTED, "w")
    write(log, every, Kind.TOKEN, list("abcd"))
    write(log, every, Kind.SAVED, [1])
    write(log, every, Kind.TOKEN, ["e"])
    assert [event.seq for event in log.read(0, 99)] == [1, 2, 6, 7, 8]
    assert [event.seq for event in log.read(0, 3)] == [1, 2, 6]
    assert [event.seq for event in log.read(1, 1)] == [2]
    assert [event.seq for event in log.read(3, 99)] == [6, 7, 8]
    assert log.read(8, 99) == log.read(9, 99) == log.read(0, 0) == []


def test_a_token_of_the_exact_limit() -> None:
    """A token of `token_bytes` is accepted; one byte more is refused, with the whole batch."""
    fits = "x" * 100
    keep = Retention(token_bytes=sys.getsizeof(fits))
    log = log_of(keep)
    log.extend(Kind.TOKEN, [fits])
    with pytest.raises(
        InvalidPayload,
        match=rf"^a token of {keep.token_bytes + 1} bytes is over Retention.token_bytes={keep.token_bytes}$",
    ):
        log.extend(Kind.TOKEN, ["a", fits + "x", "b"])
    with pytest.raises(InvalidPayload, match=f"{keep.token_bytes + 1} bytes"):
        log.send(fits + "x")
    log.send(fits)
    assert [event.data for event in log.read(0, 99)] == [fits, fits]


@pytest.mark.parametrize("kind", [Kind.SAVED, Kind.PROGRESS])
def test_the_limit_of_a_token_is_for_tokens(kind: Kind) -> None:
    """The limit of a token does not apply to other events."""
    log = log_of(Retention(token_bytes=100))
    log.extend(kind, ["x" * 1000])
    assert log.last_seq == 1


def test_a_token_over_the_bytes_of_the_job() -> None:
    """A token within its limit, but over that of the job, drops all older ones and itself."""
    log = log_of(Retention(bytes=500))
    log.extend(Kind.TOKEN, ["a", "b"])
    log.extend(Kind.SAVED, ["kept"])
    log.extend(Kind.TOKEN, ["x" * 1000])
    assert [(event.seq, event.data) for event in log.read(0, 99)] == [(3, "kept")]
    log.extend(Kind.TOKEN, ["c"])
    assert [(event.seq, event.data) for event in log.read(0, 99)] == [(3, "kept"), (5, "c")]


def test_progress_is_bounded_too() -> None:
    """The text of progress counts: a job that reports long messages keeps no more than its bytes."""
    keep = Retention(bytes=100_000)
    log = log_of(keep)
    for n in range(100):
        log.extend(Kind.PROGRESS, [Progress(n, None, "x" * 10_000)])
    kept = log.read(0, 1000)
    assert sum(len(event.data.message) for event in kept) <= keep.bytes


def test_a_value_that_grows_after_it_was_sent() -> None:
    """Weights are measured once, so a value that changes later does not change the sum."""
    log = log_of(Retention(bytes=10_000))
    values: list[list[int]] = [[] for _ in range(20)]
    log.extend(Kind.TOKEN, values)
    for value in values:
        value.extend(range(1000))
    log.extend(Kind.TOKEN, ["x" * 9_000])
    log.extend(Kind.TOKEN, ["y" * 9_000])
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
    """The contents of a value count, in any container."""
    assert 100_000 <= weigh(hold("x" * 100_000)) < 110_000


def test_weigh_counts_once() -> None:
    """A value that is contained twice, or in itself, counts once."""
    text = "x" * 100_000
    assert weigh([text, text]) < 101_000
    loop: list[Any] = [text]
    loop.append(loop)
    assert 100_000 <= weigh(loop) < 101_000


@pytest.mark.parametrize("value", [None, 0, 1.5, "x", b"y", True, object()])
def test_weigh_scalars(value: object) -> None:
    """The weight of a plain value is Python's size of it."""
    assert weigh(value) == sys.getsizeof(value)


def test_size() -> None:
    """The size of a log is that of its values, the texts of its errors, and a constant for each event."""
    log = log_of(Retention(events=4))
    assert log.size == log.bytes == 0
    log.append(0, Kind.SUBMITTED, 0.0, "h")
    event = log.size
    assert event >= 100
    record = ErrorRecord("ValueError", "m" * 100, "t" * 1000)
    log.append(1, Kind.RETRIED, 0.0, Ended(Reason.ERROR, "message", record, delay=1.0))
    log.append(2, Kind.RETRIED, 0.0, Ended(Reason.SHUTDOWN, delay=0.0))
    assert log.size == 3 * event + 1100
    for n in range(9):
        log.extend(Kind.TOKEN, [n])
    log.extend(Kind.SAVED, ["saved"])
    kept = log.read(0, 99)
    assert 3 < len(kept) < 12
    values = sum(sys.getsizeof(one.data) for one in kept[3:])
    assert log.bytes == values
    assert log.size == len(kept) * event + values + 1100


def snooze(log: Log, attempts: int, first: int = 1) -> None:
    """Let attempts begin and snooze, each with a token."""
    for attempt in range(first, first + attempts):
        log.append(attempt, Kind.STARTED, 0.0, "w")
        log.extend(Kind.TOKEN, [f"t{attempt}"])
        log.append(attempt, Kind.RETRIED, 0.0, Ended(Reason.SNOOZED, delay=1.0))


def test_old_snoozes_go() -> None:
    """Of a job that snoozes without end the newest snoozes are kept, each with the start that follows it; its
    first start, other ends of attempts, and the tokens stay."""
    log = log_of(Retention())
    log.append(0, Kind.SUBMITTED, 0.0, "h")
    snooze(log, 30)
    log.append(31, Kind.STARTED, 0.0, "w")
    log.append(31, Kind.RETRIED, 0.0, Ended(Reason.ERROR, delay=1.0))
    snooze(log, 1000, 32)
    history = log.history()
    assert len(history) <= 2 * 125 + 5
    assert [event.data for event in log.read(0, 10**6) if event.kind is Kind.TOKEN] == [
        *(f"t{attempt}" for attempt in range(1, 31)),
        *(f"t{attempt}" for attempt in range(32, 1032)),
    ]
    assert [event.kind for event in history[:3]] == [Kind.SUBMITTED, Kind.STARTED, Kind.RETRIED]
    assert [event.data.reason for event in history if event.kind is Kind.RETRIED].count(Reason.ERROR) == 1
    snoozed = [event for event in history if event.kind is Kind.RETRIED][1:]
    assert [event.attempt for event in snoozed] == [*range(1032 - len(snoozed), 1032)]
    assert SNOOZES <= len(snoozed) <= SNOOZES + 25
    assert log.last_seq == 1 + 3 * 1030 + 2
    everything = log.read(0, 10**6)
    for after in range(0, log.last_seq + 2, 7):
        assert log.read(after, 5) == [event for event in everything if event.seq > after][:5]


def test_old_snoozes_go_many_at_a_time() -> None:
    """A log is searched for old snoozes at each 25th attempt only, so that each costs little."""
    log, kept = log_of(Retention()), list[int]()
    for attempt in range(1, 152):
        snooze(log, 1, attempt)
        kept.append(sum(event.kind is Kind.RETRIED for event in log.history()))
    assert kept == [*range(1, 125), *range(101, 126), 101, 102]


def test_snoozes_and_tokens_go_together() -> None:
    """Folding and trimming are independent: both bounds hold in any order."""
    log = log_of(Retention(events=40))
    log.append(0, Kind.SUBMITTED, 0.0, "h")
    snooze(log, 2000)
    tokens = [event.data for event in log.read(0, 10**6) if event.kind is Kind.TOKEN]
    assert tokens == [f"t{attempt}" for attempt in range(2001 - len(tokens), 2001)]
    assert 35 <= len(tokens) <= 40
    assert len(log.history()) <= 2 * 125 + 3
    assert [event.kind for event in log.history()[:2]] == [Kind.SUBMITTED, Kind.STARTED]
    assert log.size < 400 * 200


def test_the_last_saved_value_neither_goes_nor_makes_others_go() -> None:
    """The last saved value of any size stays, and tokens stay beside it; once there is a newer one it counts,
    and is dropped."""
    log = log_of(Retention(bytes=10_000))
    log.extend(Kind.TOKEN, ["a"])
    for number in range(100):
        log.extend(Kind.SAVED, [str(number) * 50_000])
        log.extend(Kind.TOKEN, [number])
    kept = log.read(0, 10**6)
    assert [event.data[:2] for event in kept if event.kind is Kind.SAVED] == ["99"]
    assert [event.data for event in kept if event.kind is Kind.TOKEN] == [98, 99]
    assert log.bytes < 100_200


def test_a_saved_value_that_lies_far_back() -> None:
    """A value that was the last one until the events around it were dropped can then be dropped."""
    log = log_of(Retention(events=8))
    log.extend(Kind.SAVED, ["first"])
    for number in range(30):
        log.extend(Kind.TOKEN, [number])
    assert log.read(0, 1)[0].data == "first"
    log.extend(Kind.SAVED, ["second"])
    for number in range(30, 60):
        log.extend(Kind.TOKEN, [number])
    assert [event.data for event in log.history()] == ["second"]


def test_tokens() -> None:
    """`tokens` returns the values behind a cursor up to a note or a limit, and none behind a gap."""
    log = log_of(Retention(events=4))
    log.append(1, Kind.STARTED, 0.0, "w")
    log.extend(Kind.TOKEN, ["a", "b"])
    log.extend(Kind.SAVED, ["saved"])
    log.send("c")
    assert [log.tokens(after, 9) for after in range(6)] == [[], ["a", "b"], ["b"], [], ["c"], []]
    assert log.tokens(1, 1) == ["a"]
    log.extend(Kind.TOKEN, ["d", "e"])
    assert log.tokens(0, 9) == []
    assert log.tokens(5, 9) == ["d", "e"]
    log.append(1, Kind.RETRIED, 0.0, Ended(Reason.ERROR, delay=0.0))
    assert log.tokens(5, 9) == ["d", "e"]
    bare = log_of(Retention())
    bare.send("a")
    assert bare.tokens(0, 9) == ["a"]


async def test_those_who_wait_are_woken() -> None:
    """Each write wakes all waiting tasks, and so does the removal of the job."""
    log = log_of(Retention())
    log.append(1, Kind.STARTED, 0.0, "w")  # nobody waits yet

    def forget() -> None:
        log.clear()
        assert log.read(0, 9) == []

    log_of(Retention()).clear()
    woken = list[int]()

    async def wait(number: int) -> None:
        with trio.testing.assert_checkpoints():
            await log.wait()
        woken.append(number)

    writes: list[Callable[[], object]] = [
        lambda: log.append(1, Kind.CANCEL_REQUESTED, 0.0, None),
        lambda: log.extend(Kind.TOKEN, ["a", "b"]),
        lambda: log.extend(Kind.SAVED, ["a"]),
        lambda: log.send("a"),
        forget,
    ]
    for write in writes:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, 1)
            nursery.start_soon(wait, 2)
            await wait_all_tasks_blocked()
            assert woken == []
            write()
            await wait_all_tasks_blocked()
            assert sorted(woken) == [1, 2]
            woken.clear()


# ---------------------------------------------------------------- inputs and steps

GONE = {Kind.TOKEN, Kind.PROGRESS, Kind.READY, Kind.SAVED, Kind.INPUT}  # what may be trimmed
ACTS = st.lists(
    st.tuples(st.sampled_from(["token", "input", "save", "take", "step"]), VALUES, st.integers(0, 12)),
    max_size=40,
)


@given(ACTS, st.integers(1, 20), st.integers(60, 1000), st.integers(0, 60))
def test_inputs_model(acts: list[tuple[str, list[str], int]], events: int, size: int, end: int) -> None:
    """Inputs stay until they are consumed and are trimmed with the tokens then; steps and the end stay."""
    keep = Retention(events=events, bytes=size, token_bytes=10**6)
    log, every, consumed, ended, fixed = log_of(keep), list[Event](), 0, 0, 0
    log.append(3, Kind.STARTED, 0.0, "w")
    every.append(Event(1, 3, Kind.STARTED, EPOCH, "w"))

    def wrote(kind: Kind, values: list[Any], received: int | None = None) -> None:
        now = EPOCH + len(every) + len(values)
        every.extend(Event(len(every) + 1, 3, kind, now, value, received) for value in values)

    for number, (act, values, back) in enumerate(acts):
        if number == end and (ended := log.end_inputs(3, len(every) + 1)):
            wrote(Kind.INPUTS_ENDED, [None])
        if act == "token":
            log.extend(Kind.TOKEN, values)
            wrote(Kind.TOKEN, values)
        elif act == "input" and not ended:
            last = len(every) + len(values)
            assert log.add_inputs(3, last, values, [*map(sys.getsizeof, values)]) == last
            wrote(Kind.INPUT, values)
        elif act == "save":
            inputs = [event.seq for event in every if event.kind is Kind.INPUT][-1 - back :]
            consumed = max(consumed, inputs[0] if inputs else 0)
            log.extend(Kind.SAVED, values, inputs[0] if inputs else 0)
            wrote(Kind.SAVED, values, consumed)
        elif act == "take":
            inputs = [event.seq for event in every if event.kind is Kind.INPUT][-1 - back :]
            consumed = max(consumed, inputs[0] if inputs else 0)
            log.consume(consumed)
        elif act == "step":
            log.extend(Kind.STEP, values)
            wrote(Kind.STEP, values)
            fixed += sum(map(sys.getsizeof, values))

        kept = log.read(0, 10**6)
        assert log.last_seq == len(every)
        assert log.writer == 3
        assert not log.over
        sent = {Kind.INPUT, Kind.INPUTS_ENDED}
        assert log.appended == sum(event.kind not in sent for event in every[1:])
        there = {event.seq for event in kept}
        assert kept == [event for event in every if event.seq in there]
        saved = max((event.seq for event in every if event.kind is Kind.SAVED), default=0)
        free = [
            event
            for event in every
            if event.kind in GONE
            and event.seq != saved
            and not (event.kind is Kind.INPUT and event.seq > consumed)
        ]
        gone = [event for event in every if event.seq not in there]
        assert [event for event in gone if event not in free] == []
        left = [event for event in free if event.seq in there]
        assert len(left) <= events
        assert sum(sys.getsizeof(event.data) for event in left) <= size

        open_ones = [event for event in every if event.kind is Kind.INPUT and event.seq > consumed]
        found = log.inputs
        assert {*found.weights} == {event.seq for event in open_ones}
        assert found.size == sum(sys.getsizeof(event.data) for event in open_ones)
        assert found.consumed == consumed
        assert found.last == max([0, *(event.seq for event in every if event.kind in sent)])
        assert found.state() == (len(open_ones), 0, found.size, bool(ended))
        heard = [event for event in kept if event.kind in sent]
        for after, limit in ((0, 10**6), (0, 2), (back, 3), (consumed, 10**6), (log.last_seq, 1)):
            wanted = [event for event in heard if event.seq > after][:limit]
            assert log.read_inputs(after, limit) == wanted
            found_there = [(seq, one.kind, one.data) for seq, one in log.inputs_behind(after, limit)]
            assert found_there == [(event.seq, event.kind, event.data) for event in wanted]
        assert log.history() == [event for event in kept if event.kind not in GONE - {Kind.SAVED}]
        here = [event for event in kept if event in free or event.seq == saved]
        assert log.bytes == sum(sys.getsizeof(event.data) for event in here)
        assert log.size == log.bytes + fixed + found.size + 150 * len(kept)


def test_what_is_trimmed_of_inputs() -> None:
    """Exactly the consumed inputs count, and go with the tokens, the oldest first, by an eighth."""
    log = log_of(Retention(events=8))
    log.append(1, Kind.STARTED, 0.0, "w")
    for n in range(20):
        log.add_inputs(1, 0.0, [n], [sys.getsizeof(n)])
    log.extend(Kind.TOKEN, [*range(8)])
    assert [event.seq for event in log.read(0, 99)] == [*range(1, 30)]
    log.consume(9)
    assert [event.seq for event in log.read(0, 99)] == [1, *range(10, 22), *range(23, 30)]
    assert log.read_inputs(0, 99) == log.read(1, 12)
    log.consume(9)
    log.consume(3)
    assert log.inputs.consumed == 9
    other = log_of(Retention())
    other.consume(5)  # it has none
    assert other.inputs.consumed == 0
    log.consume(21)
    assert [event.seq for event in log.read(0, 99)] == [1, *range(23, 30)]
    assert log.read_inputs(0, 99) == []


def test_ids_go_with_the_inputs() -> None:
    """An id is known as long as the last of its inputs is there, or one that came later."""
    log = log_of(Retention(events=8))
    log.append(1, Kind.STARTED, 0.0, "w")
    for n in range(6):
        seq = log.add_inputs(1, 0.0, [n, n], [28, 28])
        log.inputs.ids[f"{n}"] = seq, 2
    log.consume(9)
    assert [*log.inputs.ids] == [*"012345"]
    log.consume(10)
    assert [event.seq for event in log.read_inputs(0, 99)] == [*range(4, 14)]
    assert [*log.inputs.ids] == [*"12345"]
    log.send("token")
    assert [*log.inputs.ids] == [*"12345"]
    log.send("token")
    assert [event.seq for event in log.read_inputs(0, 99)] == [*range(6, 14)]
    assert [*log.inputs.ids] == [*"2345"]
    log.consume(13)
    for n in range(9):
        log.extend(Kind.TOKEN, [n])
    assert log.inputs.ids == {}
    assert log.inputs.seqs == []


def test_steps_are_bounded() -> None:
    """One result too many, or too large, is refused, and nothing of it is written; each counts once."""
    one = sys.getsizeof("x")
    for keep in (Retention(steps=3), Retention(step_bytes=3 * one)):
        log = log_of(keep)
        log.append(1, Kind.STARTED, 0.0, "w")
        log.extend(Kind.STEP, ["x", "x"])
        before = log.size
        for values in (["x", "x"], ["x", "x", "x"]):
            with pytest.raises(InvalidPayload, match="step"):
                log.extend(Kind.STEP, values)
        assert (log.last_seq, log.size) == (3, before)
        log.extend(Kind.STEP, ["x"])
        with pytest.raises(InvalidPayload, match="step"):
            log.extend(Kind.STEP, ["x"])
        assert [event.kind for event in log.history()] == [Kind.STARTED, *[Kind.STEP] * 3]
        assert log.bytes == 0


def test_old_waits_go_and_what_was_said_stays() -> None:
    """Of waits and snoozes together the newest are kept; the inputs that lie between an old one and the start
    behind it stay, and so does an attempt that ended otherwise."""
    log = log_of(Retention())
    log.append(0, Kind.SUBMITTED, 0.0, "h")
    log.append(1, Kind.STARTED, 0.0, "w")
    reasons = [Reason.AWAITING_INPUT, Reason.SNOOZED, Reason.AWAITING_INPUT, Reason.ERROR]
    for attempt in range(1, 301):
        log.append(attempt, Kind.RETRIED, 0.0, Ended(reasons[attempt % 4], delay=1.0), attempt)
        log.add_inputs(attempt, 0.0, [attempt], [28])
        log.append(attempt + 1, Kind.STARTED, 0.0, "w")
        assert log.appended == 0
        assert log.writer == attempt + 1
    inputs = log.read_inputs(0, 10**6)
    assert [event.data for event in inputs] == [*range(1, 301)]
    ends = [event for event in log.history() if event.kind is Kind.RETRIED]
    assert all(event.received == event.attempt for event in ends)
    errors = [event.attempt for event in ends if event.data.reason is Reason.ERROR]
    assert errors == [*range(3, 301, 4)]
    waits = [event.attempt for event in ends if event.data.reason is not Reason.ERROR]
    assert waits == [attempt for attempt in range(1, 301) if attempt % 4 != 3][-len(waits) :]
    assert SNOOZES <= len(waits) <= SNOOZES + 25
    starts = [event.attempt for event in log.history() if event.kind is Kind.STARTED]
    assert starts == [1, *(event.attempt + 1 for event in ends)]


async def test_who_listens_is_woken() -> None:
    """Inputs, the end of them, and the end of the log wake who listens; a token does not."""
    log = log_of(Retention())
    log.append(1, Kind.STARTED, 0.0, "w")
    woken = list[int]()

    async def listen() -> None:
        with trio.testing.assert_checkpoints():
            await log.listen()
        woken.append(log.last_seq)

    acts: list[tuple[Callable[[], object], list[int]]] = [
        (lambda: log.add_inputs(1, 0.0, ["a", "b"], [50, 50]), [3, 3]),
        (lambda: log.end_inputs(1, 0.0), [5, 5]),
        (log.clear, [6, 6]),
    ]
    for act, seqs in acts:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            nursery.start_soon(listen)
            await wait_all_tasks_blocked()
            log.send("token")
            await wait_all_tasks_blocked()
            assert woken == []
            act()
            await wait_all_tasks_blocked()
            assert len(woken) == len(seqs)
            woken.clear()
    assert log.read_inputs(0, 9) == []
    other = log_of(Retention())
    other.clear()
    assert other.inputs is log_of(Retention()).inputs
