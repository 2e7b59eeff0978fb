"""`trio-jobs submit`: submit a job, and wait for its end if asked to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import attrs
import trio
from cyclopts import Parameter

from .._common.states import State
from .._common.validate import RefusedAs
from .._model.handler import mark_of
from .._model.handlers import Handler
from .._model.job import Job
from .._model.options import SubmitOptions
from .._watching.handle import JobHandle
from .ending import ENDED_STATUS, describe_end
from .escape import as_json
from .faults import Fault
from .load import THE_SERVERS, handler_in, load_handlers_for
from .opening import open_jobs
from .options import (
    DEFAULT_STORE,
    HandlersOf,
    Jobs,
    Json,
    Kwargs,
    OnBusy,
    PriorityName,
    Seconds,
    Tags,
    check_store,
    given,
    is_server,
    kwargs_of,
    tags_of,
    value_of,
)
from .output import json_line, line, note
from .signals import stopped_by_signals


async def submit(
    handlers: HandlersOf,
    name: Annotated[str | None, Parameter(name="NAME", show_default=False)] = None,
    /,
    *args: Annotated[str, Parameter(name="ARGS")],
    store: Jobs = DEFAULT_STORE,
    kwarg: Kwargs = None,
    timeout: Seconds | None = None,
    queue_timeout: Seconds | None = None,
    first_token_timeout: Seconds | None = None,
    idle_timeout: Seconds | None = None,
    tag: Tags = None,
    priority: PriorityName = None,
    delay: Seconds | None = None,
    retry: Annotated[int | None, Parameter(metavar="N")] = None,
    key: str | None = None,
    owner: str | None = None,
    exclusive: str | None = None,
    on_busy: OnBusy = "reject",
    limit_key: str | None = None,
    wait: Annotated[bool, Parameter(negative=())] = False,
    json: Json = False,
) -> int:
    """Submit a job, and print its id.

    With --wait the exit status is 0 if it completed, 1 if it failed, 3 if cancelled. Ctrl-C ends the wait.

    Args:
        name: The name of the handler that is to run.
        args: Its arguments, as JSON; what is no JSON is text. Behind --, they may begin with a hyphen.
        timeout: How long each attempt may run.
        queue_timeout: How long it may wait for its first start.
        first_token_timeout: How long an attempt may take to its first token.
        idle_timeout: How long an attempt may take from one token to the next.
        delay: How long until it is due.
        retry: How many attempts there may be in all.
        key: Idempotency key: submitting the same again gives the same job.
        owner: Whose job it is.
        exclusive: A name that one job of the owner holds at a time.
        on_busy: What happens if a job holds that name: reject, attach, after, replace, cancel, or
            debounce=SECONDS,AT_MOST.
        limit_key: For whom it takes a place, if its handler has a keyed limit.
        wait: Wait for the job's end, and print its result.
    """
    if not is_server(store):
        check_store(store)
    found = load_handlers_for(store, handlers)
    fn: Any = name if name and handlers == THE_SERVERS else handler_in(found, handlers, name)
    options = given(delay=delay, priority=priority, key=key, owner=owner, limit_key=limit_key)
    options |= {"tags": tags_of(tag), "exclusive": exclusive}
    options |= given(on_busy=None if on_busy == "reject" else on_busy)
    options |= _changed(fn, (timeout, queue_timeout, first_token_timeout, idle_timeout), retry)
    async with stopped_by_signals(), open_jobs(store, found.values()) as jobs:
        with RefusedAs(Fault):  # arguments or options that do not fit
            handle = await jobs.submit(fn, *map(value_of, args), kwargs=kwargs_of(kwarg), **options)
        if not json:
            line(handle.id)
        elif not wait:
            json_line({"id": handle.id})
        return await _waited(handle, json=json) if wait else 0


def _changed(fn: Handler | str, limits: Sequence[float | None], attempts: int | None) -> SubmitOptions:
    """Return the options that change a part of what the handler's mark says."""
    names = ("run", "queue", "first_token", "idle")
    clocks = {name: limit for name, limit in zip(names, limits, strict=True) if limit is not None}
    options: SubmitOptions = {}
    if isinstance(fn, str):
        if attempts is not None or clocks.keys() - {"run"}:
            raise Fault(
                "--retry, --queue-timeout, --first-token-timeout and --idle-timeout change a part of what "
                "the handler says; name it as module:attribute in place of -"
            )
        return {"timeout": clocks["run"]} if clocks else {}
    mark = mark_of(fn).options
    if clocks:
        options["timeouts"] = attrs.evolve(mark.timeouts, **clocks)
    if attempts is not None:
        if attempts < 1:
            raise Fault(f"--retry says how many attempts there may be in all, at least 1; got {attempts}")
        options["retry"] = attrs.evolve(mark.retry, attempts=attempts)
    return options


async def _waited(handle: JobHandle[Any, Any], *, json: bool) -> int:
    try:
        job: Job = await handle.wait()
    except trio.Cancelled:
        note(f"job {handle.id} goes on; watch it with: trio-jobs stream {handle.id}")
        raise
    if json:
        json_line(job)
    elif job.state is State.COMPLETED:
        line(as_json(job.result))
    else:
        note(describe_end(job))
    return ENDED_STATUS[job.state]
