"""Judge what happened from the journals of a `History`.

Nothing here asks the package anything, and nothing here shares code with it: a rule that both had wrong would
hide what it is for.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

import attrs

from ._fold import OVER, fold

if TYPE_CHECKING:
    from .._model.job import Event
    from ._history import HandlerRun, History


@attrs.frozen
class Violation:
    """A promise that was broken.

    Attributes:
        rule: The name of the rule.
        job_id: Whose job.
        message: What is wrong.
    """

    rule: str
    job_id: str
    message: str

    def __str__(self) -> str:
        return f"{self.rule}: job {self.job_id}: {self.message}"


class BadHistory(AssertionError):
    """A history holds what may not happen.

    Attributes:
        violations: What, one for each promise that was broken.
    """

    def __init__(self, history: History, violations: list[Violation]) -> None:
        lines = [str(violation) for violation in violations]
        for job_id in dict.fromkeys(violation.job_id for violation in violations):
            lines.append(f"the log of job {job_id}:")
            lines += [
                f"  {event.seq:>3} #{event.attempt} {event.kind}: {event.data!r}"
                for event in history.logs.get(job_id, ())
            ]
        super().__init__("\n".join(lines))
        self.violations = violations


Found = Iterator[tuple[str, str]]
_ENDS: Final = frozenset({"completed", "failed", "cancelled", "retried"})
_SLACK: Final = 0.001


def logs_are_legal(history: History) -> Found:
    """Each log is dense, its events are where they may be, and nothing follows the end."""
    for job_id, log in history.logs.items():
        try:
            seen = fold(log)
        except AssertionError as error:
            yield job_id, str(error)
            continue
        if history.settled and seen.state not in OVER:
            yield job_id, f"it is {seen.state} although everything had time to end"


def accepted_is_kept(history: History) -> Found:
    """A job whose submit was answered is there, and a key stands for one job."""
    by_key: dict[str, str] = {}
    for call in history.calls:
        if call.op != "submit" or call.returned is None or call.job_id is None:
            continue
        if call.job_id not in history.logs:
            yield call.job_id, f"{call.client} was told that it is accepted, and it is not there"
        if call.key is not None and by_key.setdefault(call.key, call.job_id) != call.job_id:
            yield call.job_id, f"the key {call.key!r} stands for job {by_key[call.key]} too"


def nothing_is_made_up(history: History) -> Found:
    """There are no more top jobs than there were keys to submit them with."""
    asked = {call.key for call in history.calls if call.op == "submit" and call.key is not None}
    ran = {run.job_id for run in history.runs}
    named = {call.job_id for call in history.calls if call.op == "submit" and call.job_id is not None}
    if asked and len(ran | named) > len(asked):
        extra = sorted((ran | named) - named)
        yield (extra or ["?"])[0], f"{len(ran | named)} jobs ran, but only {len(asked)} were asked for"


def answers_are_true(history: History) -> Found:
    """What was answered to a cancel or a wait is what became of the job, and was so by then."""
    for call in history.calls:
        log = history.logs.get(call.job_id or "", [])
        if call.returned is None or call.answer is None or not log or call.job_id is None:
            continue
        over, state = log[-1].kind.ends, _state(log)
        if call.op == "wait" and call.answer != state:
            yield call.job_id, f"{call.client} was told that it ended {call.answer}, and it is {state}"
        if call.op != "cancel":
            continue
        if call.answer == "cancelled" and state != "cancelled":
            yield call.job_id, f"{call.client} was told that it is cancelled, and it is {state}"
        if call.answer in {"already_over", "finished_first"} and not over:
            yield call.job_id, f"{call.client} was told {call.answer}, and it is {state}"
        if call.answer == "finished_first" and state == "cancelled":
            yield call.job_id, f"{call.client} was told that it finished first, and it is cancelled"
        if call.answer != "already_over" and not any(event.kind == "cancel_requested" for event in log):
            yield call.job_id, f"{call.client} asked for its cancellation, and the log does not know"


def readers_agree(history: History) -> Found:
    """A reader gets what the log holds behind its cursor: everything, once, in order, and then the end."""
    for reading in history.readings:
        log = history.logs.get(reading.job_id)
        if log is None:
            if reading.events:
                yield reading.job_id, f"{reading.reader} read a log that is not there"
            continue
        part = log[reading.after : reading.after + len(reading.events)]
        if reading.events != part:
            got = [event.seq for event in reading.events]
            yield reading.job_id, f"{reading.reader} read {got} behind {reading.after}, or other values"
        if reading.ended and reading.after + len(reading.events) != len(log):
            yield (
                reading.job_id,
                f"{reading.reader} was told the end behind {reading.after + len(part)}",
            )
        if reading.ended and not log[-1].kind.ends:
            yield reading.job_id, f"{reading.reader} was told that it is over, and it is not"


def nobody_waits_for_ever(history: History) -> Found:
    """Where everything had time to end, nobody waits for an answer any more, and no reader for an event."""
    for call in history.calls if history.settled else ():
        if call.waiting:
            yield call.job_id or "?", f"{call.client} still waits for the answer to a {call.op}"
    for reading in history.readings if history.settled else ():
        if reading.waiting:
            at = reading.after + len(reading.events)
            yield reading.job_id, f"{reading.reader} still waits for what comes behind {at}"


def attempts_sent_what_is_kept(history: History) -> Found:
    """What an attempt left in the log is what its handler set out to send, from the first on, without holes.

    If it completed, that is everything; if it ended otherwise by itself, at least all whose `send` returned.
    """
    for run in (run for run in history.runs if run.heard):
        log = history.logs.get(run.job_id, [])
        kept = [event.data for event in log if event.kind == "token" and event.attempt == run.attempt]
        if kept != run.attempted[: len(kept)]:
            yield run.job_id, f"attempt {run.attempt} set out to send {run.attempted}, and the log has {kept}"
        how = _end_of(log, run.attempt)
        if how is None or _lost(how):
            continue
        if how.kind == "completed" and kept != run.attempted:
            yield run.job_id, f"attempt {run.attempt} completed having sent {run.attempted}; kept are {kept}"
        if len(kept) < len(run.sent):
            yield run.job_id, f"attempt {run.attempt} was told that {run.sent} were sent; kept are {kept}"


def attempts_are_single(history: History) -> Found:
    """An attempt runs once; two of one job overlap only when the first had lost its worker or its lease."""
    runs: dict[str, list[HandlerRun]] = {}
    for run in history.runs:
        runs.setdefault(run.job_id, []).append(run)
    for job_id, several in runs.items():
        for number, count in Counter(run.attempt for run in several).items():
            if count > 1:
                yield job_id, f"attempt {number} ran {count} times"
        log = history.logs.get(job_id, [])
        several.sort(key=lambda run: run.attempt)
        for earlier, later in itertools.pairwise(several):
            over = earlier.ended is not None and earlier.ended <= later.began
            how = _end_of(log, earlier.attempt)
            if not over and not (how is not None and _lost(how)):
                yield job_id, f"attempt {later.attempt} began while attempt {earlier.attempt} still ran"


def ends_are_ends(history: History) -> Found:
    """When an attempt is over, so is its handler, unless its worker was lost; the log knows all that ran."""
    for run in history.runs:
        log = history.logs.get(run.job_id, [])
        if not any(event.kind == "started" and event.attempt == run.attempt for event in log):
            yield run.job_id, f"attempt {run.attempt} ran, and the log does not know"
        how = _end_of(log, run.attempt)
        if how is None or run.severed or _lost(how):
            continue
        lasted = how.timestamp - (_start_of(log, run.attempt) or how).timestamp
        if run.ended is None or run.ended - run.began > lasted + _SLACK:
            yield run.job_id, f"attempt {run.attempt} still ran when the log says that it had ended"


def leaving_costs_nothing(history: History) -> Found:
    """Who leaves in good order loses nothing: what was claimed is handed over at once, or ended first."""
    cut = set[str]() if history.orderly else history.cut
    for job_id, log in history.logs.items():
        worker = None
        for event in log:
            if event.kind == "started":
                worker = event.data
            if cut is None or event.kind not in _ENDS or event.kind == "completed" or worker in cut:
                continue
            if _lost(event):
                yield job_id, f"attempt {event.attempt} was left behind by {worker}, which did not die"
            elif event.data.reason == "shutdown" and event.data.delay:
                yield job_id, f"attempt {event.attempt} was handed over, and is not due at once"
    for run in history.runs:
        how = _end_of(history.logs.get(run.job_id, []), run.attempt)
        stopped = how is not None and how.kind == "retried" and how.data.reason == "shutdown"
        if stopped and run.worker in history.drained:
            yield run.job_id, f"attempt {run.attempt} was stopped by {run.worker}, which was to end it"


def ends_are_recorded(history: History) -> Found:
    """A handler that has ended is heard of: its attempt is not taken for lost later."""
    for run in history.runs if history.cut is not None else ():
        log = history.logs.get(run.job_id, [])
        how, began = _end_of(log, run.attempt), _start_of(log, run.attempt)
        if how is None or began is None or run.ended is None or run.severed or run.worker in history.mute:
            continue
        ended = began.timestamp + run.ended - run.began
        if run.worker in (history.cut or ()) and _has_a_child(history, run.job_id, ended):
            continue  # its attempt went on for as long as the child, and could not keep its lease
        if _lost(how) and how.timestamp > ended + _SLACK:
            yield run.job_id, f"attempt {run.attempt} ended, and {run.worker} did not say so"


def requests_are_passed_on(history: History) -> Found:
    """A handler whose cancellation is requested is told so, soon."""
    cut, soon = history.cut, history.soon
    for run in history.runs:
        if cut is None or soon is None or run.worker in cut or run.ended is None or run.told:
            continue
        log = history.logs.get(run.job_id, [])
        began = _start_of(log, run.attempt)
        asked = [one for one in log if one.kind == "cancel_requested" and one.attempt == run.attempt]
        if began and asked and asked[0].timestamp - began.timestamp + soon < run.ended - run.began:
            yield run.job_id, f"attempt {run.attempt} was not told of its cancellation"


def no_attempt_pays_for_the_store(history: History) -> Found:
    """That the store is away for a moment ends no attempt."""
    for job_id, log in history.logs.items():
        for event in log:
            error = None if event.kind not in _ENDS or event.kind == "completed" else event.data.error
            if error is not None and error.type.endswith("StoreUnavailable"):
                yield job_id, f"attempt {event.attempt} ended because the store was away"


def _has_a_child(history: History, job_id: str, at: float) -> bool:
    """Return whether a child of a job has ended only after some moment, or not at all."""
    children = [history.logs[child] for child, parent in history.parents.items() if parent == job_id]
    return any(log[-1].kind not in _ENDS or log[-1].timestamp > at for log in children)


def _state(log: list[Event]) -> str:
    try:
        return fold(log).state
    except AssertionError:
        return "unknown"


def _end_of(log: list[Event], attempt: int) -> Event | None:
    """Return the event that ended an attempt."""
    return next((event for event in log if event.attempt == attempt and event.kind in _ENDS), None)


def _start_of(log: list[Event], attempt: int) -> Event | None:
    return next((event for event in log if event.attempt == attempt and event.kind == "started"), None)


def _lost(end: Event) -> bool:
    """Return whether an attempt was taken from its worker, rather than ended by it."""
    if end.kind == "completed":
        return False
    return end.data.reason == "worker_lost" or "worker was lost" in (end.data.message or "")


RULES: Final[Mapping[str, Callable[[History], Found]]] = {
    rule.__name__: rule
    for rule in (
        logs_are_legal,
        accepted_is_kept,
        nothing_is_made_up,
        answers_are_true,
        readers_agree,
        nobody_waits_for_ever,
        attempts_sent_what_is_kept,
        attempts_are_single,
        ends_are_ends,
        leaving_costs_nothing,
        ends_are_recorded,
        requests_are_passed_on,
        no_attempt_pays_for_the_store,
    )
}
"""Every rule by its name; each finds what breaks it, as job id and message."""


def check_history(history: History) -> None:
    """Check that what happened may happen.

    Args:
        history: The journals and logs.

    Raises:
        BadHistory: It may not; the text names each broken rule, and shows the logs concerned.
    """
    found = [Violation(name, *what) for name, rule in RULES.items() for what in rule(history)]
    if found:
        raise BadHistory(history, found)
