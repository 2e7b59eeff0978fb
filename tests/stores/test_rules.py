"""The meaning of an attempt's end for its job, written out once more: the stores only write it."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from itertools import product
from math import inf
from typing import Any

import attrs
import pytest

from trio_jobs import Ended, ErrorRecord, IllegalTransition, QueueFull, Reason, State, Timeouts
from trio_jobs.stores import TRANSITIONS, Options, Transition
from trio_jobs.stores.contract import CRASHES, Outcome, Submission
from trio_jobs.stores.rules import (
    ABANDONED,
    WAITING,
    Conclusion,
    advance,
    cancel_answer,
    check_queue,
    check_removable,
    conclude,
    date_of,
    due_at,
    expires_at,
    not_started,
    rooms,
    worker_lost,
)
from trio_jobs.testing.fold import NEXT

ERROR = ErrorRecord("ValueError", "wrong", "Traceback …")
COMPLETED, FAILED, CANCELLED, RETRIED = (
    Transition.COMPLETED,
    Transition.FAILED,
    Transition.CANCELLED,
    Transition.RETRIED,
)


@pytest.mark.parametrize(("state", "transition"), list(product(State, Transition)))
def test_every_cell(state: State, transition: Transition) -> None:
    """A legal step gives the state of the design; an illegal one raises with both, and changes nothing."""
    before = {state: dict(row) for state, row in TRANSITIONS.items()}
    wanted = NEXT.get((state.value, transition.value))
    if wanted is not None:
        assert advance(state, transition) is State(wanted)
    else:
        with pytest.raises(IllegalTransition) as caught:
            advance(state, transition)
        assert caught.value.state is state
        assert caught.value.transition is transition
        assert str(caught.value) == f"a job that is {state.value} cannot be {transition.value}"
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
    assert before == TRANSITIONS


@pytest.mark.parametrize("asked", [False, True])
def test_what_completed_is_complete(asked: bool) -> None:
    """A completed job has no reason, whether its cancellation was requested or not."""
    found = conclude(Outcome(COMPLETED, "result"), asked=asked, message="please")
    assert found == Conclusion(COMPLETED, None, None, False)


@pytest.mark.parametrize("asked", [False, True])
def test_what_failed_has_failed(asked: bool) -> None:
    """A job that failed, or was cancelled for another reason than the user's, keeps its reason."""
    for transition, reason in ((FAILED, Reason.ERROR), (CANCELLED, Reason.PARENT)):
        ended = Ended(reason, "how", ERROR)
        found = conclude(Outcome(transition, ended=ended), asked=asked, message="please")
        assert found == Conclusion(transition, ended, None, False)


@pytest.mark.parametrize("message", ["please", None])
def test_a_cancelled_job_has_the_words_of_the_request(message: str | None) -> None:
    """A job that its user cancelled has the request's text, and the error of its handler."""
    outcome = Outcome(CANCELLED, ended=Ended(Reason.USER, "of the attempt", ERROR))
    found = conclude(outcome, asked=True, message=message)
    assert found == Conclusion(CANCELLED, Ended(Reason.USER, message, ERROR), None, False)


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("delay", [None, 0.0, 2.5])
def test_a_retry(reason: Reason, delay: float | None) -> None:
    """A retry is due after its delay, and only a hand-over or a snooze spends no attempt."""
    ended = Ended(reason, "how", ERROR, delay)
    found = conclude(Outcome(RETRIED, ended=ended), asked=False, message=None)
    assert found == Conclusion(RETRIED, ended, delay or 0.0, reason in {Reason.SHUTDOWN, Reason.SNOOZED})
    assert found.delay is not None


@pytest.mark.parametrize("reason", [Reason.ERROR, Reason.SHUTDOWN, Reason.SNOOZED])
def test_no_retry_of_what_is_to_be_cancelled(reason: Reason) -> None:
    """A job whose cancellation was requested is cancelled instead of being retried."""
    outcome = Outcome(RETRIED, ended=Ended(reason, "how", ERROR, 2.5))
    found = conclude(outcome, asked=True, message="please")
    assert found == Conclusion(CANCELLED, Ended(Reason.USER, "please", ERROR), None, False)


@pytest.mark.parametrize(("message", "said"), [("please", "please (it was lost)"), (None, "it was lost")])
def test_a_cancellation_that_nobody_confirmed(message: str | None, said: str) -> None:
    """If the worker was lost, the end adds that to the text of the request."""
    outcome = Outcome(RETRIED, ended=Ended(Reason.WORKER_LOST, "it was lost", delay=0.0))
    found = conclude(outcome, asked=True, message=message)
    assert found == Conclusion(CANCELLED, Ended(Reason.USER, said), None, False)


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("attempts", [1, CRASHES, CRASHES + 2])
@pytest.mark.parametrize("spent", range(1, CRASHES + 4))
def test_a_lost_worker(spent: int, attempts: int, asked: bool) -> None:
    """A job that lost its worker is retried at once, until it has spent its budget and lost several; then it
    fails, with their number, and never as a hand-over."""
    found = worker_lost(spent, attempts, asked=asked)
    assert found.result is None
    assert found.ended is not None
    assert found.ended.reason is Reason.WORKER_LOST
    assert found.ended.delay == 0.0
    deadly = spent >= CRASHES and spent >= attempts
    assert (f"{spent} times" in str(found.ended.message)) is deadly
    assert found.transition is (FAILED if deadly and not asked else RETRIED)


def test_a_job_that_was_not_started() -> None:
    """The message of an expired job has its limit, with no more digits than matter."""
    found = not_started(0.1 + 0.2)
    assert found == Ended(Reason.QUEUE_TIMEOUT, "Job was not started within 0.3s")
    assert "0.000001s" in str(not_started(0.00000123).message).replace("1e-06", "0.000001")


def submission(owner: str | None, room: int | None) -> Submission:
    """Return a submission of an owner."""

    async def target() -> None: ...

    return Submission("id", "handler", target, (), Options(owner=owner), room=room)


def test_rooms() -> None:
    """Each owner has the room of its submissions; without an owner or a limit there is none."""
    given: list[tuple[Any, Any]] = [("a", 3), (None, 4), ("b", None), ("c", 0), ("a", 3)]
    assert rooms([submission(owner, room) for owner, room in given]) == {"a": 3, "c": 0}


def test_due() -> None:
    """A job is due after its delay, or at its time; if that has passed, now."""
    assert due_at(Options(), 5.0) == 5.0
    assert due_at(Options(delay=2.0), 5.0) == 7.0
    assert due_at(Options(delay=2.0), 5.0, epoch=100.0) == 7.0
    at = Options(run_at=datetime.fromtimestamp(110, UTC))
    assert due_at(at, 5.0) == 110.0
    assert due_at(at, 5.0, epoch=100.0) == 10.0
    assert due_at(at, 5.0, epoch=108.0) == 5.0


def test_expires() -> None:
    """A queue timeout counts from when the job is due; none, or an infinite one, never passes."""
    for limit, wanted in ((None, None), (inf, None), (0.0, 5.0), (2.5, 7.5)):
        assert expires_at(Options(timeouts=Timeouts(queue=limit)), 5.0) == wanted


def coming(**options: Any) -> Submission:
    return attrs.evolve(submission(None, None), options=Options(**options))


PAST, SOON = datetime.fromtimestamp(1, UTC), datetime.fromtimestamp(5.5, UTC)


@pytest.mark.parametrize(
    ("waiting", "fresh", "free", "full"),
    [
        (3, [], 0, False),
        (4, [], 0, False),  # which nothing can mend
        (2, [coming()], 0, False),
        (3, [coming()], 0, True),
        (3, [coming()], 1, False),
        (3, [coming(delay=1.0)], 1, True),
        (3, [coming(run_at=PAST)], 1, False),
        (3, [coming(run_at=SOON)], 1, True),
        (2, [coming(), coming(delay=1.0)], 2, False),
        (3, [coming(), coming(delay=1.0)], 2, True),
        (3, [coming(), coming()], 1, True),
    ],
)
def test_room_in_the_queue(waiting: int, fresh: list[Submission], free: int, full: bool) -> None:
    """New jobs are accepted if at most three wait afterwards; those that are claimed at once do not count."""
    with pytest.raises(QueueFull) if full else nullcontext():
        check_queue(waiting, fresh, free, 5.0, most=3)


@pytest.mark.parametrize("state", State)
def test_a_request_to_cancel(state: State) -> None:
    """It ends a waiting job, marks a running one, and is too late for one that has ended."""
    answer = cancel_answer(state)
    assert (answer == "already_over") is state.over
    assert (answer == "requested") is (state is State.RUNNING)
    assert (answer == "cancelled") is (state in WAITING)


@pytest.mark.parametrize("state", State)
def test_what_may_be_removed(state: State) -> None:
    """Only ended jobs may be removed; the error says what to do."""
    with nullcontext() if state.over else pytest.raises(IllegalTransition, match="removed; cancel it first"):
        check_removable(state)


def test_what_waits_and_what_is_left() -> None:
    """Queued and retrying jobs wait; a child whose parent's attempt ends is cancelled."""
    assert {State.QUEUED, State.RETRYING} == WAITING
    assert Conclusion(CANCELLED, Ended(Reason.PARENT)) == ABANDONED


def test_dates() -> None:
    """A time that no date can hold is shown as the first or the last one."""
    assert date_of(5.0) == datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)
    assert date_of(-inf) == datetime(1970, 1, 1, tzinfo=UTC)
    assert date_of(inf) == date_of(1e300) == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
