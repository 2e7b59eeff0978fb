"""The meaning of an attempt's end for its job, written out once more: the stores only write it."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from itertools import product
from math import inf
from typing import Any

import attrs
import pytest

from tests.testing.test_history import job
from trio_jobs import (
    Ended,
    ErrorRecord,
    IllegalTransition,
    InboxFull,
    InvalidPayload,
    QueueFull,
    Reason,
    Restart,
    Retention,
    State,
    Timeouts,
)
from trio_jobs.stores import TRANSITIONS, Options, Transition
from trio_jobs.stores.contract import CRASHES, Outcome, Submission
from trio_jobs.stores.rules import (
    ABANDONED,
    WAITING,
    Conclusion,
    Inbox,
    Restarting,
    advance,
    cancel_answer,
    check_end_inputs,
    check_queue,
    check_removable,
    check_send,
    check_steps,
    conclude,
    date_of,
    due_at,
    expires_at,
    folds,
    not_started,
    rooms,
    waited,
    waiting_for,
    wakes,
    worker_lost,
)
from trio_jobs.testing.fold import NEXT

FREE = {Reason.SHUTDOWN, Reason.SNOOZED, Reason.AWAITING_INPUT}
ERROR = ErrorRecord("ValueError", "wrong", "Traceback …")
COMPLETED, FAILED, CANCELLED, RETRIED = (
    Transition.COMPLETED,
    Transition.FAILED,
    Transition.CANCELLED,
    Transition.RETRIED,
)


def concluded(outcome: Outcome, *, asked: bool = False, message: str | None = None) -> Conclusion:
    """Conclude an attempt of a job that had no inputs, and no snooze."""
    return conclude(outcome, asked=asked, message=message, last_input=0, before=None)


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
    found = concluded(Outcome(COMPLETED, "result"), asked=asked, message="please")
    assert found == Conclusion(COMPLETED, None, None, False)


@pytest.mark.parametrize("asked", [False, True])
def test_what_failed_has_failed(asked: bool) -> None:
    """A job that failed, or was cancelled for another reason than the user's, keeps its reason."""
    for transition, reason in ((FAILED, Reason.ERROR), (CANCELLED, Reason.PARENT)):
        ended = Ended(reason, "how", ERROR)
        found = concluded(Outcome(transition, ended=ended), asked=asked, message="please")
        assert found == Conclusion(transition, ended, None, False)


@pytest.mark.parametrize("message", ["please", None])
def test_a_cancelled_job_has_the_words_of_the_request(message: str | None) -> None:
    """A job that its user cancelled has the request's text, and the error of its handler."""
    outcome = Outcome(CANCELLED, ended=Ended(Reason.USER, "of the attempt", ERROR))
    found = concluded(outcome, asked=True, message=message)
    assert found == Conclusion(CANCELLED, Ended(Reason.USER, message, ERROR), None, False)


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("delay", [None, 0.0, 2.5])
def test_a_retry(reason: Reason, delay: float | None) -> None:
    """A retry is due after its delay, and only a hand-over, a snooze or a wait spends no attempt."""
    ended = Ended(reason, "how", ERROR, delay)
    found = concluded(Outcome(RETRIED, ended=ended), asked=False, message=None)
    assert found == Conclusion(RETRIED, ended, delay or 0.0, reason in FREE)
    assert found.delay is not None


@pytest.mark.parametrize("reason", [Reason.ERROR, Reason.SHUTDOWN, Reason.SNOOZED])
def test_no_retry_of_what_is_to_be_cancelled(reason: Reason) -> None:
    """A job whose cancellation was requested is cancelled instead of being retried."""
    outcome = Outcome(RETRIED, ended=Ended(reason, "how", ERROR, 2.5))
    found = concluded(outcome, asked=True, message="please")
    assert found == Conclusion(CANCELLED, Ended(Reason.USER, "please", ERROR), None, False)


@pytest.mark.parametrize(("message", "said"), [("please", "please (it was lost)"), (None, "it was lost")])
def test_a_cancellation_that_nobody_confirmed(message: str | None, said: str) -> None:
    """If the worker was lost, the end adds that to the text of the request."""
    outcome = Outcome(RETRIED, ended=Ended(Reason.WORKER_LOST, "it was lost", delay=0.0))
    found = concluded(outcome, asked=True, message=message)
    assert found == Conclusion(CANCELLED, Ended(Reason.USER, said), None, False)


@pytest.mark.parametrize(
    ("last_input", "received"), [(0, 0), (7, 7), (7, 9), (8, 7), (1, 0), (0, None), (1, None)]
)
@pytest.mark.parametrize("reason", [Reason.AWAITING_INPUT, Reason.SNOOZED])
@pytest.mark.parametrize("delay", [inf, 5.0])
def test_a_wait_that_is_over_at_once(
    last_input: int, received: int | None, reason: Reason, delay: float
) -> None:
    """A job that waits for an input is due at once exactly if there is one that it did not receive."""
    outcome = Outcome(RETRIED, ended=Ended(reason, delay=delay), received=received)
    found = conclude(outcome, asked=False, message=None, last_input=last_input, before=None)
    here = reason is Reason.AWAITING_INPUT and last_input > (received or 0)
    assert found.delay == (0.0 if here else delay)
    assert found.ended == outcome.ended


@pytest.mark.parametrize("reason", Reason)
def test_who_keeps_its_rank(reason: Reason) -> None:
    """A job that its worker handed over, or that lost it, waits as before; what else ended ranks anew."""
    found = concluded(Outcome(RETRIED, ended=Ended(reason)), asked=False, message=None)
    assert found.keeps_rank == (reason in {Reason.SHUTDOWN, Reason.WORKER_LOST})
    assert not Conclusion(Transition.CANCELLED, Ended(reason)).keeps_rank
    assert not Conclusion(Transition.COMPLETED, None).keeps_rank


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("before", [None, *(Ended(reason, repeats=4) for reason in Reason)])
def test_ends_that_repeat(reason: Reason, before: Ended | None) -> None:
    """A snooze counts the snoozes before it in a row, and a wait the waits; nothing else counts."""
    outcome = Outcome(RETRIED, ended=Ended(reason))
    ended = conclude(outcome, asked=False, message=None, last_input=0, before=before).ended
    assert ended is not None
    counts = reason in {Reason.SNOOZED, Reason.AWAITING_INPUT, Reason.RESTARTED}
    assert ended.repeats == (5 if before is not None and before.reason is reason and counts else 0)


def test_a_wait_that_is_to_be_cancelled() -> None:
    """A job whose cancellation was asked for does not wait for an input, though there is one."""
    outcome = Outcome(RETRIED, ended=Ended(Reason.AWAITING_INPUT, "for an answer", delay=inf))
    found = conclude(outcome, asked=True, message="please", last_input=3, before=None)
    assert found == Conclusion(CANCELLED, Ended(Reason.USER, "please"), None, False)


@pytest.mark.parametrize("reason", [None, *Reason])
def test_what_ended_a_wait(reason: Reason | None) -> None:
    """If there is an input behind what was received, that ended the wait, and else the time limit."""
    for last_input, received, wanted in ((0, 0, "timeout"), (3, 3, "timeout"), (4, 3, "input")):
        found = waited(reason, last_input, received)
        assert found == (wanted if reason is Reason.AWAITING_INPUT else None)


@pytest.mark.parametrize(("state", "reason"), list(product(State, [None, *Reason])))
def test_what_an_input_wakes(state: State, reason: Reason | None) -> None:
    """An input makes only a job due that waits for one, and is not due yet."""
    waits = (state, reason) == (State.RETRYING, Reason.AWAITING_INPUT)
    assert wakes(state, reason, inf, 5.0) is wakes(state, reason, 5.5, 5.0) is waits
    assert not wakes(state, reason, 5.0, 5.0)


ROOMY = Inbox(0, 0, 0, ended=False)


@pytest.mark.parametrize("state", State)
def test_who_takes_inputs(state: State) -> None:
    """A job takes inputs, and the end of them, until it has ended, and no input after their end."""
    keep = Retention()
    with nullcontext() if not state.over else pytest.raises(IllegalTransition, match="sent an input$"):
        check_send(state, ROOMY, [1], keep)
    with (
        nullcontext() if not state.over else pytest.raises(IllegalTransition, match="that its inputs ended$")
    ):
        check_end_inputs(state)
    with pytest.raises(IllegalTransition, match="sent an input$" if state.over else "inputs were ended"):
        check_send(state, ROOMY._replace(ended=True), [1], keep)


def test_the_room_for_inputs() -> None:
    """Exactly as many inputs fit as may, and as many bytes; a refusal says how many are there."""
    keep = Retention(inputs=5, input_bytes=100, token_bytes=90)
    for inbox, sizes, limit in (
        (Inbox(3, 2, 50, ended=False), [25, 25], None),
        (Inbox(3, 2, 50, ended=False), [1, 1, 1], "5"),
        (Inbox(3, 2, 50, ended=False), [25, 26], "100 bytes of them"),
        (Inbox(5, 2, 0, ended=False), [1], "5"),
    ):
        if limit is None:
            check_send(State.RUNNING, inbox, sizes, keep)
            continue
        with pytest.raises(InboxFull, match="has received 2 of them, and has to save") as caught:
            check_send(State.RUNNING, inbox, sizes, keep)
        error = caught.value
        assert (error.unconsumed, error.received, error.limit) == (inbox.unconsumed, 2, limit)
    with pytest.raises(InboxFull) as refusal:
        check_send(State.QUEUED, Inbox(5, 0, 0, ended=False), [1], keep)
    assert "has to save" not in str(refusal.value)
    check_send(State.QUEUED, ROOMY, [1, 90], keep)
    check_send(State.QUEUED, ROOMY, [], keep)  # nothing is sent
    with pytest.raises(InvalidPayload, match="an input of 91 bytes is over Retention.token_bytes=90"):
        check_send(State.COMPLETED, ROOMY, [1, 91], keep)


def test_the_room_for_steps() -> None:
    """Exactly as many results of steps fit as may, and as many bytes."""
    keep = Retention(steps=3, step_bytes=100)
    check_steps(2, 50, [50], keep)
    with pytest.raises(InvalidPayload, match=r"Retention\.steps=3"):
        check_steps(2, 0, [1, 1], keep)
    with pytest.raises(InvalidPayload, match=r"101 bytes, over Retention\.step_bytes=100"):
        check_steps(0, 50, [51], keep)


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("attempts", [1, CRASHES, CRASHES + 2, None])
@pytest.mark.parametrize("losses", range(1, CRASHES + 4))
def test_a_lost_worker(losses: int, attempts: int | None, asked: bool) -> None:
    """A job that lost its worker is retried at once, until it has lost several in a row, and as many as its
    budget has; then it fails, with their number, and never as a hand-over."""
    found = worker_lost(losses, attempts, asked=asked)
    assert (found.result, found.received) == (None, None)
    assert found.ended is not None
    assert found.ended.reason is Reason.WORKER_LOST
    assert found.ended.delay == 0.0
    deadly = losses >= CRASHES and losses >= (attempts or 1)
    assert (f"{losses} times" in str(found.ended.message)) is deadly
    assert found.transition is (FAILED if deadly and not asked else RETRIED)


@pytest.mark.parametrize("asked", [False, True])
def test_a_service_that_lost_its_worker(asked: bool) -> None:
    """It is restarted, however many workers it has lost."""
    found = worker_lost(CRASHES + 4, 1, asked=asked, service=True)
    assert found.transition is RETRIED
    assert found.ended == Ended(Reason.RESTARTED, "Its worker was lost", delay=0.0)


RESTART = Restart(first=1.0, factor=2.0, maximum=60.0, healthy=30.0, most=3, within=60.0)


def restarted(before: Ended | None, ran: float, restarts: int, message: str | None = "how") -> Conclusion:
    """Conclude an attempt of a service, whose cancellation nobody has asked for."""
    outcome = Outcome(RETRIED, ended=Ended(Reason.RESTARTED, message, ERROR))
    service = Restarting(RESTART, ran, restarts)
    return conclude(outcome, asked=False, message=None, last_input=0, before=before, service=service)


@pytest.mark.parametrize(
    ("before", "ran", "repeats"),
    [
        (None, 1.0, 0),
        (Ended(Reason.SHUTDOWN, repeats=1), 1.0, 0),
        (Ended(Reason.RESTARTED, repeats=0), 1.0, 1),
        (Ended(Reason.RESTARTED, repeats=1), 29.0, 2),
        (Ended(Reason.RESTARTED, repeats=1), 30.0, 0),
    ],
)
def test_a_service_is_restarted(before: Ended | None, ran: float, repeats: int) -> None:
    """Each restart in a row waits longer, and an attempt that ran well begins a new row."""
    delay = 2.0**repeats
    ended = Ended(Reason.RESTARTED, "how", ERROR, delay, repeats=repeats)
    assert restarted(before, ran, 2) == Conclusion(RETRIED, ended, delay, False)


@pytest.mark.parametrize(("message", "said"), [("how", ": how"), (None, "")])
def test_a_service_that_ends_too_often(message: str | None, said: str) -> None:
    """With one more end than it may be restarted it fails, and says how often that was."""
    ended = Ended(Reason.RESTARTS, f"It ended 4 times within 60s{said}", ERROR)
    assert restarted(None, 1.0, 3, message) == Conclusion(FAILED, ended)


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


NOW = datetime(2030, 1, 1, tzinfo=UTC)
HELD: dict[str, Any] = {"busy": True, "paused": True, "limit": "gpu"}


@pytest.mark.parametrize(
    ("fields", "facts", "wanted"),
    [
        ({"state": State.RUNNING, "behind": "7"}, HELD, None),
        ({"state": State.FAILED}, HELD, None),
        ({"behind": "7", "next_attempt_at": None}, HELD, "behind 7"),
        ({"reason": Reason.AWAITING_INPUT, "next_attempt_at": None}, HELD, "input"),
        ({"reason": Reason.AWAITING_INPUT, "next_attempt_at": NOW + timedelta(seconds=1)}, HELD, "input"),
        ({"reason": Reason.ERROR, "next_attempt_at": NOW + timedelta(seconds=1)}, HELD, "due"),
        ({"reason": Reason.AWAITING_INPUT}, HELD, "paused"),
        ({}, HELD, "paused"),
        ({}, {"busy": True, "limit": "gpu"}, "limit gpu"),
        ({"state": State.QUEUED}, {"busy": True}, "slot"),
        ({"state": State.QUEUED}, {"busy": False}, "worker"),
    ],
)
def test_what_a_job_waits_for(fields: dict[str, Any], facts: dict[str, Any], wanted: str | None) -> None:
    """The first of the reasons that hold is told: what has to happen before the others matter."""
    known = {"state": State.RETRYING, "next_attempt_at": NOW} | fields
    assert waiting_for(job("1", **known), NOW.timestamp(), **facts) == wanted


def test_old_snoozes_are_trimmed_with_each_25th_attempt() -> None:
    """So a log is looked at now and then, and has at most 25 snoozes more than are kept."""
    assert [attempt for attempt in range(1, 101) if folds(attempt)] == [25, 50, 75, 100]
