"""What a server says, as records of the package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar, cast

import attrs
import msgspec

from .._errors import ErrorRecord
from .._job import CancelReport, Ended, Event, Job, Kind, Priority, Progress, Statistics, Timeouts
from .._retry import Retry
from .._states import Reason, State

T = TypeVar("T")


class Unspoken(Exception):
    """What a server sent is not `trio-jobs.v1`; the connection is of no use any more."""


class Gap(msgspec.Struct):
    """Which events are gone."""

    first: int
    last: int


class Reply(msgspec.Struct):
    """Any message of a server: `re` and one of the others."""

    re: int | None
    error: dict[str, Any] | None = None
    events: list[Event] | None = None
    gap: Gap | None = None
    end: bool = False
    unfollowed: bool = False
    job: dict[str, Any] | None = None
    jobs: list[dict[str, Any]] | None = None
    history: list[Event] | None = None
    report: CancelReport | None = None
    handlers: list[dict[str, Any]] | None = None
    statistics: Statistics | None = None
    pong: bool | None = None


_decoder: Final = msgspec.json.Decoder(Reply)
_DATA: Final[Mapping[Kind, type[Any]]] = {
    Kind.PROGRESS: Progress,
    Kind.RETRIED: Ended,
    Kind.FAILED: Ended,
    Kind.CANCELLED: Ended,
    Kind.EXPIRED: Ended,
}


def decode_reply(text: str) -> Reply:
    """Return what a server says. Raises `Unspoken` if it makes no sense."""
    try:
        reply = _decoder.decode(text)
        for events in (reply.events, reply.history):
            for place, event in enumerate(events or ()):
                if event.kind in _DATA:
                    cast("list[Event]", events)[place] = _with_record(event)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Unspoken(str(error)) from None
    return reply


def _with_record(event: Event) -> Event:
    return attrs.evolve(event, data=msgspec.convert(_readable(event.data), _DATA[event.kind]))


def _readable(data: Any) -> Any:
    """Return the data of an event in whose error there is a text for the traceback, if only an empty one."""
    error = data.get("error") if isinstance(data, dict) else None
    return {**data, "error": _no_none(error)} if isinstance(error, dict) else data


def _no_none(error: dict[str, Any]) -> dict[str, Any]:
    return {**error, "traceback": error.get("traceback") or ""}


# ------------------------------------------------------------ jobs


def _or_none(kind: Callable[[Any], T]) -> Callable[[Any], T | None]:
    return lambda value: None if value is None else kind(value)


_FIELDS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "state": State,
    "reason": _or_none(Reason),
    "error": _or_none(lambda value: ErrorRecord(**_no_none(value))),
    "priority": lambda value: Priority[value.upper()],
    "timeouts": lambda value: Timeouts(**value),
    "retry": lambda value: Retry(**value),
    **{
        name: _or_none(datetime.fromisoformat)
        for name in ("created_at", "started_at", "finished_at", "next_attempt_at", "cancel_requested_at")
    },
}
"""The fields of a job that JSON has in another form, and how they are read."""
_NAMES: Final = tuple(field.name for field in attrs.fields(Job))


def job_of(found: Mapping[str, Any]) -> Job:
    """Return a job as a server describes it. Raises `Unspoken` if it is none."""
    try:
        fields: dict[str, Any] = {name: found[name] for name in _NAMES}
        for name, read in _FIELDS.items():
            fields[name] = read(fields[name])
        return Job(**fields)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unspoken(f"this is no job: {error}") from None


def jobs_of(found: list[dict[str, Any]]) -> list[Job]:
    """Return jobs as a server describes them. Raises `Unspoken` if one is none."""
    return [job_of(one) for one in found]
