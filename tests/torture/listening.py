"""What a tortured file must show of inputs, waits and steps: a part of `checker.py`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from evidence import INBOX, Event, Evidence, Job, Rule

CONSUMING = {"saved", "completed"}
ENDS = {"retried", "completed", "failed", "cancelled"}
CLOCK = 0.05
"""Seconds by which the file's clock may be set back."""


def _consumed(log: list[Event]) -> int:
    """Return the last input that a log says is consumed."""
    return max((event.received or 0 for event in log if event.kind in CONSUMING), default=0)


def _inputs(log: list[Event], after: int = 0) -> list[Event]:
    return [event for event in log if event.kind == "input" and event.seq > after]


def rows_know_their_inputs(evidence: Evidence) -> Iterator[str]:
    """Yield rows that do not say what their logs amount to, and inputs behind their end."""
    for job in evidence.jobs.values():
        consumed = _consumed(job.log)
        ended = [event.seq for event in job.log if event.kind == "inputs_ended"]
        news = [event.seq for event in job.log if event.kind in {"input", "inputs_ended"}]
        said = (consumed, len(_inputs(job.log, consumed)), max(news, default=0), [*ended, None][0])
        row = (job.consumed, job.unconsumed, job.last_input, job.inputs_ended)
        if row != said or len(ended) > 1:
            yield f"job {job.id}: the row says {row} of its inputs, the log {said}"
        if ended and max(news) > ended[0]:
            yield f"job {job.id} was sent an input after their end"


def boxes_are_bounded(evidence: Evidence) -> Iterator[str]:
    """Yield inputs that were accepted into a full box."""
    for job in evidence.jobs.values():
        for place, event in enumerate(job.log):
            before = job.log[: place + 1]
            if event.kind == "input" and len(_inputs(before, _consumed(before))) > INBOX:
                yield f"job {job.id} has more than {INBOX} unconsumed inputs at {event.seq}"


def accepted_inputs_are_kept(evidence: Evidence) -> Iterator[str]:
    """Yield answered sends whose inputs are not where the answer says; and ids with two answers."""
    seqs: dict[tuple[str, str], int] = {}
    for entry in evidence.said("sent"):
        job, seq, values = evidence.jobs.get(entry["job"]), entry["seq"], entry["values"]
        kept = job.log[max(0, seq - len(values)) : seq] if job else []
        if [(event.kind, event.data) for event in kept] != [("input", value) for value in values]:
            yield f"the inputs {values} of job {entry['job']} are not at {seq}: {kept}"
        if seqs.setdefault((entry["job"], entry["id"]), seq) != seq:
            yield f"the input {entry['id']} of job {entry['job']} is there twice"
    for entry in evidence.said("inputs ended"):
        job = evidence.jobs.get(entry["job"])
        if job is None or job.inputs_ended != entry["seq"]:
            yield f"the inputs of job {entry['job']} did not end at {entry['seq']}"


def inputs_are_the_senders(evidence: Evidence) -> Iterator[str]:
    """Yield jobs whose inputs are not the first that were sent, in their order, each once."""
    sent: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for entry in evidence.said("send"):
        sent[entry["job"]][entry["id"]] = entry["values"]
    for job in evidence.jobs.values():
        kept = [event.data for event in _inputs(job.log)]
        meant = [value for values in sent[job.id].values() for value in values]
        if kept != meant[: len(kept)]:
            yield f"job {job.id} was sent {meant}, and has {kept}"


def attempts_receive_in_order(evidence: Evidence) -> Iterator[str]:
    """Yield attempts that did not receive the first inputs that were not consumed, in order and each once."""
    received = evidence.said_in_attempts("received")
    for job, place, started in _starts(evidence):
        there = [(one.seq, one.data) for one in _inputs(job.log, _consumed(job.log[:place]))]
        got = [(one["seq"], one["value"]) for one in received[job.id, started.attempt]]
        if got != there[: len(got)]:
            yield f"job {job.id}, attempt {started.attempt} received {got} of {there}"


def only_what_was_received_is_consumed(evidence: Evidence) -> Iterator[str]:
    """Yield ends and saves that do not say what their attempt had received, or consume less than before."""
    received, saves = evidence.said_in_attempts("received"), evidence.said_in_attempts("save")
    for job, place, started in _starts(evidence):
        consumed = _consumed(job.log[:place])
        last = max([consumed, *(one["seq"] for one in received[job.id, started.attempt])])
        said = [(one["received"], one["value"]) for one in saves[job.id, started.attempt]]
        for event in job.log:
            if event.attempt != started.attempt or event.seq <= started.seq:
                continue
            if event.kind == "saved" and event.received != consumed:
                if (event.received, event.data) not in said or not consumed < (event.received or 0) <= last:
                    yield f"job {job.id}: nobody saved {event}"
                consumed = event.received or 0
            elif event.kind in ENDS and (event.received is not None or event.kind == "completed"):
                if event.received != last:
                    yield f"job {job.id}: {event} of an attempt that had received up to {last}"
            elif event.received is not None and event.kind != "saved":
                yield f"job {job.id}: {event} received something"


def what_completed_heard_all(evidence: Evidence) -> Iterator[str]:
    """Yield listeners that returned something else than all their consumed inputs, in order."""
    for job in evidence.jobs.values():
        heard = [event.data for event in _inputs(job.log) if event.seq <= _consumed(job.log)]
        for event in job.log:
            if event.kind == "completed" and (heard or event.data == []) and event.data != heard:
                yield f"job {job.id} returned {event.data}, and consumed {heard}"


def waits_end_in_time(evidence: Evidence) -> Iterator[str]:
    """Yield waits that no handler began, that ended for no reason, or that did not hear of an input."""
    begun = evidence.said_in_attempts("wait")
    for job in evidence.jobs.values():
        for place, event in enumerate(job.log):
            if event.kind != "retried" or event.data["reason"] != "awaiting_input":
                continue
            if not begun[job.id, event.attempt]:
                yield f"job {job.id}, attempt {event.attempt} waits, and its handler did not say so"
            later = [one for one in job.log[place:] if one.attempt > event.attempt][:1]
            meanwhile = [one for one in job.log if not later or one.seq < later[0].seq]
            news = [
                one
                for one in meanwhile
                if one.kind in {"input", "inputs_ended"} and one.seq > (event.received or 0)
            ]
            limit = float(event.data["delay"])  # perhaps "inf"
            if later and not news and later[0].at < event.at + limit - CLOCK:
                yield f"job {job.id} waited at {event.seq}, and started for no reason at {later[0].seq}"
            if not later and news and job.state == "retrying":
                yield f"job {job.id} waits since {event.seq}, and never heard of {news}"


def steps_are_done_once(evidence: Evidence) -> Iterator[str]:
    """Yield steps that are kept twice, done again, kept without an effect, or answered with another value."""
    effects = evidence.said_in_attempts("effect")
    kept: dict[tuple[str, str], Event] = {}
    for job in evidence.jobs.values():
        for event in job.log:
            if event.kind == "step" and kept.setdefault((job.id, event.data["name"]), event) is not event:
                yield f"job {job.id} keeps the step {event.data['name']} twice"
    for (job_id, name), event in kept.items():
        made = [one["value"] for one in effects[job_id, event.attempt] if one["name"] == name]
        if event.data["result"] is None or made != [event.data["result"]]:
            yield f"job {job_id} keeps {event.data}, and its attempt made {made}"
    for one in evidence.said("effect"):
        before = kept.get((one["job"], one["name"]))
        if before is not None and before.attempt < one["attempt"]:
            yield f"job {one['job']}, attempt {one['attempt']} did the step {one['name']} again"
    for one in evidence.said("stepped"):
        step = kept.get((one["job"], one["name"]))
        if step is None or step.data["result"] != one["value"]:
            yield f"job {one['job']}: the step {one['name']} returned {one['value']}, and {step} is kept"


def _starts(evidence: Evidence) -> Iterator[tuple[Job, int, Event]]:
    """Return each start of an attempt, with its job and its place in the log."""
    for job in evidence.jobs.values():
        for place, event in enumerate(job.log):
            if event.kind == "started":
                yield job, place, event


RULES: tuple[Rule, ...] = (
    *(rows_know_their_inputs, boxes_are_bounded, accepted_inputs_are_kept, inputs_are_the_senders),
    *(attempts_receive_in_order, only_what_was_received_is_consumed, what_completed_heard_all),
    *(waits_end_in_time, steps_are_done_once),
)
