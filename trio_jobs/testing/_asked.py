"""Judge what was asked, answered and read, from the journals of a `History`; see `_judge.py`."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING, Final

from .._model.job import Timeouts
from .fold import end_of, is_lost, state_of, states_of

if TYPE_CHECKING:
    from .._model.job import Event, Job
    from ._history import Call, History

Found = Iterator[tuple[str, str]]
_UNFINISHED: Final = frozenset({"queued", "running", "retrying"})
SLACK: Final = 0.001
"""Seconds by which two clocks, or two sums of times, may differ."""


def accepted_is_kept(history: History) -> Found:
    """A job whose submit was answered is in the store, and a key stands for one job."""
    by_key: dict[str, str] = {}
    for call in history.calls:
        for job_id in call.told:
            if job_id not in history.logs:
                yield job_id, f"{call.client} was told that it is accepted, and it is not there"
            if history.asked.get(call.key or "", {}).get("on_busy") == "attach":
                continue  # what has the name may be another job each time
            if call.op == "submit" and call.key and by_key.setdefault(call.key, job_id) != job_id:
                yield job_id, f"the key {call.key!r} stands for job {by_key[call.key]} too"


def nothing_is_made_up(history: History) -> Found:
    """There are no more top jobs than were asked for, by keys or in batches."""
    asked = {call.key: call.count for call in history.calls if call.key and call.found != []}
    named = {job_id for call in history.calls for job_id in call.told}
    ran = {run.job_id for run in history.runs} - history.ticks.keys()
    if asked and len(ran | named) > sum(asked.values()):
        extra = sorted((ran | named) - named)
        text = f"{len(ran | named)} jobs ran, but only {sum(asked.values())} were asked for"
        yield (extra or ["?"])[0], text


def ticks_fire_once(history: History) -> Found:
    """A tick of a schedule has one job at most, and none after a later tick had one."""
    newest: dict[str, float] = {}
    for job_id, job in history.jobs.items():
        name, tick = history.ticks.get(job_id, (job.tags.get("schedule"), -inf))
        if name is not None and tick <= newest.get(name, -inf):
            yield (
                job_id,
                f"it is for the tick of {name!r} at {tick}, and one for {newest[name]} was there before",
            )
        elif name is not None:
            newest[name] = tick


def batches_are_whole(history: History) -> Found:
    """Of what is submitted at once all is there, or nothing; nothing, if that was cancelled."""
    for call in history.calls:
        there = call.found
        if there is None:
            continue
        one, many = (there or ["?"])[0], f"{len(there)} of {call.count} jobs of one submit are there"
        if len(there) not in {0, call.count}:
            yield one, many
        elif there and call.cancelled:
            yield one, f"{many}, and it was cancelled"
        elif call.returned is not None and not call.cancelled and sorted(there) != sorted(call.told):
            yield one, f"{many}, and {call.client} was told of {call.told}"


def answers_are_true(history: History) -> Found:
    """What was answered to a cancel or a wait is what became of the job, and was so by then."""
    for call in history.calls:
        log = history.logs.get(call.job_id or "", [])
        if call.returned is None or call.answer is None or not log or call.job_id is None:
            continue
        over, state = log[-1].kind.ends, state_of(log)
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


def cancels_are_exact(history: History) -> Found:
    """`cancel_where` asks all jobs that match and are not over, no other one, and says how many."""
    for call in (call for call in history.calls if call.where is not None):
        least, most, what = 0, 0, f"{call.client} asked for the cancellation of {call.where}"
        for job in history.jobs.values():
            log = history.logs.get(job.id, [])
            may, must = _meant(history, call, job, log)
            asked = [event for event in log if event.kind == "cancel_requested"]
            least, most = least + must, most + may
            if not may and any(event.data == call.reason for event in asked):
                yield job.id, f"{what}, which it is not"
            if must and not any(event.timestamp <= _to(history, call) for event in asked):
                yield job.id, f"{what}, and it was passed over"
        if call.returned is not None and not least <= call.count <= most:
            yield "?", f"{what}; {call.count} were asked, and there were {least} to {most}"


def _to(history: History, call: Call) -> float:
    return (inf if call.returned is None else call.returned) + history.epoch + SLACK


def _meant(history: History, call: Call, job: Job, log: list[Event]) -> tuple[bool, bool]:
    """Return whether a `cancel_where` by tags, owner and states may concern a job, and whether it must."""
    where = call.where or {}
    fits = where.get("owner", job.owner) == job.owner and where.get("tags", {}).items() <= job.tags.items()
    if not fits or not log:
        return False, False
    since, until = call.invoked + history.epoch - SLACK, _to(history, call)
    wanted = _UNFINISHED & set(map(str, where.get("state", _UNFINISHED)))
    during = {state for state, begins, ends in states_of(log) if begins <= until and ends >= since}
    must = call.returned is not None and log[0].timestamp < since and during <= wanted
    return bool(during & wanted), must


def graces_are_kept(history: History) -> Found:
    """A handler that is cancelled because that was requested was told so, and had its grace."""
    for run in history.runs:
        how, job = end_of(history.logs.get(run.job_id, []), run.attempt), history.jobs.get(run.job_id)
        if how is None or how.kind != "cancelled" or how.data.reason != "user" or how.data.error is not None:
            continue
        if job is None or run.ended is None or not run.stopped or run.severed or is_lost(how):
            continue
        if history.leaving.get(run.worker, inf) <= run.ended or job.timeouts != Timeouts():
            continue  # it may have been cancelled for that
        if not run.told:
            yield run.job_id, f"attempt {run.attempt} was cancelled, and was not told before"
        asked = [
            call.invoked + call.grace
            for call in history.calls
            if (call.job_id == run.job_id or call.where is not None) and call.grace is not None
        ]
        if job.exclusive is not None:
            asked += _taken_at(history, job)
        if asked and run.ended < min(asked) - SLACK:
            yield run.job_id, f"attempt {run.attempt} was cancelled {min(asked) - run.ended:g} s too early"


def _taken_at(history: History, job: Job) -> Iterator[float]:
    """Return when a job was asked to end as another one was to have its exclusive name."""
    since = history.logs[job.id][0].timestamp
    for other in history.jobs.values():
        named = (other.owner, other.exclusive) == (job.owner, job.exclusive)
        options = history.options.get(other.id, {"on_busy": "cancel"})  # it may be that
        if named and options.get("on_busy") == "cancel" and history.logs[other.id][0].timestamp >= since:
            yield history.logs[other.id][0].timestamp - history.epoch


def readers_agree(history: History) -> Found:
    """A reader gets what the log holds behind its cursor: everything, once, in order, and then the end."""
    for reading in history.readings:
        log = history.logs.get(reading.job_id)
        if log is None:
            if reading.events:
                yield reading.job_id, f"{reading.reader} read a log that is not there"
            continue
        part = log[reading.after : reading.cursor]
        if reading.events != part:
            got = [event.seq for event in reading.events]
            yield reading.job_id, f"{reading.reader} read {got} behind {reading.after}, or other values"
        if reading.ended and reading.cursor != len(log):
            text = f"{reading.reader} was told the end behind {reading.after + len(part)}"
            yield reading.job_id, text
        if reading.ended and not log[-1].kind.ends:
            yield reading.job_id, f"{reading.reader} was told that it is over, and it is not"


def nobody_waits_for_ever(history: History) -> Found:
    """Where everything had time to end, nobody waits for an answer any more, and no reader for an event."""
    for call in history.calls if history.settled else ():
        if call.waiting:
            yield call.job_id or "?", f"{call.client} still waits for the answer to a {call.op}"
    for reading in history.readings if history.settled else ():
        if reading.waiting:
            yield reading.job_id, f"{reading.reader} still waits for what comes behind {reading.cursor}"
