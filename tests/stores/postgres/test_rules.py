"""The rules that are written once more in SQL decide as those in Python do."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stores.postgres.in_sql import schema_in
from tests.stores.postgres.parts import decode, decode_event
from trio_jobs import (
    Ended,
    ErrorRecord,
    IllegalTransition,
    InvalidPayload,
    Kind,
    Reason,
    Restart,
    Retention,
    State,
)
from trio_jobs.stores import TRANSITIONS, Transition
from trio_jobs.stores.contract import Outcome
from trio_jobs.stores.postgres.writing import outcome_of
from trio_jobs.stores.rules import Restarting, advance, check_steps, conclude

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9)
counts = st.integers(0, 9)
seconds = st.floats(0, 1000, allow_subnormal=False)
errors = st.none() | st.builds(ErrorRecord, texts, texts, texts)
reasons = st.sampled_from(Reason)
ends = st.builds(Ended, reasons, st.none() | texts, errors, st.none() | seconds | st.just(math.inf), counts)
rules = st.builds(
    Restart,
    seconds,
    st.floats(1, 1e9),
    seconds,
    seconds,
    st.integers(1, 9),
    st.integers(1, 10**6) | st.floats(0.1, 9e5),
)


@pytest.fixture(scope="module")
def db(postgres_server: Any) -> Iterator[psycopg.Connection[Any]]:
    """Return a connection to a schema."""
    with schema_in(postgres_server) as connection:
        yield connection


def asked(db: psycopg.Connection[Any], call: str, *values: Any) -> Any:
    """Return what a function returns."""
    row = db.execute(f"SELECT * FROM trio_jobs.{call}".encode(), values).fetchone()  # noqa: S608  # ours
    assert row is not None
    return row[0] if len(row) == 1 else row


@st.composite
def outcomes(draw: st.DrawFn) -> Outcome:
    how = draw(
        st.sampled_from([Transition.FAILED, Transition.CANCELLED, Transition.RETRIED, Transition.COMPLETED])
    )
    ended = None if how is Transition.COMPLETED else draw(ends)
    return Outcome(how, ended=ended, received=draw(st.none() | counts))


@given(
    outcome=outcomes(),
    asks=st.booleans(),
    message=st.none() | texts,
    last_input=counts,
    before=st.none() | st.tuples(reasons, counts),
    service=st.tuples(rules, seconds, counts),
)
def test_ends(
    db: psycopg.Connection[Any],
    outcome: Outcome,
    asks: bool,
    message: str | None,
    last_input: int,
    before: tuple[Reason, int] | None,
    service: tuple[Restart, float, int],
) -> None:
    """Whatever ends an attempt means the same for its job."""
    restarted = outcome.ended is not None and outcome.ended.reason is Reason.RESTARTED
    if (
        outcome.ended is not None and outcome.ended.reason is Reason.WORKER_LOST
    ):  # the sweep always says something
        outcome.ended = attrs.evolve(outcome.ended, message=outcome.ended.message or "lost")
    wanted = conclude(
        outcome,
        asked=asks,
        message=message,
        last_input=last_input,
        before=None if before is None else Ended(before[0], repeats=before[1]),
        service=Restarting(*service) if restarted else None,
    )
    rule, ran, restarts = service
    how, ended, delay, keeps_rank, unspent = asked(
        db, "conclude(%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        json.dumps(outcome_of(outcome)), asks, message, last_input, *(before or (None, 0)),
        json.dumps(attrs.asdict(rule)) if restarted else None, ran, restarts,
    )  # fmt: skip
    assert (how, delay, keeps_rank, unspent) == (
        wanted.transition, wanted.delay, wanted.keeps_rank, wanted.unspent,
    )  # fmt: skip
    if wanted.ended is None:
        assert ended is None
    else:
        text = asked(db, "ended_text(%s)", json.dumps(ended))
        assert text.startswith(f'{{"reason":"{wanted.ended.reason}"')  # as logs are searched for it
        assert decode_event(Kind.RETRIED, decode(text)) == wanted.ended


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("how", Transition)
def test_transitions(db: psycopg.Connection[Any], state: State, how: Transition) -> None:
    """What may follow what is the same."""
    try:
        wanted: str | None = advance(state, how)
    except IllegalTransition:
        wanted = None
    try:
        found = asked(db, "next_state(%s, %s)", state, how)
    except psycopg.errors.RaiseException:
        found = None
    db.rollback()
    assert found == wanted
    assert (wanted is not None) == (how in TRANSITIONS[state])


@given(counts, counts, st.lists(counts, min_size=1, max_size=9), st.integers(1, 9), st.integers(1, 40))
def test_steps(
    db: psycopg.Connection[Any], count: int, size: int, sizes: Sequence[int], steps: int, step_bytes: int
) -> None:
    """A step is refused for the same reason."""
    keep = Retention(steps=steps, step_bytes=step_bytes)
    wanted = None
    try:
        check_steps(count, size, sizes, keep)
    except InvalidPayload as error:
        wanted = str(error)
    found = asked(
        db,
        "check_steps(%s, %s, %s, %s, %s)",
        count,
        size,
        len(sizes),
        sum(sizes),
        json.dumps(attrs.asdict(keep)),
    )
    assert found == wanted


@given(st.floats(1e-4, 999_999) | st.integers(1, 999_999).map(float) | st.just(0.0))
def test_numbers(db: psycopg.Connection[Any], number: float) -> None:
    """Messages show numbers alike."""
    assert asked(db, "short(%s)", number) == f"{number:g}"
