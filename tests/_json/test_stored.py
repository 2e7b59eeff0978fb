"""Records as JSON and back: each comes back equal, or is refused by name."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests._json.coding import Arguments, decode, numbers, texts, values
from trio_jobs import (
    Ended,
    ErrorRecord,
    InvalidPayload,
    Kind,
    Priority,
    Progress,
    Reason,
    Retry,
    Timeouts,
    handler,
)
from trio_jobs._json.stored import (
    DEFAULT_OPTIONS,
    decode_error,
    decode_event,
    decode_options,
    encode_error,
    encode_event,
    encode_metadata,
    encode_options,
    reason_of,
)
from trio_jobs.stores import Options
from trio_jobs.stores.submission import submission

errors = st.builds(ErrorRecord, texts, texts, texts)
ends = st.builds(Ended, st.sampled_from(Reason), st.none() | texts, st.none() | errors, st.none() | numbers)


@given(st.none() | errors)
def test_errors_come_back(error: ErrorRecord | None) -> None:
    """An error record comes back with all three fields, and so does the lack of one."""
    assert decode_error(encode_error(error)) == error


@given(
    st.tuples(st.sampled_from([Kind.RETRIED, Kind.FAILED, Kind.CANCELLED, Kind.EXPIRED]), ends)
    | st.tuples(st.just(Kind.PROGRESS), st.builds(Progress, numbers, st.none() | numbers, st.none() | texts))
    | st.tuples(st.sampled_from([Kind.TOKEN, Kind.SAVED, Kind.COMPLETED]), values)
    | st.tuples(st.sampled_from([Kind.SUBMITTED, Kind.STARTED, Kind.CANCEL_REQUESTED]), texts)
)
def test_events_come_back(event: tuple[Kind, Any]) -> None:
    """The data of an event of each kind comes back as an equal record."""
    kind, data = event
    assert decode_event(kind, decode(encode_event(kind, data))) == data


@pytest.mark.parametrize(
    ("kind", "what"), [(Kind.TOKEN, "a token"), (Kind.COMPLETED, "the result"), (Kind.SAVED, "a saved value")]
)
def test_an_event_says_what_was_refused(kind: Kind, what: str) -> None:
    """The error names the token, the result or the saved value."""
    with pytest.raises(InvalidPayload, match=f"^{what} holds NUL"):
        encode_event(kind, "\0")
    with pytest.raises(InvalidPayload, match="^progress holds NaN"):
        encode_event(Kind.PROGRESS, Progress(math.inf))


class OwnError(Exception): ...


@handler(retry=Retry(on=OwnError))
async def picky(job: object) -> None: ...


OWN = Arguments(picky).mark.options.retry.on
seconds = st.none() | st.integers(0, 2**53) | st.floats(0, allow_nan=False)
options = st.fixed_dictionaries(
    {},
    optional={
        "timeout": seconds,
        "retry": st.builds(
            Retry,
            attempts=st.integers(1, 2**80),
            initial=st.integers(0, 2**53) | st.floats(0, 1e300),
            factor=st.floats(1, math.inf),
            maximum=st.floats(0, 1e300),
            jitter=st.floats(0, 1),
            on=st.sampled_from([Exception, OWN]),
        ),
        "priority": st.sampled_from(Priority),
        "run_at": st.datetimes(timezones=st.timezones()),
        "tags": st.dictionaries(
            texts.filter(lambda text: len(text) <= 100), texts.filter(lambda text: len(text) <= 500)
        ),
        "metadata": st.dictionaries(texts, values),
        "owner": st.none() | texts,
        "when_unread": st.sampled_from(["continue", "pause", "cancel"]),
        "linger": st.floats(0, 1e300),
    },
)


async def nothing(job: object) -> None: ...


@given(options)
def test_options_come_back(given_options: dict[str, Any]) -> None:
    """Options come back equal, with infinities; an infinite timeout becomes none."""
    before = submission(nothing, (), given_options).options
    after = decode_options(encode_options(before, OWN), before.priority, before.owner, OWN)
    clocks = attrs.astuple(before.timeouts)
    assert attrs.astuple(after.timeouts) == tuple(None if one == math.inf else one for one in clocks)
    for options in (before, after):
        # In the hour that a clock is set back, times of different zones are never equal.
        at = None if options.run_at is None else options.run_at.timestamp()
        object.__setattr__(options, "run_at", at)
    assert attrs.evolve(after, timeouts=before.timeouts, metadata=before.metadata) == before


@pytest.mark.parametrize("offset", [-23.5, 0, 23.5])
@pytest.mark.parametrize("year", [1, 9999])
def test_the_first_and_the_last_moment(year: int, offset: float) -> None:
    """A time that no UTC datetime can hold is kept all the same."""
    zone = timezone(timedelta(hours=offset))
    month, day, hour = (1, 1, 0) if year == 1 else (12, 31, 23)
    before = Options(run_at=datetime(year, month, day, hour, tzinfo=zone))
    assert decode_options(encode_options(before, OWN), 2, None, OWN) == before


@pytest.mark.parametrize(("number", "alike"), [(7, True), (2**60, False), (3 * 2**60, False)])
def test_equal_options_are_each_written_as_they_are(number: int, *, alike: bool) -> None:
    """A number is written alike as int and as float where a float holds each one around it, and else as what
    it is, though an equal one was written before: files have digests of what is written."""
    kinds = (int, float) if number % 3 else (float, int)
    whole, real = sorted(
        encode_options(Options(timeouts=Timeouts(kind(number)), retry=Retry(initial=kind(number))), OWN)
        for kind in kinds
    )
    assert (whole == real) == alike


def test_huge_numbers_come_back_as_floats() -> None:
    """An int that no float equals comes back as the nearest float."""
    before = Options(timeouts=Timeouts(2**900 + 1), retry=Retry(2**80, initial=2**80 + 1))
    after = decode_options(encode_options(before, OWN), 2, None, OWN)
    assert after == Options(timeouts=Timeouts(2.0**900), retry=Retry(2**80, initial=2.0**80))


def test_an_endless_factor_comes_back() -> None:
    """An infinite factor, which JSON cannot hold, comes back: all waits after the first are the longest."""
    before = Options(retry=Retry(3, factor=math.inf))
    assert decode_options(encode_options(before, OWN), 2, None, OWN) == before


def test_default_options_come_back() -> None:
    """The default options have one encoding, and come back as the default. Files have digests of these bytes,
    and defaults stand for what an older file left out."""
    assert encode_options(Options(), OWN) == DEFAULT_OPTIONS
    assert DEFAULT_OPTIONS == (
        b'{"timeouts":{},"retry":{"initial":1.0,"factor":2.0,"maximum":60.0,"jitter":0.5},'
        b'"delay":0.0,"tags":{},"linger":10.0}'
    )
    assert decode_options("{}", 2, None, OWN) == Options(
        timeouts=Timeouts(None, None, None, None),
        retry=Retry(1, 1.0, 2.0, 60.0, 0.5, Exception),
        delay=0.0,
        run_at=None,
        tags={},
        when_unread="continue",
        linger=10.0,
    )
    assert decode_options(DEFAULT_OPTIONS, Priority.NORMAL, None, OWN) == Options()


@pytest.mark.parametrize("on", [ValueError, (OwnError,), lambda error: True])
def test_a_rule_that_is_code_is_refused(on: Any) -> None:
    """A retry rule that is a function is refused, and the error says where to put it."""
    with pytest.raises(InvalidPayload, match=r"keeps no code: set Retry.on in @handler\(retry=…\); got"):
        encode_options(Options(retry=Retry(on=on)), OWN)


def test_metadata_is_named_and_nothing_else_is_shown() -> None:
    """The error about metadata shows the metadata, and not how options are stored."""
    with pytest.raises(InvalidPayload, match=r"^metadata cannot be kept as JSON: .* got {'a': 1j}$"):
        encode_metadata(Options(metadata={"a": 1j}))
    assert encode_metadata(Options(metadata={"a": [1]})) == b'{"a":[1]}'
    assert encode_metadata(Options()) is None


def test_what_is_missing_has_a_default_and_what_is_not_known_is_passed_over() -> None:
    """Records of another version are read: a missing field has its default, an unknown one is ignored."""
    assert decode_options('{"new":1,"retry":{"attempts":3,"x":2}}', 2, None, OWN) == Options(retry=Retry(3))
    assert decode_options('{"when_unread":"sing"}', 2, None, OWN) == Options()
    error = {"type": "E", "new": 1}
    assert decode_error('{"type":"E","new":1}') == ErrorRecord("E", "", "")
    assert decode_event(Kind.FAILED, {"error": error, "x": 1}) == Ended(
        Reason.ERROR, None, ErrorRecord("E", "", "")
    )
    assert decode_event(Kind.PROGRESS, {"done": 2, "x": 1}) == Progress(2)


def test_logs_of_the_first_version() -> None:
    """The arrays of version 1 are read, as rows of a log are never rewritten."""
    value = ["error", "it failed", ["ValueError", "no", "Traceback"], None]
    assert decode_event(Kind.FAILED, value) == Ended(
        Reason.ERROR, "it failed", ErrorRecord("ValueError", "no", "Traceback")
    )
    assert decode_event(Kind.PROGRESS, [1, 2, "x"]) == Progress(1, 2, "x")
    assert decode_error('["ValueError","no","Traceback"]') == ErrorRecord("ValueError", "no", "Traceback")


def test_a_reason_of_another_version() -> None:
    """An unknown reason is part of the message, and the rest of the record is read."""
    ended = decode_event(Kind.FAILED, {"reason": "bored", "message": "so"})
    assert ended == Ended(Reason.ERROR, "so (for a reason that is not known here: bored)")
    assert reason_of(None, None) == (None, None)


@pytest.mark.parametrize("kind", [Kind.FAILED, Kind.PROGRESS])
def test_what_is_no_record(kind: Kind) -> None:
    """A value that is no record raises an error about that value."""
    with pytest.raises(ValueError, match="is an object; got 7"):
        decode_event(kind, 7)
