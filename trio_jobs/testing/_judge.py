"""Judge what happened from the journals of a `History`.

Nothing here asks the package anything, and nothing here shares code with it: a rule that both had wrong would
hide what it is for.
"""

from __future__ import annotations

import inspect
import itertools
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from math import inf
from typing import TYPE_CHECKING, Final

import attrs

from . import _asked, _exclusive, _heard, _limiting, _order
from ._asked import SLACK, Found
from ._order import TRAVELS
from .fold import ENDS, OVER, end_of, fold, is_lost, start_of

if TYPE_CHECKING:
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


def attempts_sent_what_is_kept(history: History) -> Found:
    """What an attempt left in the log is what its handler set out to send, from the first on, without holes.

    If it completed, that is everything; if it ended otherwise by itself, at least all whose `send` returned.
    """
    for run in (run for run in history.runs if run.heard):
        log = history.logs.get(run.job_id, [])
        kept = [event.data for event in log if event.kind == "token" and event.attempt == run.attempt]
        if kept != run.attempted[: len(kept)]:
            yield run.job_id, f"attempt {run.attempt} set out to send {run.attempted}, and the log has {kept}"
        how = end_of(log, run.attempt)
        if how is None or is_lost(how):
            continue
        if how.kind == "completed" and kept != run.attempted:
            yield run.job_id, f"attempt {run.attempt} completed having sent {run.attempted}; kept are {kept}"
        if len(kept) < len(run.sent):
            yield run.job_id, f"attempt {run.attempt} was told that {run.sent} were sent; kept are {kept}"


def attempts_are_single(history: History) -> Found:
    """An attempt runs once; two of one job overlap only when the first had lost its worker or its lease.

    In one worker they never do.
    """
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
            how = end_of(log, earlier.attempt)
            beside = earlier.worker == later.worker and earlier.began < (later.ended or inf)
            if not over and (beside or how is None or not is_lost(how)):
                yield job_id, f"attempt {later.attempt} began while attempt {earlier.attempt} still ran"


def ends_are_ends(history: History) -> Found:
    """When an attempt is over, so is its handler, unless its worker was lost; the log knows all that ran."""
    for run in history.runs:
        log = history.logs.get(run.job_id, [])
        if not any(event.kind == "started" and event.attempt == run.attempt for event in log):
            yield run.job_id, f"attempt {run.attempt} ran, and the log does not know"
        how = end_of(log, run.attempt)
        if how is None or run.severed or is_lost(how):
            continue
        lasted = how.timestamp - (start_of(log, run.attempt) or how).timestamp
        if run.ended is None or run.ended - run.began > lasted + SLACK:
            yield run.job_id, f"attempt {run.attempt} still ran when the log says that it had ended"


def leaving_costs_nothing(history: History) -> Found:
    """A worker that leaves in good order loses nothing: it hands over or ends what it has claimed."""
    cut = history.cut
    for job_id, log in history.logs.items():
        worker = ""
        for event in log:
            if event.kind == "started":
                worker = event.data
            if cut is None or event.kind not in ENDS or event.kind == "completed":
                continue
            if _in_trouble(history, worker, event.timestamp, event.timestamp):
                continue
            if is_lost(event):
                yield job_id, f"attempt {event.attempt} was left behind by {worker}, which did not die"
            elif event.data.reason == "shutdown" and event.data.delay:
                yield job_id, f"attempt {event.attempt} was handed over, and is not due at once"
    for run in history.runs:
        how = end_of(history.logs.get(run.job_id, []), run.attempt)
        stopped = how is not None and how.kind == "retried" and how.data.reason == "shutdown"
        if stopped and run.worker in history.drained:
            yield run.job_id, f"attempt {run.attempt} was stopped by {run.worker}, which was to end it"


def leaving_claims_nothing(history: History) -> Found:
    """A worker that leaves claims nothing any more; it ends or hands over what comes late."""
    for job in history.jobs.values():
        for event in history.logs.get(job.id, ()) if job.parent is None else ():
            if event.kind != "started" or event.data not in history.leases:
                continue
            left = history.leaving.get(event.data, inf)
            on_its_way = any(since <= left <= until for since, until in history.troubles.get(event.data, ()))
            late = event.timestamp - history.epoch - left
            if late > TRAVELS and not on_its_way:
                yield job.id, f"{event.data} claimed it {late:g} s after it began to leave"
    for run in history.runs:
        left = inf if run.worker in history.drained else history.leaving.get(run.worker, inf)
        again = any(
            one.job_id == run.job_id and one.worker == run.worker for one in history.runs if one is not run
        )
        if run.worker in history.leases and run.began > left + SLACK and not again:
            yield run.job_id, f"attempt {run.attempt} was begun after {run.worker} had been left"


def only_what_ran_ends(history: History) -> Found:
    """Only a handler that ran returns or raises: an attempt that was never begun costs its job nothing."""
    ran = {(run.job_id, run.attempt) for run in history.runs}
    for job in history.jobs.values():
        for event in history.logs.get(job.id, ()) if job.parent is None else ():
            if event.kind not in ENDS or (job.id, event.attempt) in ran or event.attempt == 0:
                continue
            if event.kind == "completed" or event.data.reason in {"error", "snoozed", "awaiting_input"}:
                yield job.id, f"attempt {event.attempt} was never begun, and ended: {event.kind}"


def leases_are_kept(history: History) -> Found:
    """An attempt is lost only if its worker could not reach the store when its lease was to be renewed."""
    for run in history.runs:
        how, lease = end_of(history.logs.get(run.job_id, []), run.attempt), history.leases.get(run.worker)
        if how is None or lease is None or not is_lost(how) or run.severed:
            continue
        at = how.timestamp - history.epoch
        troubles = [until for since, until in history.troubles.get(run.worker, ()) if since <= at]
        if max(run.began, *troubles, 0.0) < at - lease / 2 and run.worker not in history.leaving:
            yield run.job_id, f"attempt {run.attempt} was lost, and nothing kept {run.worker} from renewing"


def ends_are_recorded(history: History) -> Found:
    """The end of a handler is recorded: its attempt is not taken for lost later."""
    for run in history.runs if history.cut is not None else ():
        log = history.logs.get(run.job_id, [])
        how, began = end_of(log, run.attempt), start_of(log, run.attempt)
        if how is None or began is None or run.ended is None or run.severed or run.worker in history.mute:
            continue
        ended = began.timestamp + run.ended - run.began
        troubled = _in_trouble(history, run.worker, how.timestamp, how.timestamp)
        if troubled and _has_a_child(history, run.job_id, ended):
            continue  # its attempt went on for as long as the child, and could not keep its lease
        if is_lost(how) and how.timestamp > ended + SLACK:
            yield run.job_id, f"attempt {run.attempt} ended, and {run.worker} did not say so"


def requests_are_passed_on(history: History) -> Found:
    """A handler whose cancellation is requested is told so, soon."""
    cut, soon = history.cut, history.soon
    for run in history.runs:
        if cut is None or soon is None or run.ended is None or run.told:
            continue
        log = history.logs.get(run.job_id, [])
        began = start_of(log, run.attempt)
        asked = [one for one in log if one.kind == "cancel_requested" and one.attempt == run.attempt]
        if not began or not asked or asked[0].timestamp - began.timestamp + soon >= run.ended - run.began:
            continue
        if not _in_trouble(history, run.worker, asked[0].timestamp, asked[0].timestamp + soon):
            yield run.job_id, f"attempt {run.attempt} was not told of its cancellation"


def no_attempt_pays_for_the_store(history: History) -> Found:
    """That the store is away for a moment, or that the registry is being left, ends no attempt."""
    for job_id, log in history.logs.items():
        for event in log:
            error = None if event.kind not in ENDS or event.kind == "completed" else event.data.error
            if error is None:
                continue
            if error.type.endswith("StoreUnavailable"):
                yield job_id, f"attempt {event.attempt} ended because the store was away"
            if error.type.endswith("ClosedResourceError") and "registry" in error.message:
                yield job_id, f"attempt {event.attempt} ended because its registry was being left"


def _in_trouble(history: History, worker: str, since: float, until: float) -> bool:
    """Return whether a worker was cut off, or could not reach the store, by the clock of the logs."""
    spans = history.troubles.get(worker, ())
    at = since - history.epoch, until - history.epoch
    return worker in (history.cut or ()) or any(begin <= at[1] and at[0] <= end for begin, end in spans)


def _has_a_child(history: History, job_id: str, at: float) -> bool:
    """Return whether a child of a job has ended only after some moment, or not at all."""
    children = [history.logs[child.id] for child in history.jobs.values() if child.parent == job_id]
    return any(log[-1].kind not in ENDS or log[-1].timestamp > at for log in children)


RULES: Final[Mapping[str, Callable[[History], Found]]] = {
    name: rule
    for module in (
        *(_asked.__name__, __name__, _order.__name__, _heard.__name__),
        *(_exclusive.__name__, _limiting.__name__),
    )
    for name, rule in vars(sys.modules[module]).items()
    if inspect.isgeneratorfunction(rule) and rule.__module__ == module and not name.startswith("_")
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
