"""A job as a task of the extension `io.modelcontextprotocol/tasks` (SEP-2663); no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from ...._common.errors import InvalidPayload
from ...._common.states import Reason, State
from ...._json.values import written
from ...._model.job import Ended, Event, Job, Kind, Progress
from ..ends import why
from ..said import said_in
from .forms import Schema, form_of

Frame: TypeAlias = dict[str, Any]
Status: TypeAlias = Literal["working", "input_required", "completed", "failed", "cancelled"]

EXTENSION: Final = "io.modelcontextprotocol/tasks"
INTERNAL_ERROR: Final = -32603
MOST: Final = 2**20
"""Bytes of JSON that a result may have, and characters of a streamed text that a result has."""
_POLL: Final = 1000
"""Milliseconds that a client is asked to wait between two looks at a task."""
_UNSERVED: Final = frozenset(
    {Reason.QUEUE_TIMEOUT, Reason.WORKER_LOST, Reason.BAD_RESULT, Reason.SHUTDOWN, Reason.RESTARTS}
)
"""Why a job failed without its handler's doing: only such are errors of the protocol, not results."""


def status_of(job: Job, inputs: Schema | None) -> Status:
    """Return the status of a task.

    Args:
        job: The job.
        inputs: The schema of its inputs; None if it takes none from clients, so that none can be required.
    """
    if job.state is State.CANCELLED:
        return "cancelled"
    if job.state.over:
        return "failed" if job.state is State.FAILED and job.reason in _UNSERVED else "completed"
    return "input_required" if inputs is not None and job.waiting_for == "input" else "working"


def task_of(job: Job, newest: Sequence[Event], inputs: Schema | None, said: str) -> Frame:
    """Return the task that a job is now, with its result, its error or the input that it requires.

    Args:
        job: The job.
        newest: The newest events of its log.
        inputs: See `status_of`.
        said: The text that its last attempt streamed, which is the result of a handler that returns none.
    """
    status = status_of(job, inputs)
    told = _told(job, status, newest)
    task: Frame = {
        "taskId": job.id,
        "status": status,
        **({} if told is None else {"statusMessage": told}),
        "createdAt": _written(job.created_at),
        "lastUpdatedAt": _written(newest[-1].at if newest else job.created_at),
        "ttlMs": None,  # a job is not removed by its age
        "pollIntervalMs": _POLL,
    }
    if status == "input_required" and inputs is not None:
        asked = {"mode": "form", "message": told, "requestedSchema": form_of(inputs)}
        task["inputRequests"] = {key_of(job): {"method": "elicitation/create", "params": asked}}
    elif status == "completed":
        task["result"] = result_of(job, said)
    elif status == "failed":
        task["error"] = {"code": INTERNAL_ERROR, "message": told}
    return task


def key_of(job: Job) -> str:
    """Return the key of the only input that a job requires now: an attempt ends by asking once."""
    return f"after-attempt-{job.attempt}"


def result_of(job: Job, said: str) -> Frame:
    """Return the result of the call of a tool, of a job that has ended."""
    if job.state is not State.COMPLETED:
        return _result(_ended(job), is_error=True)
    value = said if job.result is None else job.result
    try:
        data = written("the result", value)
    except InvalidPayload:
        return _result("the result is no JSON", is_error=True)
    if len(data) > MOST:
        return _result(f"the result has more than {MOST} bytes, which do not fit here", is_error=True)
    found = _result(value if isinstance(value, str) else data.decode(), is_error=False)
    return {**found, "structuredContent": value} if isinstance(value, Mapping) else found


def said_by(before: str, events: Sequence[Event]) -> str:
    """Return the text that an attempt has streamed, given what it had before some events; `MOST` of it."""
    pieces = [before]  # joined once, as a text of a megabyte is not to be copied for each of many tokens
    for event in events:
        if event.kind is Kind.STARTED:
            pieces = []
        elif event.kind is Kind.TOKEN and (said := said_in(event.data)) is not None and said.kind == "text":
            pieces.append(said.text)
    return "".join(pieces)[:MOST]


def _result(text: str, *, is_error: bool) -> Frame:
    blocks = [{"type": "text", "text": text}] if text else []
    return {"resultType": "complete", "content": blocks, "isError": is_error}


def _told(job: Job, status: Status, newest: Sequence[Event]) -> str | None:
    """Return a line for people about a task; nothing that the handler has raised."""
    if job.state.over:
        return None if job.state is State.COMPLETED else _ended(job)
    if status == "input_required":
        return job.message or "an input is waited for"
    if job.state is State.QUEUED:
        return "it waits in the queue"
    if job.state is State.RETRYING:
        return "it will go on"
    reported = [one.data for one in newest if one.kind is Kind.PROGRESS and one.attempt == job.attempt]
    return _reported(reported[-1]) if reported else None


def _reported(progress: Progress) -> str:
    total = "" if progress.total is None else f" of {progress.total:g}"
    message = "" if progress.message is None else f": {progress.message}"
    return f"{progress.done:g}{total}{message}"


def _ended(job: Job) -> str:
    how = "was cancelled" if job.state is State.CANCELLED else "failed"
    return f"the job {how}: {why(Ended(job.reason))}" if job.reason is not None else f"the job {how}"


def _written(when: datetime) -> str:
    return when.isoformat().replace("+00:00", "Z")
