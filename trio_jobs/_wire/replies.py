"""What a server says, as records of the package.

The structures here are the wire's; msgspec cannot fill the package's own records, which say that they are
defined where they are imported from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

import attrs
import msgspec

from .._common.errors import ErrorRecord
from .._common.states import Reason, State
from .._model.job import CancelReport, Ended, Event, Job, Kind, Priority, Progress, Statistics, Timeouts
from .._model.retry import Retry
from .._model.summary import JobSummary

T = TypeVar("T")
R = TypeVar("R", bound=attrs.AttrsInstance)


class ProtocolViolation(Exception):
    """What a server sent is not `trio-jobs.v1`; the connection is of no use any more."""


class Gap(msgspec.Struct):
    """Which events are gone."""

    first: int
    last: int


class _Event(msgspec.Struct):
    seq: int
    attempt: int
    kind: Kind
    timestamp: float
    data: Any = msgspec.UNSET
    large: int | None = None


@attrs.frozen
class Large:
    """What stands in place of a value that has to be asked for by itself.

    Attributes:
        size: How many bytes of JSON it has.
    """

    size: int


@attrs.frozen
class Seen:
    """A job as a server describes it.

    Attributes:
        job: The job.
        large: The names of its fields that have to be asked for by themselves.
    """

    job: Job
    large: tuple[str, ...]


class _Error(msgspec.Struct):
    type: str
    message: str
    traceback: str | None = None


class _Ended(msgspec.Struct):
    reason: Reason
    message: str | None = None
    error: _Error | None = None
    delay: float | None = None


class _Progress(msgspec.Struct):
    done: float
    total: float | None = None
    message: str | None = None


class Reply(msgspec.Struct):
    """Any message of a server: `re`, and one of the others."""

    re: int | None
    error: dict[str, Any] | None = None
    events: list[_Event] | None = None
    gap: Gap | None = None
    end: bool = False
    unfollowed: bool = False
    job: dict[str, Any] | None = None
    jobs: list[dict[str, Any]] | None = None
    history: list[_Event] | None = None
    text: str | None = None
    next: str | int | None = None
    report: dict[str, Any] | None = None
    handlers: list[dict[str, Any]] | None = None
    statistics: dict[str, Any] | None = None
    pong: bool | None = None


_decoder: Final = msgspec.json.Decoder(Reply)


def decode_reply(text: str) -> Reply:
    """Return what a server says. Raises `ProtocolViolation` if it makes no sense."""
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ProtocolViolation(str(error)) from None


# ------------------------------------------------------------ what is in them


def _error(found: _Error) -> ErrorRecord:
    return ErrorRecord(found.type, found.message, found.traceback or "")


def _ended(data: Any) -> Ended:
    found = msgspec.convert(data, _Ended)
    return Ended(found.reason, found.message, _or_none(_error)(found.error), found.delay)


def _progress(data: Any) -> Progress:
    return Progress(*msgspec.structs.astuple(msgspec.convert(data, _Progress)))


def _or_none(read: Callable[[Any], T]) -> Callable[[Any], T | None]:
    return lambda value: None if value is None else read(value)


_DATA: Final[Mapping[Kind, Callable[[Any], Any]]] = {
    Kind.PROGRESS: _progress,
    Kind.RETRIED: _ended,
    Kind.FAILED: _ended,
    Kind.CANCELLED: _ended,
    Kind.EXPIRED: _ended,
}
"""The kinds of events whose data is a record."""

_FIELDS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "state": State,
    "reason": _or_none(Reason),
    "progress": _or_none(_progress),
    "error": _or_none(lambda value: _error(msgspec.convert(value, _Error))),
    "priority": lambda value: Priority[value.upper()],
    "timeouts": lambda value: Timeouts(**value),
    "retry": lambda value: Retry(**value),
    **{
        name: _or_none(datetime.fromisoformat)
        for name in ("created_at", "started_at", "finished_at", "next_attempt_at", "cancel_requested_at")
    },
}
"""The fields of a job that JSON has in another form, and how they are read."""

_MALFORMED = (AttributeError, KeyError, TypeError, ValueError, msgspec.MsgspecError)


def events_of(found: list[_Event]) -> list[Event]:
    """Return events as a server describes them, with `Large` data where it was left out.

    Raises:
        ProtocolViolation: One is none.
    """
    return [Event(one.seq, one.attempt, one.kind, one.timestamp, _data(one)) for one in found]


def _data(found: _Event) -> Any:
    if found.large is not None:
        return Large(found.large)
    if found.data is msgspec.UNSET:
        raise ProtocolViolation(f"event {found.seq} has no data")
    return data_of(found.kind, found.data)


def data_of(kind: Kind, value: Any) -> Any:
    """Return what an event carries, of its JSON. Raises `ProtocolViolation` if it does not fit the kind."""
    try:
        return _DATA[kind](value) if kind in _DATA else value
    except _MALFORMED as error:
        raise ProtocolViolation(f"this is no event: {error}") from None


def job_of(found: Mapping[str, Any]) -> Seen:
    """Return a job as a server describes it. Raises `ProtocolViolation` if it is none."""
    large = found.get("large", {})
    try:
        given = {**found, **{name: Large(size) for name, size in large.items()}}
    except _MALFORMED as error:
        raise ProtocolViolation(f"this is no job: {error}") from None
    return Seen(_record(Job, given), tuple(large))


def summary_of(found: Mapping[str, Any]) -> JobSummary:
    """Return a job in a list as a server describes it. Raises `ProtocolViolation` if it is none."""
    return _record(JobSummary, found)


def _record(kind: type[R], found: Mapping[str, Any]) -> R:
    fields = _fields(kind, found)
    try:
        for name in _FIELDS.keys() & fields:
            fields[name] = _FIELDS[name](fields[name])
        return kind(**fields)
    except _MALFORMED as error:
        raise ProtocolViolation(f"this is no job: {error}") from None


def report_of(found: Mapping[str, Any]) -> CancelReport:
    """Return what became of a cancellation. Raises `ProtocolViolation` if that is not said."""
    return CancelReport(**_fields(CancelReport, found))


def statistics_of(found: Mapping[str, Any]) -> Statistics:
    """Return what a server is doing. Raises `ProtocolViolation` if that is not said."""
    fields = _fields(Statistics, found)
    try:
        fields["states"] = {State(name): count for name, count in fields["states"].items()}
    except _MALFORMED as error:
        raise ProtocolViolation(f"these are no statistics: {error}") from None
    return Statistics(**fields)


def _fields(kind: type[attrs.AttrsInstance], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a record; those of a newer server that are not known here are left out."""
    names = [field.name for field in attrs.fields(kind)]
    if missing := [name for name in names if name not in found]:
        raise ProtocolViolation(f"a {kind.__name__} has no {', '.join(missing)}")
    return {name: found[name] for name in names}
