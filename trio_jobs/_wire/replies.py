"""Parse the messages of a server, and the records of the package that they hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar, cast

import attrs
import msgspec

from .._common.states import Reason
from .._model.job import RECORD_OF, CancelReport, Event, Job, Kind, Priority, Statistics
from .._model.limits import LimitStatus
from .._model.schedule import ScheduleStatus
from .._model.summary import JobSummary
from .._registry.bulk import BulkReport
from .events import Large

R = TypeVar("R", Job, JobSummary)
T = TypeVar("T")
W = TypeVar("W", Kind, Reason)


class ProtocolViolation(Exception):
    """A server sent a message that is not `trio-jobs.v1`; its connection cannot be used any more."""


class Gap(msgspec.Struct):
    """Which events are gone."""

    first: int
    last: int


class _Event(msgspec.Struct):
    seq: int
    attempt: int
    kind: str
    timestamp: float
    data: Any = msgspec.UNSET
    large: int | None = None
    received: int | None = None


@attrs.frozen
class Seen:
    """A job as a server describes it.

    Attributes:
        job: The job.
        large: The names of its fields that have to be fetched by themselves.
    """

    job: Job
    large: tuple[str, ...]


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
    report: CancelReport | None = None
    seq: int | None = None
    bulk: BulkReport | None = None
    handlers: list[dict[str, Any]] | None = None
    statistics: Statistics | None = None
    limits: list[LimitStatus] | None = None
    schedules: list[ScheduleStatus] | None = None
    pong: bool | None = None


_decoder: Final = msgspec.json.Decoder(Reply)


def decode_reply(text: str) -> Reply:
    """Return a message of a server. Raises `ProtocolViolation` if it is none."""
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ProtocolViolation(str(error)) from None


# ------------------------------------------------------------ the records in them

_REASONS: Final = frozenset(map(str, Reason))
_LEFT_OUT: Final[Mapping[str, Any]] = {"metadata": {}}
_MALFORMED: Final = (AttributeError, KeyError, TypeError, ValueError, msgspec.MsgspecError)


def events_of(found: list[_Event]) -> list[Event]:
    """Return events as a server describes them, with `Large` data where it was left out.

    Raises:
        ProtocolViolation: One is none.
    """
    return [_event(one, word_of(Kind, one.kind)) for one in found]


def _event(found: _Event, kind: Kind) -> Event:
    return Event(found.seq, found.attempt, kind, found.timestamp, _data(found, kind), found.received)


def word_of(words: type[W], name: str) -> W:
    """Return a kind or a reason; of one that only a newer server knows, one that is equal to its name."""
    try:
        return words(name)
    except ValueError:
        unknown = str.__new__(words, name)
        unknown._name_ = unknown._value_ = name  # as enum itself makes what is no member
        return unknown


def _made(found: Mapping[str, Any], kind: type[T]) -> T:
    reason = found.get("reason")
    if not isinstance(reason, str) or reason in _REASONS:
        return msgspec.convert(found, kind)
    made: Any = msgspec.convert({**found, "reason": Reason.ERROR}, kind)
    return cast("T", attrs.evolve(made, reason=word_of(Reason, reason)))


def _data(found: _Event, kind: Kind) -> Any:
    if found.large is not None:
        return Large(found.large)
    if found.data is msgspec.UNSET:
        raise ProtocolViolation(f"event {found.seq} has no data")
    return data_of(kind, found.data)


def data_of(kind: Kind, value: Any) -> Any:
    """Return what an event carries, of its JSON. Raises `ProtocolViolation` if it does not fit the kind."""
    try:
        return _made(value, RECORD_OF[kind]) if kind in RECORD_OF else value
    except _MALFORMED as error:
        raise ProtocolViolation(f"this is no event: {error}") from None


def job_of(found: Mapping[str, Any]) -> Seen:
    """Return a job as a server describes it. Raises `ProtocolViolation` if it is none."""
    large = found.get("large", {})
    if not isinstance(large, dict):
        raise ProtocolViolation("what is large in a job is no object")
    names = tuple(cast("dict[str, Any]", large).keys() & attrs.fields_dict(Job))
    return Seen(record_of(Job, {**found, **{name: _LEFT_OUT.get(name) for name in names}}), names)


def record_of(kind: type[R], found: Mapping[str, Any]) -> R:
    """Return a job or its summary as a server describes it, without the fields of a newer server.

    Raises:
        ProtocolViolation: It lacks a field, or a field has another type.
    """
    try:
        return _made({**found, "priority": Priority[found["priority"].upper()]}, kind)
    except _MALFORMED as error:
        raise ProtocolViolation(f"this is no {kind.__name__}: {error}") from None
