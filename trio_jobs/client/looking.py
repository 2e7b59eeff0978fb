"""What can be asked about one job, and what a reader of it has to know.

What is large does not come with an answer: it is asked for by itself, piece by piece, so that nothing waits
behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import msgspec

from .._model.job import Event, Job
from .._wire import requests
from .._wire.replies import Large, Reply, Seen, Unspoken, data_of, events_of, job_of
from .errors import ServerError
from .link import Link


class _Changed(Exception):
    """The value that was asked for is not kept any more."""


async def snapshot_of(link: Link, job_id: str) -> Job:
    """Return a job as it is now. Raises `UnknownJob`, and what `Link.call` does."""
    while True:
        seen = await link.call(requests.Get(id=link.new_id(), job=job_id), job_id, seen_in)
        try:
            return await whole(link, seen)
        except _Changed:
            continue  # it has saved another value meanwhile


async def last_seq_of(link: Link, job_id: str) -> int:
    """Return the newest cursor of a job's log. Raises as `snapshot_of` does."""
    return (await link.call(requests.Get(id=link.new_id(), job=job_id), job_id, seen_in)).job.last_seq


async def ended(link: Link, job_id: str) -> Job:
    """Return a job once it has ended. Raises `UnknownJob`, and what `Link.call` does."""
    return await whole(link, await link.call(requests.Wait(id=link.new_id(), job=job_id), job_id, seen_in))


async def whole(link: Link, seen: Seen) -> Job:
    """Return a job with all its values."""
    job = seen.job
    found = {name: await _value_of(link, job.id, name, job.last_seq) for name in seen.large}
    return attrs.evolve(job, **found)


async def history_of(link: Link, job_id: str) -> list[Event]:
    """Return a job's events but for tokens and progress. Raises `UnknownJob`, and what `Link.call` does."""
    found: list[Event] = []
    after: int | None = 0
    while after is not None:
        request = requests.History(id=link.new_id(), job=job_id, after=after)
        events, after = await link.call(request, job_id, _history_in)
        found += await with_data(link, job_id, events)
    return found


async def with_data(link: Link, job_id: str, events: Sequence[Event]) -> list[Event]:
    """Return events with the data that was left out; without those that are not kept any more."""
    found: list[Event] = []
    for event in events:
        if not isinstance(event.data, Large):
            found.append(event)
            continue
        try:
            value = await _value_of(link, job_id, "data", event.seq)
        except _Changed:
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
            raise _Changed from None
        raise
    return msgspec.json.decode("".join(texts))


def seen_in(reply: Reply) -> Seen | None:
    """Return the job in a reply, if there is one."""
    return None if reply.job is None else job_of(reply.job)


def _history_in(reply: Reply) -> tuple[list[Event], int | None] | None:
    return None if reply.history is None else (events_of(reply.history), _offset_in(reply))


def _piece_in(reply: Reply) -> tuple[str, int | None] | None:
    return None if reply.text is None else (reply.text, _offset_in(reply))


def _offset_in(reply: Reply) -> int | None:
    if isinstance(reply.next, str):
        raise Unspoken(f"there is nothing to go on at {reply.next[:40]!r}")
    return reply.next
