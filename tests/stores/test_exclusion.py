"""What a submit does while another job holds its name: the whole table, and the rules beside it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, get_args

import pytest

from trio_jobs import Busy, Debounce, Reason, State
from trio_jobs.stores import Options, Transition
from trio_jobs.stores.exclusion import MOVES, Holder, holder_of, move_of, put_off, replaced
from trio_jobs.stores.rules import Conclusion

QUIET = Debounce(2.0, 10.0)
POLICIES: list[Any] = ["reject", "attach", "after", "replace", "cancel", QUIET]
WAITING = {state for state in State if state in {State.QUEUED, State.RETRYING}}


def wanted(policy: object, holder: Holder) -> tuple[str, bool, bool]:
    """Return the place, whether what waits is replaced, and whether what runs is cancelled."""
    if holder == "none":
        return "first", False, False
    if policy == "attach":
        return "attached", False, False
    if policy == "after":
        return "behind", False, False
    return "first" if holder == "waits" else "behind", True, policy == "cancel" and holder != "waits"


@pytest.mark.parametrize("holder", get_args(Holder))
@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_every_move(policy: Any, holder: Holder) -> None:
    """Each policy meets each holder: the move is the one that is written above in other words."""
    options = Options(exclusive="chat", on_busy=policy)
    refused = policy == "reject" and holder != "none"
    with (
        pytest.raises(Busy, match="job abc has the same exclusive name")
        if refused
        else nullcontext() as error
    ):
        assert move_of(options, holder, "abc") == wanted(policy, holder)
    if error is not None:
        assert error.value.job_id == "abc"


def test_the_table_is_whole() -> None:
    """The table has a row for each policy, and in it a move for each holder."""
    policies = {"debounce" if isinstance(policy, Debounce) else policy for policy in POLICIES}
    assert {*MOVES} == policies
    assert all({*row} == {*get_args(Holder)} for row in MOVES.values())


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("state", [None, *State])
def test_what_a_holder_does(state: State | None, asked: bool) -> None:
    """A job that has ended holds nothing; one that waits may be asked to end and waits all the same."""
    found = holder_of(state, asked=asked)
    assert (found == "none") is (state is None or state.over)
    assert (found == "waits") is (state in WAITING)
    assert (found in {"runs", "stops"}) is (state is State.RUNNING)
    assert (found == "stops") is (state is State.RUNNING and asked)


def test_how_a_job_is_replaced() -> None:
    """It is CANCELLED, and says by which job."""
    how = replaced("new")
    assert how == Conclusion(Transition.CANCELLED, how.ended)
    assert how.ended is not None
    assert (how.ended.reason, how.ended.replaced_by) == (Reason.REPLACED, "new")


@pytest.mark.parametrize(
    ("on_busy", "before", "due", "since"),
    [
        ("replace", [], 102.0, None),
        ("replace", [50.0], 102.0, None),
        (QUIET, [], 102.0, 100.0),
        (QUIET, [None], 102.0, 100.0),
        (QUIET, [95.0], 102.0, 95.0),
        (QUIET, [None, 91.0], 101.0, 91.0),
        (QUIET, [95.0, 91.0], 101.0, 91.0),
        (QUIET, [50.0], 60.0, 50.0),
    ],
)
def test_how_long_a_job_is_put_off(
    on_busy: Any, before: list[float | None], due: float, since: float | None
) -> None:
    """A debounce ends after `seconds`, or `at_most` after the first job that was put off."""
    options = Options(exclusive="chat", on_busy=on_busy)
    assert put_off(options, 102.0, 100.0, before) == (due, since)
