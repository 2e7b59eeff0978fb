"""`trio-jobs send`: send a job an input, or say that no more will come."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from cyclopts import Parameter

from .faults import Fault
from .opening import open_jobs, resolve
from .options import DEFAULT_STORE, Id, Jobs, Json, value_of
from .output import say
from .signals import stopped_by_signals

_STDIN = "-"


async def send(
    job_id: Id,
    value: Annotated[str | None, Parameter(name="VALUE", allow_leading_hyphen=True)] = None,
    /,
    *,
    store: Jobs = DEFAULT_STORE,
    text: Annotated[bool, Parameter(negative=())] = False,
    end: Annotated[bool, Parameter(negative=())] = False,
    key: str | None = None,
    json: Json = False,
) -> None:
    """Send a job an input, which its handler receives, and print the input's cursor in the job's log.

    Whether the input fits what the handler takes is seen when the handler receives it.

    Args:
        value: The input, as JSON; what is no JSON is text. With - it is read from standard input.
        text: Take it as text, even if it is JSON.
        end: Say that no more inputs will come, after this one if there is one.
        key: A name of the input: sending the same again sends it once.
    """
    if value is None and not end:
        raise Fault("send takes a value, or - to read one from standard input, or --end")
    (found,) = resolve(store, [job_id])
    given = None if value is None else _read(value, text=text)
    cursors: list[int] = []
    async with stopped_by_signals(), open_jobs(store) as jobs:
        handle = await jobs.get(found)
        if value is not None:
            cursors.append(await handle.send(given, key=key))
        if end:
            cursors.append(await handle.end_inputs())
    for cursor in cursors:
        say(str(cursor), {"id": found, "seq": cursor}, json=json)


def _read(value: str, *, text: bool) -> Any:
    if value == _STDIN:
        try:
            value = sys.stdin.read().removesuffix("\n") if sys.stdin else ""  # it is None where it was closed
        except (OSError, ValueError) as error:
            raise Fault(f"standard input cannot be read as text: {error}") from error
        if not value:
            raise Fault("standard input is empty; an empty text is ''")
    return value if text else value_of(value)
