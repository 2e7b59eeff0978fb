"""The checker of histories: each hand-made bad history is rejected, by the rule that it violates."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from tests.wire import Step
from trio_jobs import Ended, ErrorRecord, Event, Job, Kind, Priority, Reason, Retry, Timeouts
from trio_jobs.testing import BadHistory, Call, HandlerRun, History, Reading, check_history
from trio_jobs.testing._judge import RULES

JOB = "j"


def event(
    seq: int, attempt: int, kind: str, at: float, data: Any = None, received: int | None = None
) -> Event:
    return Event(seq, attempt, Kind(kind), at, data, received)


def job(job_id: str, **fields: Any) -> Job:
    """Return a job with these fields only."""
    unknown: dict[str, Any] = dict.fromkeys(field.name for field in attrs.fields(Job))
    known = {"tags": {}, "timeouts": Timeouts(), "retry": Retry(), "priority": Priority.NORMAL}
    return Job(**{**unknown, **known, "id": job_id, **fields})


def good() -> History:
    """Return a job whose first worker crashed after two of three tokens, and whose second attempt completed
    in spite of a request to cancel."""
    lost = Ended(Reason.WORKER_LOST, "Its worker was lost", delay=0.0)
    log = [
        event(1, 0, "submitted", 0, "h"),
        event(2, 1, "started", 0, "w1"),
        event(3, 1, "token", 1, "1.0"),
        event(4, 1, "token", 2, "1.1"),
        event(5, 1, "retried", 10, lost),
        event(6, 2, "started", 10, "w2"),
        event(7, 2, "token", 11, "2.0"),
        event(8, 2, "cancel_requested", 11.5, "enough"),
        event(9, 2, "token", 12, "2.1"),
        event(10, 2, "completed", 13, "done"),
    ]
    return History(
        logs={JOB: log},
        calls=[
            Call("c", "submit", None, "k", 0, None),
            Call("c", "submit", JOB, "k", 1, 2),
            Call("c", "cancel", JOB, None, 11.5, 13, "finished_first"),
            Call("c", "cancel", JOB, None, 14, 14, "already_over"),
            Call("c", "wait", JOB, None, 0, 13, "completed"),
            Call("c", "submit_many", None, "many", 0, 1, count=2, found=[], cancelled=True),
            Call("o", "cancel_where", invoked=9, returned=12, where={}, reason="all", count=1, grace=0.0),
            Call("o", "cancel_where", invoked=3, returned=4, where={"owner": "you"}, reason="his", count=0),
            Call("o", "cancel_where", invoked=3, returned=4, where={"tags": {"a": "b"}}, reason="b", count=0),
            Call("o", "cancel_where", invoked=3, returned=None, where={"state": ["running"]}, reason="r"),
        ],
        readings=[
            Reading("r", JOB, 0, log[:4]),
            Reading("r", JOB, 4, log[4:], ended=True),
            Reading("late", JOB, 10, [], ended=True),
        ],
        runs=[
            HandlerRun(JOB, 1, "w1", 0, 3, True, True, ["1.0", "1.1", "1.2"], ["1.0", "1.1", "1.2"]),
            HandlerRun(JOB, 2, "w2", 10, 13, False, True, ["2.0", "2.1"], ["2.0", "2.1"]),
        ],
        jobs={JOB: job(JOB, owner="me")},
        leaving={"w1": 5.0, "w2": 13.5},
        leases={"w1": 9.0, "w2": 9.0},
        settled=True,
    )


def test_a_good_history_passes() -> None:
    """A history that keeps every promise passes, and so does an empty one."""
    check_history(good())
    check_history(History())


def change(seq: int, **fields: Any) -> Callable[[History], None]:
    """Return a fault: an event of the log is another one."""

    def fault(history: History) -> None:
        history.logs[JOB][seq - 1] = attrs.evolve(history.logs[JOB][seq - 1], **fields)

    return fault


def drop(seq: int) -> Callable[[History], None]:
    """Return a fault: an event is missing from the log."""
    return lambda history: history.logs[JOB].remove(history.logs[JOB][seq - 1])


def _twice(history: History) -> None:
    log = history.logs[JOB]
    log.append(attrs.evolve(log[-1], seq=11))


def _swap(history: History) -> None:
    events = history.readings[1].events
    events[0], events[1] = events[1], events[0]


def _zombie_token(history: History) -> None:
    log = history.logs[JOB]
    log[8] = attrs.evolve(log[8], attempt=1, data="1.2")


def _not_over(history: History) -> None:
    del history.logs[JOB][-1]
    history.readings[1:] = []
    history.runs[1].ended = None
    history.calls[2:] = []


def _set(path: str, value: Any) -> Callable[[History], None]:
    """Return a fault: a field of an entry of a journal has another value."""
    journal, number, field = path.split(".")

    def fault(history: History) -> None:
        setattr(getattr(history, journal)[int(number)], field, value)

    return fault


def _two_for_a_key(history: History) -> None:
    history.logs["other"] = [attrs.evolve(event) for event in history.logs[JOB]]
    history.calls.append(Call("c", "submit", "other", "k", 3, 4))


def _unasked(history: History) -> None:
    history.logs["other"] = history.logs[JOB]
    history.runs.append(HandlerRun("other", 1, "w", 0, 3, True, True, ["1.0", "1.1"]))
    history.runs.append(HandlerRun("other", 2, "w", 10, 13, False, True, ["2.0", "2.1"]))


def _ran_twice(history: History) -> None:
    history.runs.append(copy.deepcopy(history.runs[1]))


def _overlap(history: History) -> None:
    history.logs[JOB][4] = event(5, 1, "retried", 10, Ended(Reason.ERROR, delay=0.0))
    history.runs[0] = HandlerRun(JOB, 1, "w1", 0, 12, False, True, ["1.0", "1.1"], ["1.0", "1.1"])


def _unheard(history: History) -> None:
    history.cut = set()
    history.runs[0].severed = False


def _untold(history: History) -> None:
    history.cut, history.soon = {"w1"}, 1.0


def _asked(**fields: Any) -> Callable[[History], None]:
    """Return a fault: a call with a wrong answer."""
    return lambda history: history.calls.append(Call("o", **{"op": "cancel_where", "invoked": 3, **fields}))


def _stopped(told: bool) -> Callable[[History], None]:  # which of the two faults
    def fault(history: History) -> None:
        change(10, kind=Kind.CANCELLED, data=Ended(Reason.USER))(history)
        history.runs[1].stopped, history.runs[1].told = True, told
        history.calls = [Call("c", "cancel", JOB, None, 11.5, 13, "cancelled", grace=1.6 if told else 0.0)]

    return fault


def _lost(history: History) -> None:
    history.runs[0].severed = False
    history.leaving.clear()
    history.troubles["w1"].append((2.0, 4.0))


def _beside_itself(history: History) -> None:
    history.runs[0].worker, history.runs[0].ended = "w2", 12


def _over_too_early(history: History) -> None:
    _not_over(history)
    history.calls.append(Call("c", "cancel", JOB, None, 5, 6, "already_over"))


def _submitted(**options: Any) -> Callable[[History], None]:
    """Return a fault: the job was submitted with these options."""

    def fault(history: History) -> None:
        fields = {name: options[name] for name in ("retry", "timeouts") if name in options}
        history.jobs[JOB] = attrs.evolve(history.jobs[JOB], **fields)
        history.options[JOB] = options
        history.leaving.clear()  # who leaves may ask a handler to end

    return fault


def _passed_over(history: History) -> None:
    history.jobs["urgent"] = job("urgent", priority=Priority.URGENT)
    history.options["urgent"] = {}
    history.logs["urgent"] = [event(1, 0, "submitted", 5, "h"), event(2, 1, "started", 12, "w1")]


def _retried_too_often(history: History) -> None:
    _submitted(retry=Retry(attempts=1))(history)
    change(5, data=Ended(Reason.ERROR, delay=0.0))(history)


def _expired_late(history: History) -> None:
    history.logs[JOB][5] = event(6, 1, "expired", 10, Ended(Reason.QUEUE_TIMEOUT))


def _child(*events: Event) -> Callable[[History], None]:
    """Return a fault: a child of the job has such a log."""

    def fault(history: History) -> None:
        history.jobs["child"] = job("child", parent=JOB)
        history.logs["child"] = [event(1, 0, "submitted", 1, "h"), event(2, 1, "started", 1, "w1"), *events]

    return fault


LEFT = ErrorRecord("ClosedResourceError", "the registry is closed", "")
BAD: dict[str, tuple[str, Callable[[History], None]]] = {
    "a hole in seq": ("logs_are_legal", drop(7)),
    "no beginning": ("logs_are_legal", drop(1)),
    "two ends": ("logs_are_legal", _twice),
    "an attempt left out": ("logs_are_legal", change(6, attempt=3)),
    "a token of an older attempt": ("logs_are_legal", _zombie_token),
    "a job that never ends": ("logs_are_legal", _not_over),
    "expired while it ran": (
        "logs_are_legal",
        change(10, kind=Kind.EXPIRED, data=Ended(Reason.ERROR)),
    ),
    "retried after a request": ("logs_are_legal", change(4, kind=Kind.CANCEL_REQUESTED)),
    "an accepted job is gone": ("accepted_is_kept", lambda history: history.logs.clear()),
    "two jobs for a key": ("accepted_is_kept", _two_for_a_key),
    "a job that nobody asked for": ("nothing_is_made_up", _unasked),
    "told cancelled, and completed": ("answers_are_true", _set("calls.2.answer", "cancelled")),
    "told over, and it ran on": ("answers_are_true", _over_too_early),
    "a wait that lied": ("answers_are_true", _set("calls.4.answer", "cancelled")),
    "a cancel that left no trace": ("answers_are_true", change(8, kind=Kind.PROGRESS)),
    "finished first, and cancelled": (
        "answers_are_true",
        change(10, kind=Kind.CANCELLED, data=Ended(Reason.USER)),
    ),
    "a reader missed an event": (
        "readers_agree",
        lambda history: history.readings[1].events.remove(history.logs[JOB][5]),
    ),
    "a reader got one twice": (
        "readers_agree",
        lambda history: history.readings[0].events.append(history.readings[0].events[-1]),
    ),
    "a reader got them out of order": ("readers_agree", _swap),
    "a reader got another value": (
        "readers_agree",
        lambda history: history.readings[0].events.__setitem__(2, event(3, 1, "token", 1, "other")),
    ),
    "a reader began too late": ("readers_agree", _set("readings.1.after", 5)),
    "a reader was told the end too early": ("readers_agree", _set("readings.0.ended", True)),
    "a reader of nothing": ("readers_agree", _set("readings.0.job_id", "nobody")),
    "a wait that is never answered": ("nobody_waits_for_ever", _set("calls.4.waiting", True)),
    "a reader that never hears of the end": ("nobody_waits_for_ever", _set("readings.1.waiting", True)),
    "a token that nobody sent": ("attempts_sent_what_is_kept", change(3, data="?")),
    "a token lost in the middle": (
        "attempts_sent_what_is_kept",
        _set("runs.1.attempted", ["2.0", "2.half", "2.1"]),
    ),
    "a completed attempt lost its last token": (
        "attempts_sent_what_is_kept",
        _set("runs.1.attempted", ["2.0", "2.1", "2.2"]),
    ),
    "the tokens of another attempt": ("attempts_sent_what_is_kept", change(7, data="1.2")),
    "an attempt ran twice": ("attempts_are_single", _ran_twice),
    "two attempts at once": ("attempts_are_single", _overlap),
    "two attempts at once in one worker": ("attempts_are_single", _beside_itself),
    "half of a batch is there": (
        "batches_are_whole",
        _asked(op="submit_many", key="two", count=2, found=[JOB]),
    ),
    "a cancelled batch is there": (
        "batches_are_whole",
        _asked(op="submit_many", key="one", found=[JOB], cancelled=True),
    ),
    "another batch is there": (
        "batches_are_whole",
        _asked(op="submit_many", key="one", returned=4, found=[JOB], job_ids=["other"]),
    ),
    "one was passed over": ("cancels_are_exact", _asked(returned=4, where={}, count=1)),
    "one was asked that is another's": (
        "cancels_are_exact",
        _asked(invoked=11, returned=12, where={"owner": "you"}, reason="enough", count=0),
    ),
    "one was asked that ran": (
        "cancels_are_exact",
        _asked(invoked=11, returned=12, where={"state": ["queued"]}, reason="enough", count=0),
    ),
    "too few are said to be asked": (
        "cancels_are_exact",
        _asked(invoked=12, returned=12.5, where={}, count=0),
    ),
    "too many are said to be asked": (
        "cancels_are_exact",
        _asked(invoked=12, returned=12.5, where={"owner": "you"}, count=1),
    ),
    "cancelled without a word": ("graces_are_kept", _stopped(told=False)),
    "a grace cut short": ("graces_are_kept", _stopped(told=True)),
    "a result of nobody": ("only_what_ran_ends", lambda history: history.runs.__delitem__(1)),
    "a lease that its worker let lapse": ("leases_are_kept", _lost),
    "a claim while leaving": ("leaving_claims_nothing", lambda history: history.leaving.update(w2=5.0)),
    "an attempt that the log does not know": ("ends_are_ends", _set("runs.1.attempt", 3)),
    "a handler outlived its job": ("ends_are_ends", _set("runs.1.ended", 20.0)),
    "a job was left behind": ("leaving_costs_nothing", lambda history: setattr(history, "cut", set[str]())),
    "a job was left by a worker that did not die": (
        "leaving_costs_nothing",
        lambda history: setattr(history, "cut", {"w2"}),
    ),
    "an end that nobody heard of": ("ends_are_recorded", _unheard),
    "a request that was not passed on": ("requests_are_passed_on", _untold),
    "an attempt that ended because the store was away": (
        "no_attempt_pays_for_the_store",
        change(5, data=Ended(Reason.ERROR, error=ErrorRecord("StoreUnavailable", "away", ""), delay=0.0)),
    ),
    "started before it was due": ("starts_are_in_order", _submitted(delay=5.0)),
    "started while a more urgent one waited": ("starts_are_in_order", _passed_over),
    "completed after its time": ("limits_are_kept", _submitted(timeouts=Timeouts(run=1.0))),
    "retried too often": ("limits_are_kept", _retried_too_often),
    "expired after it had started": ("limits_are_kept", _expired_late),
    "a child that is to run again": (
        "children_have_no_lease",
        _child(event(3, 1, "retried", 2, Ended(Reason.ERROR, delay=0.0))),
    ),
    "a child that is lost by itself": (
        "children_have_no_lease",
        _child(event(3, 1, "failed", 2, Ended(Reason.WORKER_LOST))),
    ),
    "an attempt that ended because its registry was being left": (
        "no_attempt_pays_for_the_store",
        change(5, data=Ended(Reason.ERROR, error=LEFT, delay=0.0)),
    ),
    "a handler never ended": ("ends_are_ends", _set("runs.1.ended", None)),
}


@pytest.mark.parametrize(("rule", "fault"), BAD.values(), ids=BAD)
def test_bad_histories_are_rejected(rule: str, fault: Callable[[History], None]) -> None:
    """A history with one fault is rejected, and the message has the rule and the log."""
    history = good()
    fault(history)
    with pytest.raises(BadHistory, match=rule) as bad:
        check_history(history)
    assert rule in {violation.rule for violation in bad.value.violations}
    assert not history.logs or "the log of job" in str(bad.value)


def heard() -> History:
    """Return a job that saved after the first of two inputs, waited for a third in vain, received the second
    again, and waited until the third came."""
    log = [
        event(1, 0, "submitted", 0, "h"),
        event(2, 1, "started", 1, "w1"),
        event(3, 1, "input", 2, "a"),
        event(4, 1, "step", 3, Step("plan", "", "planned")),
        event(5, 1, "saved", 3, "s", 3),
        event(6, 1, "input", 4, "b"),
        event(7, 1, "retried", 5, Ended(Reason.AWAITING_INPUT, delay=10.0), 6),
        event(8, 2, "started", 15, "w2"),
        event(9, 2, "retried", 16, Ended(Reason.AWAITING_INPUT, delay=100.0), 6),
        event(10, 2, "input", 20, "c"),
        event(11, 3, "started", 20, "w2"),
        event(12, 3, "completed", 21, "done", 10),
    ]
    log[9] = attrs.evolve(log[9], attempt=2)
    return History(
        logs={JOB: log},
        calls=[
            Call("c", "send", JOB, None, 2, None, input_id="1", values=["a"]),
            Call("c", "send", JOB, None, 2.5, 2.5, "accepted", input_id="1", values=["a"], seq=3),
            Call("d", "send", JOB, None, 4, 4, "accepted", input_id="2", values=["b"], seq=6),
            Call("d", "send", JOB, None, 4.5, 4.6, "full", input_id="3", values=["x", "y"]),
            Call("d", "send", JOB, None, 20, 20, "accepted", input_id="4", values=["c"], seq=10),
        ],
        runs=[
            HandlerRun(
                JOB,
                1,
                "w1",
                1,
                5,
                received=[(3, "a"), (6, "b")],
                called={"plan": "planned"},
                saves=[("s", 3)],
                steps={"plan": "planned"},
            ),
            HandlerRun(JOB, 2, "w2", 15, 16, received=[(6, "b")], timed_out=True, steps={"plan": "planned"}),
            HandlerRun(JOB, 3, "w2", 20, 21, received=[(6, "b"), (10, "c")]),
        ],
        jobs={JOB: job(JOB)},
        options={JOB: {}},
        box=2,
        settled=True,
    )


def _wake(at: float) -> Callable[[History], None]:
    """Return a fault: the last attempt starts at some time."""

    def fault(history: History) -> None:
        for place in (10, 11):
            change(place + 1, timestamp=at)(history)
        history.runs[2].began = history.runs[2].ended = at

    return fault


def _overtake(history: History) -> None:
    """Let a job of a worse rank start while another one is due for an input."""
    history.jobs["late"], history.options["late"], history.settled = job("late"), {}, False
    history.logs["late"] = [event(1, 0, "submitted", 40, "h"), event(2, 1, "started", 50, "w1")]


def _all(*faults: Callable[[History], None]) -> Callable[[History], None]:
    """Return a fault that is all of these."""

    def fault(history: History) -> None:
        for one in faults:
            one(history)

    return fault


UNHEARD: dict[str, tuple[str, Callable[[History], None]]] = {
    "an accepted input is not there": ("inputs_are_kept", change(6, data="other")),
    "an input is there twice": ("inputs_are_kept", change(6, data="a")),
    "an input of nobody": ("inputs_are_kept", lambda history: history.calls.__delitem__(2)),
    "accepted at two places": ("inputs_are_kept", _set("calls.0.seq", 6)),
    "refused and there": ("inputs_are_kept", _set("calls.2.answer", "over")),
    "sent later and there earlier": (
        "inputs_are_in_order",
        _all(_set("calls.1.seq", 6), _set("calls.2.seq", 3)),
    ),
    "one more than fits": ("boxes_are_kept", lambda history: setattr(history, "box", 1)),
    "refused though there was room": ("boxes_are_kept", _set("calls.3.values", ["x"])),
    "received in another order": (
        "attempts_receive_what_is_left",
        lambda history: history.runs[0].received.reverse(),
    ),
    "received twice": (
        "attempts_receive_what_is_left",
        _set("runs.2.received", [(6, "b"), (6, "b"), (10, "c")]),
    ),
    "received again though consumed": (
        "attempts_receive_what_is_left",
        _set("runs.2.received", [(3, "a"), (6, "b"), (10, "c")]),
    ),
    "lost between two attempts": ("attempts_receive_what_is_left", _set("runs.2.received", [(10, "c")])),
    "another value than that of the log": (
        "attempts_receive_what_is_left",
        _set("runs.1.received", [(6, "B")]),
    ),
    "consumed and not received": ("attempts_receive_what_is_left", change(5, received=6)),
    "consumed by its end and not received": (
        "attempts_receive_what_is_left",
        _set("runs.2.received", [(6, "b")]),
    ),
    "consumed what was received after its value was made": (
        "attempts_receive_what_is_left",
        _set("runs.0.saves", [("s", 0)]),
    ),
    "who waited once more failed": (
        "waits_end_as_told",
        change(9, kind=Kind.FAILED, data=Ended(Reason.ERROR, error=ErrorRecord("AwaitInput", "", ""))),
    ),
    "an input that was not given to who waited": (
        "who_waits_is_given_it",
        _all(_set("runs.0.in_vain", [(3.0, 20.0, 3)]), lambda history: setattr(history, "prompt", 10.0)),
    ),
    "a time limit that was an input": ("waits_end_as_told", _set("runs.2.timed_out", True)),
    "an input that was a time limit": ("waits_end_as_told", _set("runs.1.timed_out", False)),
    "the start after no wait timed out": ("waits_end_as_told", _set("runs.0.timed_out", True)),
    "woken by nothing": ("starts_are_in_order", _wake(19.0)),
    "a step is kept twice": (
        "steps_are_kept",
        change(5, kind=Kind.STEP, data=Step("plan", "", "planned"), received=None),
    ),
    "a step is called again": ("steps_are_kept", _set("runs.1.called", {"plan": None})),
    "a step returned something else": ("steps_are_kept", _set("runs.1.steps", {"plan": "other"})),
    "a step that failed is kept": ("steps_are_kept", _set("runs.0.called", {"plan": ...})),
    "a step that nothing kept": ("steps_are_kept", _set("runs.1.steps", {"other": 1})),
    "an attempt that never ran waits": (
        "only_what_ran_ends",
        lambda history: history.runs.__delitem__(1),
    ),
    "a lost wake-up": (
        "starts_are_in_order",
        _all(_wake(60.0), _overtake),
    ),
}


def test_a_good_history_of_inputs_passes() -> None:
    """A history of a job that received what it was sent, and waited, passes."""
    check_history(heard())


@pytest.mark.parametrize(("rule", "fault"), UNHEARD.values(), ids=UNHEARD)
def test_bad_histories_of_inputs_are_rejected(rule: str, fault: Callable[[History], None]) -> None:
    """A history with one fault in what was sent, received, waited for or kept is rejected by its rule."""
    history = heard()
    fault(history)
    with pytest.raises(BadHistory) as bad:
        check_history(history)
    assert rule in {violation.rule for violation in bad.value.violations}


def _drop(log: list[Event], place: int) -> None:
    log.pop(place)


def _double(log: list[Event], place: int) -> None:
    log.insert(place + 1, log[place])


def _move(log: list[Event], place: int) -> None:
    log.insert(0 if place else 5, log.pop(place))


@pytest.mark.parametrize("mutate", [_drop, _double, _move])
@pytest.mark.parametrize("place", range(10))
def test_no_event_can_be_missed(mutate: Callable[[list[Event], int], None], place: int) -> None:
    """Whichever event of a good log is dropped, doubled or moved, the history is rejected."""
    history = good()
    history.logs[JOB] = [*history.logs[JOB]]
    mutate(history.logs[JOB], place)
    with pytest.raises(BadHistory):
        check_history(history)


def test_an_attempt_goes_on_for_as_long_as_its_child() -> None:
    """An attempt that was cut off may be lost while its child runs, though its handler had ended."""
    history = good()
    _unheard(history)
    history.cut = {history.runs[0].worker}
    assert list(RULES["ends_are_recorded"](history))
    history.logs["child"] = [Event(1, 0, Kind.SUBMITTED, 0.0, "child"), Event(2, 1, Kind.STARTED, 0.0, "w")]
    assert list(RULES["ends_are_recorded"](history))
    history.jobs["child"] = job("child", parent=JOB)
    assert not list(RULES["ends_are_recorded"](history))
    history.logs["child"].append(Event(3, 1, Kind.COMPLETED, 0.0, None))
    assert list(RULES["ends_are_recorded"](history))


@pytest.mark.parametrize(
    "options", [{}, {"when_unread": "cancel"}, None], ids=["in time", "perhaps unread", "unknown"]
)
def test_who_may_have_been_asked_to_end_in_time_may_complete_late(options: dict[str, Any] | None) -> None:
    """A cancellation within the time limit, a job that is cancelled as unread, and unknown options: a late
    end violates no rule then."""
    history = good()
    _submitted(timeouts=Timeouts(run=2.0 if options == {} else 1.0), **(options or {}))(history)
    if options is None:
        del history.options[JOB]
    assert not list(RULES["limits_are_kept"](history))


def test_a_delay_that_is_not_known_accuses_nobody() -> None:
    """The delay of a job whose submit was not answered is unknown; that of a retry is in its log."""
    history = good()
    assert not list(RULES["starts_are_in_order"](history))
    history.logs[JOB][4] = event(5, 1, "retried", 10, Ended(Reason.WORKER_LOST, delay=3.0))
    assert list(RULES["starts_are_in_order"](history))
