"""Fetch values that are too large for an answer, each by itself, so that no other answer waits behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import msgspec

from .._model.job import Event, Job
from .._wire import requests
from .._wire.events import Large
from .._wire.replies import ProtocolViolation, Reply, Seen, data_of
from .errors import ServerError
from .link import Link


class Changed(Exception):
    """The server does not keep this value any more."""


async def whole(link: Link, seen: Seen) -> Job:
    """Return a job with all its values. Raises `Changed`, and what `Link.call` does."""
    job = seen.job
    found = {name: await _value_of(link, job.id, name, job.last_seq) for name in seen.large}
    if "args" in found:
        found["args"] = tuple(found["args"])
    return attrs.evolve(job, **found)


async def with_data(link: Link, job_id: str, events: Sequence[Event]) -> list[Event]:
    """Return events with the data that was left out; without those that are not kept any more."""
    found: list[Event] = []
    for event in events:
        if not isinstance(event.data, Large):
            found.append(event)
            continue
        try:
            value = await _value_of(link, job_id, "data", event.seq)
        except Changed:
            continue
        found.append(attrs.evolve(event, data=data_of(event.kind, value)))
    return found


async def _value_of(link: Link, job_id: str, field: Any, seq: int) -> Any:
    texts: list[str] = []
    offset: int | None = 0
    try:
        while offset is not None:
            request = requests.GetValue(id=link.new_id(), job=job_id, field=field, seq=seq, offset=offset)
            text, offset = await link.call(request, job_id, _piece_in)
            texts.append(text)
    except ServerError as error:
        if error.code == "changed":
            raise Changed from None
        raise
    return msgspec.json.decode("".join(texts))


def _piece_in(reply: Reply) -> tuple[str, int | None] | None:
    return None if reply.text is None else (reply.text, offset_in(reply))


def offset_in(reply: Reply) -> int | None:
    """Return where to go on; None if there is nothing more. Raises `ProtocolViolation` if it is no number."""
    if isinstance(reply.next, str):
        raise ProtocolViolation(f"there is nothing to go on at {reply.next[:40]!r}")
    return reply.next
