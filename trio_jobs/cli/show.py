"""`trio-jobs show`: print one job, its history as a timeline, and what it raised."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from .._json.records import plain
from .._model.job import Ended, Event, Job, Kind, Step
from .._model.retry import NO_RETRY
from .durations import brief, moment
from .ending import detail_of, state_of
from .escape import as_json
from .opening import open_readonly
from .options import DEFAULT_STORE, Id, Jobs, Json
from .output import STYLES, json_line, line, table


def show(job_id: Id, /, *, store: Jobs = DEFAULT_STORE, json: Json = False) -> None:
    """Print a job, its history and what it raised."""
    with open_readonly(store) as seen:
        job = seen.job(seen.resolve(job_id))
        history = seen.history(job.id)
    if json:
        json_line({**plain(job), "history": [*map(plain, history)]})
        return
    line(f"job {job.id}")
    _print_facts(_facts(job), job)
    line("")
    table(("SEQ", "AT", "AFTER", "EVENT", "DETAIL"), _timeline(history))
    if job.error is not None:
        line("")
        line(job.error.traceback.rstrip() or str(job.error), "dim")


def explain(job_id: Id, /, *, store: Jobs = DEFAULT_STORE) -> None:
    """Say why a job does not run, and what helps; or how it ended. Later it may be another reason.

    With --url, the server answers, and says what the job is doing if it runs there.
    """
    with open_readonly(store) as seen:
        line(seen.explain(seen.resolve(job_id)))


def _print_facts(facts: Iterable[tuple[str, str]], job: Job) -> None:
    for name, text in facts:
        if text:
            shown = text.replace("\n", " ")
            line(f"  {name:<10}  {shown}", STYLES[job.state] if name == "state" else "")


def _facts(job: Job) -> Iterable[tuple[str, str]]:
    detail = detail_of(job)
    yield "state", state_of(job) + (f": {detail}" if detail else "")
    yield "handler", job.handler
    named = [f"{name}={as_json(value)}" for name, value in (job.kwargs or {}).items()]
    yield "arguments", "not told" if job.args is None else " ".join([*map(as_json, job.args), *named])
    if job.result is not None:
        yield "result", as_json(job.result)
    if job.saved is not None:
        yield "saved", as_json(job.saved)
    if job.unconsumed:
        yield "inputs", f"{job.unconsumed} not consumed"
    most = "" if job.retry == NO_RETRY or job.retry.attempts is None else f" of {job.retry.attempts}"
    yield "attempt", f"{job.attempt}{most}"
    yield "priority", job.priority.name.lower()
    yield "tags", " ".join(f"{name}={value}" for name, value in job.tags.items())
    yield "metadata", as_json(job.metadata) if job.metadata else ""
    for name in ("owner", "key", "parent", "exclusive", "behind", "limit_key"):
        yield name, getattr(job, name) or ""
    yield "again from", job.resubmitted_from or ""
    limits = {"run": job.timeouts.run, "queue": job.timeouts.queue}
    limits |= {"first token": job.timeouts.first_token, "idle": job.timeouts.idle}
    yield "timeouts", ", ".join(f"{name} {limit:g}s" for name, limit in limits.items() if limit is not None)
    yield "waits for", job.waiting_for or ""
    if job.ready_at is not None:
        yield "ready", moment(job.ready_at)
    if job.next_attempt_at is not None:
        yield "due", moment(job.next_attempt_at)
    yield "log", f"{job.last_seq} events"


def _timeline(history: Sequence[Event]) -> list[list[str]]:
    rows: list[list[str]] = []
    for before, event in zip([history[0], *history], history, strict=False):
        after = f"+{brief(event.timestamp - before.timestamp)}"
        rows.append([str(event.seq), moment(event.at), after, event.kind, describe_event(event)])
    return rows


def describe_event(event: Event) -> str:
    """Return what an event carries, on one line."""
    data = event.data
    if event.kind is Kind.STARTED:
        return f"attempt {event.attempt} at {data}"
    if isinstance(data, Ended):
        parts = [str(data.reason), data.message or "", "" if data.error is None else str(data.error)]
        if data.delay and data.delay < math.inf:
            parts.append(f"again in {brief(data.delay)}")
        if data.replaced_by is not None:
            parts.append(f"by {data.replaced_by}")
        return ": ".join(filter(None, parts))
    if isinstance(data, Step):
        return f"{data.name}: {as_json(data.result)}"
    if event.kind in {Kind.SAVED, Kind.COMPLETED, Kind.INPUT}:
        return as_json(data)
    return "" if data is None else str(data)
