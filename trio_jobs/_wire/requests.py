"""The wire `trio-jobs.v1`: every message that a client may send, and how events become JSON.

The structures are the grammar: what they do not describe is refused, and the JSON Schema of the
documentation is made from them (`schema`).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

import attrs
import msgspec
from msgspec import UNSET, Meta, UnsetType

from .._common.errors import TrioJobsError
from .._common.states import State
from .._common.validate import TAG_NAME, TAG_VALUE, TAGS
from .._json.values import depth, encode, to_json
from .._model.job import Ended, Event, Priority, Timeouts
from .._model.retry import Retry

T = TypeVar("T")

PROTOCOL: Final = "trio-jobs.v1"
BEARER: Final = "bearer."
"""How a browser's WebSocket, which cannot set headers, names its token: a subprotocol with this before it."""

Id: TypeAlias = Annotated[int, Meta(ge=1, le=2**53 - 1)]
JobId: TypeAlias = Annotated[str, Meta(max_length=64)]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=10**10)]
Cursor: TypeAlias = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Count: TypeAlias = Annotated[int, Meta(ge=1, le=10**6)]
LONGEST_KEY: Final = 256
_TagName: TypeAlias = Annotated[str, Meta(max_length=TAG_NAME)]
_TagValue: TypeAlias = Annotated[str, Meta(max_length=TAG_VALUE)]
LARGE: Final = 2**20
"""Bytes of JSON in one value of a job's or an event's; a larger one is left out, and asked for by itself."""
PriorityName: TypeAlias = Literal["urgent", "high", "normal", "low"]


class BadRequest(TrioJobsError):
    """A message that is none of `trio-jobs.v1`.

    Attributes:
        re: The id it carries, if that could be read.
    """

    def __init__(self, message: str, re: int | None = None) -> None:
        super().__init__(message)
        self.re = re


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A structure with no other fields than its own."""


class TimeoutOptions(_Strict, frozen=True):
    """`Timeouts`, in seconds."""

    run: Seconds | None = None
    queue: Seconds | None = None
    first_token: Seconds | None = None
    idle: Seconds | None = None


class RetryOptions(_Strict, frozen=True):
    """`Retry`, but for which errors: that is the handler's own affair."""

    attempts: Annotated[int, Meta(ge=1, le=1000)] = 1
    initial: Seconds = 1.0
    factor: Annotated[float, Meta(ge=1, le=1000)] = 2.0
    maximum: Seconds = 60.0
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.5


class SubmitOptions(_Strict, frozen=True):
    """The options of a job, as `submit` takes them."""

    timeout: Seconds | UnsetType | None = UNSET
    timeouts: TimeoutOptions | UnsetType = UNSET
    retry: RetryOptions | UnsetType = UNSET
    priority: PriorityName | UnsetType = UNSET
    delay: Seconds | UnsetType = UNSET
    run_at: Annotated[datetime, Meta(tz=True)] | UnsetType = UNSET
    tags: Annotated[dict[_TagName, _TagValue], Meta(max_length=TAGS)] | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    key: Annotated[str, Meta(min_length=1, max_length=LONGEST_KEY)] | UnsetType | None = UNSET
    owner: Name | UnsetType | None = UNSET
    when_unread: Literal["continue", "pause", "cancel"] | UnsetType = UNSET
    linger: Seconds | UnsetType = UNSET

    def given(self, retry: Retry) -> dict[str, Any]:
        """Return the options that were given, as `JobRegistry.submit` takes them.

        Args:
            retry: The handler's own; which errors are retried is taken from it.
        """
        fields = msgspec.structs.asdict(self)
        found = {name: value for name, value in fields.items() if value is not UNSET}
        if isinstance(self.timeouts, TimeoutOptions):
            found["timeouts"] = Timeouts(**msgspec.structs.asdict(self.timeouts))
        if isinstance(self.retry, RetryOptions):
            found["retry"] = Retry(**msgspec.structs.asdict(self.retry), on=retry.on)
        if isinstance(self.priority, str):
            found["priority"] = Priority[self.priority.upper()]
        return found


class NewJob(_Strict, frozen=True):
    """What `POST /v1/jobs` takes."""

    handler: Name
    args: list[Any] = []
    options: SubmitOptions = SubmitOptions()


class Request(_Strict, frozen=True, tag_field="op"):
    """What every message has: the id that its replies carry as `re`."""

    id: Id


class Submit(Request, frozen=True, tag="submit"):
    """Accept a job. Replied to with `job`."""

    handler: Name
    args: list[Any] = []
    options: SubmitOptions = SubmitOptions()


class Get(Request, frozen=True, tag="get"):
    """Look a job up. Replied to with `job`."""

    job: JobId


class _Filter(Request, frozen=True):
    """Which jobs are meant."""

    state: State | list[State] | None = None
    tags: dict[str, str] | None = None
    handler: Name | None = None
    parent: JobId | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    newest: bool = False


class List(_Filter, frozen=True, tag="list"):
    """Look for jobs, page by page. Replied to with `jobs`, which are summaries, and `next`.

    `next` is the `cursor` of the next page, null after the last one; a page may be empty before it.
    """

    cursor: Annotated[str, Meta(max_length=64)] | None = None


class Find(_Filter, frozen=True, tag="find"):
    """Look for whole jobs, as clients of the version before do. Replied to with `jobs`.

    They end with the one that makes them 512 KiB; one that is larger by itself is shown without its values.
    """


class History(Request, frozen=True, tag="history"):
    """Read a job's events but for tokens and progress. Replied to with `history`, and `next`.

    `next` is what to read on behind, with `after`; null if that is all there is.
    """

    job: JobId
    after: Cursor = 0


class GetValue(Request, frozen=True, tag="value"):
    """Read a value that was left out because of its size. Replied to with `text`, and `next`.

    `text` is a piece of its JSON, and `next` the `offset` of the piece behind it, null at its end.

    `field` is one of a job's, as it was when the job's `last_seq` was `seq`; or `data`, which is that of the
    event `seq`. Replied to with the error `changed` if that is not kept any more.
    """

    job: JobId
    field: Literal["result", "saved", "metadata", "data"]
    seq: Cursor
    offset: Cursor = 0


class Wait(Request, frozen=True, tag="wait"):
    """Wait for a job's end. Replied to with `job`, then."""

    job: JobId


class Cancel(Request, frozen=True, tag="cancel"):
    """Cancel a job. Replied to with `report`; without `wait`, as soon as it was asked."""

    job: JobId
    reason: Annotated[str, Meta(max_length=2000)] | None = None
    grace: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    patience: Annotated[float, Meta(ge=0, le=3600)] = 10.0
    wait: bool = True


class Follow(Request, frozen=True, tag="follow"):
    """Read a job's log behind a cursor, and then live. Replied to with `events` and `gap`, at last `end`.

    With a `window`, no more events than that are sent beyond the last cursor that `ack` named.
    """

    job: JobId
    after: Cursor = 0
    policy: Literal["block", "gap"] = "gap"
    window: Count | None = None


class Ack(Request, frozen=True, tag="ack"):
    """Say how far the events of a follow were read; `id` is that of the follow. Not replied to."""

    cursor: Cursor


class Unfollow(Request, frozen=True, tag="unfollow"):
    """End a follow or a wait; `id` is its id. Replied to with `unfollowed`, the last message of that id."""


class ListHandlers(Request, frozen=True, tag="handlers"):
    """Ask what can be submitted. Replied to with `handlers`."""


class GetStatistics(Request, frozen=True, tag="statistics"):
    """Ask what the server is doing. Replied to with `statistics`."""


class Ping(Request, frozen=True, tag="ping"):
    """Ask for a sign of life. Replied to with `pong`."""


AnyRequest: TypeAlias = (
    Submit
    | Get
    | List
    | Find
    | History
    | GetValue
    | Wait
    | Cancel
    | Follow
    | Ack
    | Unfollow
    | ListHandlers
    | GetStatistics
    | Ping
)


class _OnlyId(msgspec.Struct):
    id: Id


_requests: Final[msgspec.json.Decoder[AnyRequest]] = msgspec.json.Decoder(AnyRequest)
_only_id: Final = msgspec.json.Decoder(_OnlyId)
_new_jobs: Final = msgspec.json.Decoder(NewJob)


def check_depth(data: bytes, most: int) -> None:
    """Raise `BadRequest` if lists and objects lie deeper than that in each other."""
    if data.count(b"[") + data.count(b"{") > most and depth(data) > most:
        raise BadRequest(f"the message is nested more than {most} deep")


def _decoded(decoder: msgspec.json.Decoder[T], data: bytes, deepest: int) -> T:
    check_depth(data, deepest)
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadRequest(str(error)) from None


def decode_request(data: bytes, deepest: int) -> AnyRequest:
    """Return the request that a message is.

    Raises:
        BadRequest: It is none.
    """
    try:
        return _decoded(_requests, data, deepest)
    except BadRequest as error:
        with suppress(msgspec.MsgspecError, ValueError, RecursionError):
            error.re = _only_id.decode(data).id
        raise


def decode_new_job(data: bytes, deepest: int) -> NewJob:
    """Return what the body of `POST /v1/jobs` says.

    Raises:
        BadRequest: It says nothing of that kind.
    """
    return _decoded(_new_jobs, data, deepest)


def json_fields(fields: Mapping[str, bytes]) -> bytes:
    """Return fields, whose values are JSON, as they stand in an object."""
    return b",".join(b'"%b":%b' % (name.encode(), value) for name, value in fields.items())


# ------------------------------------------------------------ events


@attrs.frozen
class Large:
    """What stands in place of a value that is `LARGE`, and is read by itself.

    Attributes:
        size: How many bytes of JSON it has.
    """

    size: int


def encode_event(event: Event, *, tracebacks: bool) -> bytes:
    """Return an event as JSON; in place of data that is `LARGE`, how many bytes it has.

    Raises:
        InvalidPayload: JSON cannot hold its data.
    """
    return light(event, tracebacks=tracebacks)[1]


def light(event: Event, *, tracebacks: bool) -> tuple[Event, bytes]:
    """Return an event as it is sent, and its JSON; see `encode_event`."""
    event = shown(event, tracebacks=tracebacks)
    text = encode(f"event {event.seq}", event)
    if len(text) <= LARGE:
        return event, text
    size = len(to_json(event.data))
    fields = attrs.asdict(event, filter=lambda field, _: field.name != "data")
    return attrs.evolve(event, data=Large(size)), to_json({**fields, "large": size})


def shown(event: Event, *, tracebacks: bool) -> Event:
    """Return an event as a client may see it: without the traceback, unless these are shown."""
    if isinstance(event.data, Ended) and event.data.error is not None and not tracebacks:
        error = attrs.evolve(event.data.error, traceback="")
        return attrs.evolve(event, data=attrs.evolve(event.data, error=error))
    return event


def schema() -> Mapping[str, Any]:
    """Return the JSON Schema (2020-12) of all that a client may send."""
    (request,), components = msgspec.json.schema_components([AnyRequest], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": PROTOCOL,
        **request,
        "$defs": components,
    }
