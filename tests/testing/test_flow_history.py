"""The checker of histories, of exclusive jobs and of limits: each bad history violates the rule it is for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest

from tests.testing.test_history import BAD, JOB, UNHEARD, event, good, job
from trio_jobs import Debounce, Ended, Event, Limit, Reason, Retry
from trio_jobs.testing import BadHistory, Call, HandlerRun, History, check_history
from trio_jobs.testing._judge import RULES

Fault = Callable[[History], None]
PATIENT: Any = {"retry": Retry(attempts=9)}


def life(since: float, *starts: tuple[float, float], end: str = "completed", data: Any = None) -> list[Event]:
    """Return the log of a job that was accepted at a moment, and ran at these times, its end included.

    The last of them may be for the end alone; then the job ends while it waits.
    """
    log = [event(1, 0, "submitted", since, "h")]
    for attempt, (began, ended) in enumerate(starts, 1):
        last = attempt == len(starts)
        retried = Ended(Reason.ERROR, delay=0.0)
        kind, value = (end, data) if last else ("retried", retried)
        if not (last and began == ended):
            log.append(event(len(log) + 1, attempt, "started", began, "w"))
        log.append(event(len(log) + 1, log[-1].attempt, kind, ended, value))
    return log


def add(history: History, job_id: str, log: Sequence[Event], **options: Any) -> None:
    """Add a job with its log, the call that submitted it, and the runs of its handler."""
    fields = {name: options[name] for name in ("owner", "exclusive") if name in options}
    end = log[-1].data
    replaced_by = end.replaced_by if isinstance(end, Ended) else None
    history.jobs[job_id] = job(job_id, handler="h", key=job_id, replaced_by=replaced_by, **PATIENT, **fields)
    history.logs[job_id] = [*log]
    history.asked[job_id] = history.options[job_id] = options
    at = log[0].timestamp
    history.calls.append(Call("c", "submit", job_id, job_id, at, at))
    for one in log:
        if one.kind == "started":
            end_at = next(after.timestamp for after in log[one.seq :] if after.attempt == one.attempt)
            history.runs.append(HandlerRun(job_id, one.attempt, "w", one.timestamp, end_at))


def replaced(by: str) -> Ended:
    return Ended(Reason.REPLACED, replaced_by=by)


def named() -> History:
    """Return jobs of one name: one runs, fails and runs again; two are replaced; the last one cancels."""
    history = History(settled=True)
    name = {"exclusive": "n"}
    add(history, "a", life(0, (0, 2), (2.2, 10)), **name)
    gone = life(1, (2.5, 2.5), end="cancelled", data=replaced("c"))
    add(history, "b", gone, **name, on_busy="after")
    gone = life(2.5, (4, 4), end="cancelled", data=replaced("d"))
    add(history, "c", gone, **name, on_busy=Debounce(1.0, 60.0))
    log = life(4, (10, 12), end="cancelled", data=Ended(Reason.USER))
    log[2:2] = [event(3, 1, "cancel_requested", 11, "another")]
    log[3] = attrs.evolve(log[3], seq=4)
    add(history, "d", log, **name, on_busy="replace")
    history.runs[-1].told = history.runs[-1].stopped = True
    history.runs[-1].ended = 12
    add(history, "e", life(11, (12, 13)), **name, on_busy="cancel")
    add(history, "mine", life(5, (5, 14)), **name, owner="me", on_busy="after")
    history.asked["f"] = {**name, "on_busy": "attach"}
    history.calls += [
        Call("c", "submit", "a", "f", 4, 5),
        Call("c", "submit", "a", "f", 4, None),
        Call("c", "submit", "e", "f", 12, 13),
    ]
    history.asked["g"] = dict(name)
    history.calls.append(Call("c", "submit", None, "g", 9, 9, holder="a"))
    return history


def limited() -> History:
    """Return jobs of two keys of a handler that lets one of each run at once, and two start per second."""
    history = History(settled=True)
    own = Limit(at_once=1, per_second=1.0, burst=2, keyed=True)
    history.limits["h"] = {"h[0]": own, "all": Limit(at_once=2)}
    add(history, "a", life(0, (0, 1)), limit_key="k")
    add(history, "b", life(0, (1, 5)), limit_key="k")
    add(history, "c", life(0.5, (1.5, 2)), limit_key="l")
    add(history, "d", life(0.5, (2.5, 3)), limit_key="l")
    add(history, "e", life(0.5, (6, 7)), limit_key="k")
    history.jobs["odd"] = job("odd", handler="h")
    history.logs["odd"] = life(20, (20, 21))
    history.calls.append(Call("c", "submit_many", None, "many", 20, None))
    history.runs.append(HandlerRun("odd", 1, "w", 20, 21))
    return history


def scheduled() -> History:
    """Return two jobs of a schedule, for a tick each; a third one was refused."""
    history = History(settled=True)
    for place, job_id in enumerate(("a", "b")):
        log = life(10 + place, (10 + place, 11 + place))
        history.jobs[job_id] = job(job_id, tags={"schedule": "s"})
        history.logs[job_id] = log
        history.runs.append(HandlerRun(job_id, 1, "w", 10 + place, 11 + place))
        history.ticks[job_id] = "s", 10.0 + place
    history.ticks["refused"] = "s", 10.0
    return history


@pytest.mark.parametrize(
    "history", [named(), limited(), scheduled()], ids=["exclusive", "limited", "scheduled"]
)
def test_good_histories_pass(history: History) -> None:
    """Jobs of a name one after the other, jobs that keep their limits, and one job for each tick violate no
    rule."""
    check_history(history)


def log_of(job_id: str, log: list[Event]) -> Fault:
    """Return a fault: a job has another log."""
    return lambda history: history.logs.__setitem__(job_id, log)


def told(**fields: Any) -> Fault:
    """Return a fault: a submit was turned away, and told wrongly why."""
    call = {"key": "g", "invoked": 9.0, "returned": 9.0, **fields}
    return lambda history: history.calls.append(Call("c", "submit", **call))


def options(job_id: str, **given: Any) -> Fault:
    """Return a fault: a job was submitted with other options."""
    return lambda history: history.options.__setitem__(job_id, given)


def _not_asked(history: History) -> None:
    del history.logs["d"][2]
    history.logs["d"][2] = attrs.evolve(history.logs["d"][2], seq=3)


def _ran(history: History) -> None:
    history.logs["b"] = life(1, (2, 2.5), end="cancelled", data=replaced("c"))


def _put_off(history: History) -> None:
    history.logs["a"] = life(0, (0, 2))
    gone = life(3, (4, 4), end="cancelled", data=replaced("c"))
    add(history, "b", gone, exclusive="n", on_busy=Debounce(2.0, 2.5))
    gone = life(4, (5, 5), end="cancelled", data=replaced("d"))
    add(history, "c", gone, exclusive="n", on_busy=Debounce(2.0, 2.5))
    for job_id in ("b", "c"):
        history.jobs[job_id] = attrs.evolve(history.jobs[job_id], replaced_by=chr(ord(job_id) + 1))
    history.logs["d"] = life(5, (5, 6))
    history.options["d"] = {"on_busy": Debounce(2.0, 2.5)}


def _hogged(history: History) -> None:
    for place, since in enumerate((30.0, 31.0, 32.0)):
        add(history, f"x{place}", life(29, (since, since + 0.5)), limit_key="k")
    add(history, "late", life(29.5, (33, 34)), limit_key="m")


NAMED: dict[str, tuple[str, Fault]] = {
    "two of a name at once": ("names_have_one_holder", log_of("d", life(4, (9, 12)))),
    "one between two attempts of another": ("names_have_one_holder", log_of("b", life(1, (2.1, 2.15)))),
    "accepted though the name was taken": ("the_busy_are_treated_as_told", options("e", on_busy="attach")),
    "refused only if it is said": ("the_busy_are_treated_as_told", options("e")),
    "one that waited was not replaced": ("the_busy_are_treated_as_told", log_of("b", life(1, (11, 11.5)))),
    "the one that ran was not cancelled": ("the_busy_are_treated_as_told", _not_asked),
    "replaced by one that was not to": ("the_replaced_waited", options("d", on_busy="after")),
    "replaced by nobody": (
        "the_replaced_waited",
        log_of("b", life(1, (2, 2), end="cancelled", data=replaced("z"))),
    ),
    "replaced by one of another name": (
        "the_replaced_waited",
        log_of("b", life(1, (5, 5), end="cancelled", data=replaced("mine"))),
    ),
    "replaced too early": (
        "the_replaced_waited",
        log_of("b", life(1, (2, 2), end="cancelled", data=replaced("c"))),
    ),
    "replaced while it ran": ("the_replaced_waited", _ran),
    "turned away for one that never had the name": (
        "who_is_turned_away_is_told_the_holder",
        told(holder="mine"),
    ),
    "turned away for one that had ended": (
        "who_is_turned_away_is_told_the_holder",
        told(holder="a", invoked=11.0, returned=11.0),
    ),
    "turned away for one that was behind": ("who_is_turned_away_is_told_the_holder", told(holder="d")),
    "attached to one that was behind": (
        "who_is_turned_away_is_told_the_holder",
        told(key="f", job_id="d"),
    ),
    "put off for less time than it was told": ("starts_are_in_order", _put_off),
}
LIMITED: dict[str, tuple[str, Fault]] = {
    "two of a key at once": ("places_are_kept", log_of("b", life(0, (0.9, 5)))),
    "three at once under a shared limit": (
        "places_are_kept",
        lambda history: add(history, "x", life(0, (1.6, 1.7)), limit_key="m"),
    ),
    "the place of what is lost": (
        "places_are_kept",
        lambda history: add(history, "x", life(4, (4.5, 4.6)), limit_key="k"),
    ),
    "three starts in a second": (
        "rates_are_kept",
        lambda history: add(history, "x", life(6, (7.1, 7.2), (7.2, 7.3), (7.3, 7.4)), limit_key="k"),
    ),
    "a key that is passed over twice": ("keys_take_turns", _hogged),
    "out of order within a key": (
        "starts_are_in_order",
        lambda history: history.logs.update(b=life(0, (20, 21))),
    ),
}


@pytest.mark.parametrize("tick", [("s", 10.0), ("s", 9.0), None], ids=["same", "older", "unknown"])
def test_bad_histories_of_schedules_are_rejected(tick: tuple[str, float] | None) -> None:
    """A second job for a tick, one for an older tick, and a job of a schedule for no tick are found."""
    history = scheduled()
    del history.ticks["b"]
    if tick is not None:
        history.ticks["b"] = tick
    assert [job_id for job_id, _ in RULES["ticks_fire_once"](history)] == ["b"]


@pytest.mark.parametrize(("rule", "fault"), NAMED.values(), ids=NAMED)
def test_bad_histories_of_exclusive_jobs_are_rejected(rule: str, fault: Fault) -> None:
    """Each kind of bad history violates the rule that it is for."""
    history = named()
    fault(history)
    with pytest.raises(BadHistory) as bad:
        check_history(history)
    assert rule in {violation.rule for violation in bad.value.violations}


@pytest.mark.parametrize(("rule", "fault"), LIMITED.values(), ids=LIMITED)
def test_bad_histories_of_limits_are_rejected(rule: str, fault: Fault) -> None:
    """Each kind of bad history violates the rule that it is for."""
    history = limited()
    fault(history)
    with pytest.raises(BadHistory) as bad:
        check_history(history)
    assert rule in {violation.rule for violation in bad.value.violations}


def test_every_rule_is_broken_by_some_history() -> None:
    """Each rule is violated by one of the bad histories."""
    several = [*BAD.values(), *UNHEARD.values(), *NAMED.values(), *LIMITED.values()]
    assert {"ticks_fire_once", *(rule for rule, _ in several)} == set(RULES)


def test_what_is_not_known_accuses_nobody() -> None:
    """Where it is not known what a job was told to do with others, or for which key it is, no rule of that
    is violated."""
    history = named()
    for job_id in ("b", "d", "e"):
        del history.options[job_id]
    check_history(history)
    history = limited()
    history.logs["odd"] = life(0, (0.2, 0.3))
    history.runs[-1] = HandlerRun("odd", 1, "w", 0.2, 0.3)
    check_history(history)


def test_what_expires_has_its_name_no_more() -> None:
    """A job whose queue timeout has passed has ended, and the next one of its name may start."""
    history = named()
    add(history, "late", life(20, (21, 21), end="expired", data=Ended(Reason.QUEUE_TIMEOUT)), exclusive="n")
    add(history, "next", life(20.5, (21, 22)), exclusive="n", on_busy="after")
    check_history(history)


def test_what_another_job_takes_the_place_of_has_no_grace() -> None:
    """A job that is cancelled for another one of its name ends at once, whoever asks for it with a grace."""
    history = named()
    history.calls.append(Call("c", "cancel", "d", None, 12, 12, "cancelled", reason="r", grace=9.0))
    assert not list(RULES["graces_are_kept"](history))
    history.options["e"] = history.options["mine"]
    assert list(RULES["graces_are_kept"](history))


def test_a_key_that_attaches_may_stand_for_several_jobs() -> None:
    """Who submits again with `attach` gets whoever has the name then; without, the same job each time."""
    history = good()
    history.logs["other"] = history.logs[JOB]
    history.calls.append(Call("c", "submit", "other", "k", 3, 4))
    history.asked["k"] = {"on_busy": "attach"}
    assert not list(RULES["accepted_is_kept"](history))
    history.asked["k"] = {}
    assert list(RULES["accepted_is_kept"](history))
