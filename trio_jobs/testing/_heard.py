"""Judge inputs, waits for them, and steps, from the journals of a `History`; see `_judge.py`."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from ._asked import SLACK, Found
from .fold import Folded, end_of, start_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._model.job import Event
    from ._history import Call, HandlerRun, History


def inputs_are_kept(history: History) -> Found:
    """An input that was accepted is in the log, once, where its sender was told; what was refused is not."""
    for job_id, log in history.logs.items():
        sends = _sends(history, job_id)
        meant = sum(
            len(calls[0].values) for calls in sends.values() if calls[-1].answer not in {"full", "over"}
        )
        there = [event for event in log if event.kind == "input"]
        if sends and len(there) > meant:
            yield job_id, f"{meant} inputs were sent and not refused, and {len(there)} are there"
        for input_id, calls in sends.items():
            values, places = [*calls[0].values], {call.seq for call in calls if call.seq is not None}
            for seq in places:
                kept = [event.data for event in log[max(0, seq - len(values)) : seq] if event.kind == "input"]
                if len(places) > 1 or len(kept) != len(values) or any(map(_differ, kept, values)):
                    yield job_id, f"{input_id} was accepted as {sorted(places)}; at {seq} there is {kept}"


def _differ(one: object, other: object) -> bool:
    """Return whether values are not the same; one that JSON made into what the code declares may be."""
    return (type(one) is type(other) or one is None or other is None) and one != other


def inputs_are_in_order(history: History) -> Found:
    """What is sent after another input was accepted, by whomever, comes behind it."""
    for job_id in history.logs:
        known = [calls for calls in _sends(history, job_id).values() if any(call.seq for call in calls)]
        for calls in known:
            for others in known:
                told = min(call.returned or 0.0 for call in others if call.seq)
                seq, other = (max(call.seq or 0 for call in some) for some in (calls, others))
                if told < min(call.invoked for call in calls) - SLACK and other >= seq:
                    yield job_id, f"{calls[0].input_id} was sent after {others[0].input_id}, and is before it"


def _sends(history: History, job_id: str) -> dict[str, list[Call]]:
    """Return the sends to a job, all tries of the same input together, in order."""
    sends = dict[str, "list[Call]"]()
    for call in history.calls:
        if call.op == "send" and call.job_id == job_id and call.input_id is not None:
            sends.setdefault(call.input_id, []).append(call)
    return sends


def boxes_are_kept(history: History) -> Found:
    """No job has more unconsumed inputs than it may, and nothing is refused for which there was room."""
    box = inf if history.box is None else history.box
    for job_id, log in history.logs.items():
        levels = list(_levels(log))
        for at, level in levels:
            if level > box:
                yield job_id, f"it had {level} unconsumed inputs at {at:g}; {box} is the most"
        for call in history.calls:
            if call.job_id != job_id or call.answer != "full" or history.box is None:
                continue
            since, until = (
                call.invoked + history.epoch - SLACK,
                (call.returned or 0.0) + history.epoch + SLACK,
            )
            before = [level for at, level in levels if at < since][-1:]
            during = [level for at, level in levels if since <= at <= until]
            if max(before + during, default=0) + len(call.values) <= box:
                yield job_id, f"{call.input_id} was refused although there was room"


def _levels(log: list[Event]) -> Iterator[tuple[float, int]]:
    """Return how many inputs were unconsumed after each event, and since when."""
    seen = Folded()
    for event in log[1:]:
        try:
            seen.add(event)
        except AssertionError:  # another rule says so
            return
        yield event.timestamp, len(seen.unconsumed)


def attempts_receive_what_is_left(history: History) -> Found:
    """An attempt receives, in order and each once, the inputs that those before it have not consumed.

    What it consumes, and the place at which it ends, is what it has received.
    """
    for run in history.runs:
        log = history.logs.get(run.job_id, [])
        start = _consumed_before(log, run.attempt)
        left = [(event.seq, event.data) for event in log if event.kind == "input" and event.seq > start]
        wrong = any(map(_is_another, run.received, left)) or len(run.received) > len(left)
        if run.heard and wrong:
            yield run.job_id, f"attempt {run.attempt} received {run.received} of {left}"
        places = [start, *(seq for seq, _ in run.received)]
        for event in log if run.heard else ():
            if event.attempt != run.attempt or event.received is None:
                continue
            may = {places[-1]}
            if event.kind == "saved":  # what is consumed travels with the value
                may = {max(start, seq) for value, seq in run.saves if value == event.data} or {*places}
                start = max(start, event.received)
            if event.received not in may:
                text = f"attempt {run.attempt} had received {may}; {event.kind} says {event.received}"
                yield run.job_id, text


def _is_another(received: tuple[int, object], kept: tuple[int, object]) -> bool:
    return received[0] != kept[0] or _differ(received[1], kept[1])


def _consumed_before(log: list[Event], attempt: int) -> int:
    saves = [one.received or 0 for one in log if one.kind == "saved" and one.attempt < attempt]
    return max(saves, default=0)


def waits_end_as_told(history: History) -> Found:
    """An attempt is told that its wait timed out exactly if no input came that was not received before.

    It may wait again, unless it received nothing although an input came, or there will be no more.
    """
    for run in history.runs:
        log = history.logs.get(run.job_id, [])
        waited, received, came = False, 0, 0
        for event in log[: (start_of(log, run.attempt) or log[-1]).seq] if log else ():
            if event.kind == "retried":
                waited, received = event.data.reason == "awaiting_input", event.received or 0
            elif event.kind in {"input", "inputs_ended"}:
                came = event.seq
        if run.timed_out != (waited and came <= received):
            yield run.job_id, f"attempt {run.attempt} was told timed_out={run.timed_out}; input {came} came"
        how = end_of(log, run.attempt)
        failed = how is not None and how.kind == "failed" and how.data.reason == "error"
        error = how.data.error if how is not None and failed else None
        in_vain = (waited and came > received and not run.received) or any(
            event.kind == "inputs_ended" for event in log
        )
        if error is not None and error.type.endswith("AwaitInput") and run.heard and not in_vain:
            yield run.job_id, f"attempt {run.attempt} might have waited for an input, and failed"


def who_waits_is_given_it(history: History) -> Found:
    """Who waits for an input that is there gets it, soon."""
    for run in history.runs if history.prompt is not None else ():
        log = history.logs.get(run.job_id, [])
        for since, until, behind in run.in_vain:
            there = [one for one in log if one.kind in {"input", "inputs_ended"} and one.seq > behind]
            if there and run.worker not in history.mute and not run.severed:
                lasted = until - max(since, there[0].timestamp - history.epoch)
                if lasted > (history.prompt or 0.0):
                    yield run.job_id, f"attempt {run.attempt} waited {lasted:g} s for an input that was there"


def steps_are_kept(history: History) -> Found:
    """A step is kept once, as what its function returned; all later attempts get that, and do not call it."""
    for job_id, log in history.logs.items():
        kept = dict[str, tuple[int, object]]()
        for event in log:
            if event.kind == "step":
                if event.data.name in kept:
                    yield job_id, f"{event.data.name!r} is kept twice"
                kept[event.data.name] = event.attempt, event.data.result
        for run in (run for run in history.runs if run.job_id == job_id):
            yield from _kept(run, kept)


def _kept(run: HandlerRun, kept: dict[str, tuple[int, object]]) -> Found:
    for name, (attempt, result) in kept.items():
        returned = run.called.get(name, ...)
        if attempt == run.attempt and (returned is ... or _differ(returned, result)):
            yield run.job_id, f"{name!r} is kept as {result!r}, and returned {returned!r}"
        if attempt < run.attempt and name in run.called:
            yield run.job_id, f"{name!r} was called by attempt {run.attempt}, and attempt {attempt} kept it"
    for name, value in run.steps.items():
        if name not in kept or _differ(kept[name][1], value):
            yield run.job_id, f"{name!r} returned {value!r}, and kept is {kept.get(name)}"
