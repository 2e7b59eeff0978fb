"""The lifecycle table: which transitions it allows and refuses, and that it is the one of the design."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from trio_jobs import Kind, Reason, State
from trio_jobs._common.states import KEEPS_RANK, UNFINISHED, StateName
from trio_jobs.stores import KIND_OF, TRANSITIONS, UNSPENT, Transition, sources
from trio_jobs.testing.fold import NEXT

LIFECYCLE = Path(__file__).parents[2] / "docs" / "lifecycle.svg"


def test_the_table_is_the_designs() -> None:
    """The table holds the nine legal steps of the design, and no tenth."""
    found = {
        (state.value, why.value): after.value
        for state, row in TRANSITIONS.items()
        for why, after in row.items()
    }
    assert found == NEXT
    assert set(TRANSITIONS) == set(State)


def test_type_checkers_know_the_states_by_name() -> None:
    """What type checkers take for a state is the value of one, and the other way round."""
    assert get_args(StateName) == tuple(State)


def test_what_is_not_finished() -> None:
    """A job has ended exactly if its state has no transition."""
    assert {State.QUEUED, State.RUNNING, State.RETRYING} == UNFINISHED
    assert {state for state in State if state.over} == {State.COMPLETED, State.FAILED, State.CANCELLED}


@pytest.mark.parametrize("words", [State, Transition, Reason])
def test_a_word_is_its_name(words: type[State | Transition | Reason]) -> None:
    """The stored word of a state, transition or reason is its name in lower case, and must not change."""
    assert [str(word) for word in words] == [word.name.lower() for word in words]


@pytest.mark.parametrize("state", State)
def test_over(state: State) -> None:
    """The three terminal states have empty rows, and `over` tells them from the others."""
    assert state.over is (state.value in {"completed", "failed", "cancelled"})
    assert state.over is (not TRANSITIONS[state])


@pytest.mark.parametrize("transition", Transition)
def test_sources(transition: Transition) -> None:
    """`sources` inverts the table: a transition is legal from these states and from no others."""
    assert sources(transition) == {State(state) for state, why in NEXT if why == transition.value}


@pytest.mark.parametrize("transition", Transition)
def test_every_transition_is_an_event_kind(transition: Transition) -> None:
    """Each transition is recorded by an event of the same word, and it ends the log iff it ends the job."""
    assert KIND_OF[transition] is Kind(transition.value)
    over = {State(after).over for (_, why), after in NEXT.items() if why == transition.value}
    assert over == {KIND_OF[transition].ends}


def test_every_state_can_be_reached_and_left() -> None:
    """Every state can be reached from QUEUED, and an end can be reached from every state."""
    reached = {State.QUEUED}
    while more := {after for state in reached for after in TRANSITIONS[state].values()} - reached:
        reached |= more
    assert reached == set(State)
    ends = {state for state in State if state.over}
    while more := {state for state, row in TRANSITIONS.items() if ends & set(row.values())} - ends:
        ends |= more
    assert ends == set(State)


def test_unspent() -> None:
    """Only a hand-over at shutdown, a snooze and a wait do not count against the retry budget."""
    assert {Reason.SHUTDOWN, Reason.SNOOZED, Reason.AWAITING_INPUT} == UNSPENT


def test_keeps_rank() -> None:
    """Only a hand-over at shutdown and the loss of its worker leave a job its rank in the queue."""
    assert {Reason.SHUTDOWN, Reason.WORKER_LOST} == KEEPS_RANK


def test_the_drawing_has_the_table() -> None:
    """The drawing in the documentation has a box for each state, and an arrow for exactly each legal step."""
    drawn = LIFECYCLE.read_text(encoding="utf-8")
    steps = {f"{state.upper()}-{after.upper()}-{why}" for (state, why), after in NEXT.items()}
    assert set(re.findall(r'class="arrow" id="([\w-]+)"', drawn)) == {"QUEUED-submitted", *steps}
    assert re.findall(r"<rect.*<text.*>(\w+)</text>", drawn) == [state.name for state in State]
