"""The wire `trio-jobs.v1`: every message that a client may send.

The structures are the grammar: a message that does not fit them is refused, and the JSON Schema of the
documentation is made from them (`schema`).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from .._common.errors import TrioJobsError
from .._common.states import Reason, State
from .._json.values import depth
from .options import Name, Seconds, Strict, SubmitOptions

T = TypeVar("T")

PROTOCOL: Final = "trio-jobs.v1"
BEARER: Final = "bearer."
"""The prefix of the subprotocol with the token of a browser's WebSocket, which cannot set headers."""

Id: TypeAlias = Annotated[int, Meta(ge=1, le=2**53 - 1)]
Piece: TypeAlias = Annotated[str, Meta(max_length=1000)]
JobId: TypeAlias = Annotated[str, Meta(max_length=64)]
Names: TypeAlias = Annotated[list[Name], Meta(min_length=1, max_length=1000)]
Cursor: TypeAlias = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Count: TypeAlias = Annotated[int, Meta(ge=1, le=10**6)]
MOST_INPUTS: Final = 1000
"""Most inputs in one request."""


class BadRequest(TrioJobsError):
    """A message that is no request of `trio-jobs.v1`.

    Attributes:
        re: Its id, if that could be decoded.
    """

    def __init__(self, message: str, re: int | None = None) -> None:
        super().__init__(message)
        self.re = re


class NewJob(Strict, frozen=True):
    """The body of `POST /v1/jobs`."""

    handler: Name
    args: list[Any] = []  # noqa: RUF012  # msgspec copies it
    options: SubmitOptions = SubmitOptions()


class NewInputs(Strict, frozen=True):
    """The body of `POST /v1/jobs/{id}/inputs`: one of its fields."""

    value: Any = UNSET
    values: Annotated[list[Any], Meta(min_length=1, max_length=MOST_INPUTS)] | UnsetType = UNSET

    def all(self) -> list[Any]:
        """Return the inputs. Raises `BadRequest` if there is not just one of the fields."""
        if (self.value is UNSET) == (self.values is UNSET):
            raise BadRequest("it takes either a value or values")
        return [self.value] if isinstance(self.values, UnsetType) else self.values


class HandlerNames(Strict, frozen=True):
    """The body of `POST /v1/pause` and `POST /v1/resume`: names of handlers, or null for all of them."""

    handlers: Names | None


class Request(Strict, frozen=True, tag_field="op"):
    """The base of all messages: `id` is in each of its replies as `re`."""

    id: Id


class Submit(Request, frozen=True, tag="submit"):
    """Submit a job. The reply is `job`."""

    handler: Name
    args: list[Any] = []  # noqa: RUF012  # msgspec copies it
    options: SubmitOptions = SubmitOptions()


class Resubmit(Request, frozen=True, tag="resubmit"):
    """Submit a job that has ended again, with options in place of those that it had. The reply is `job`."""

    job: JobId
    options: SubmitOptions = SubmitOptions()


class Get(Request, frozen=True, tag="get"):
    """Read a job. The reply is `job`."""

    job: JobId


class Explain(Request, frozen=True, tag="explain"):
    """Ask why a job does not run, or what it is doing. The reply has `text`, lines for people."""

    job: JobId


class WhereFields(Strict, frozen=True, omit_defaults=True):
    """The fields that select jobs.

    `older_than` is how many seconds ago a job ended, at least; `newer_than` how many, at most, or how many
    ago a job was submitted that has not ended. `id_prefix` is what the id begins with, and `args_contain` a
    piece of the arguments as JSON.
    """

    state: State | list[State] | None = None
    tags: dict[str, str] | None = None
    handler: Name | None = None
    parent: JobId | None = None
    reason: Reason | None = None
    older_than: Seconds | None = None
    newer_than: Seconds | None = None
    id_prefix: JobId | None = None
    args_contain: Piece | None = None


class _Filter(Request, frozen=True, omit_defaults=True):
    """The same; clients leave out what they do not use: older servers may lack it."""

    state: State | list[State] | None = None
    tags: dict[str, str] | None = None
    handler: Name | None = None
    parent: JobId | None = None
    reason: Reason | None = None
    older_than: Seconds | None = None
    newer_than: Seconds | None = None
    id_prefix: JobId | None = None
    args_contain: Piece | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    newest: bool = False


class List(_Filter, frozen=True, tag="list"):
    """Find jobs, page by page. The reply has `jobs`, which are summaries, and `next`.

    `next` is the `cursor` of the next page, null after the last one; a page may be empty before it.
    """

    cursor: Annotated[str, Meta(max_length=64)] | None = None


class BulkBody(Strict, frozen=True):
    """The body of `POST /v1/jobs/bulk`. `cancel` may have a `message` for the logs."""

    action: Literal["cancel", "retry", "remove"]
    where: WhereFields
    dry_run: bool = False
    message: Annotated[str, Meta(max_length=2000)] | None = None


class Bulk(Request, frozen=True, tag="bulk"):
    """Cancel all jobs that match, submit them again or remove them. The reply is `bulk`."""

    what: BulkBody


class Find(_Filter, frozen=True, tag="find"):
    """Find whole jobs, as clients of the version before do. The reply has `jobs`.

    The list ends with the job that makes it 512 KiB; a job that is larger by itself has no values.
    """


class History(Request, frozen=True, tag="history"):
    """Read a job's events except tokens, progress and inputs. The reply has `history`, and `next`.

    `next` is the `after` of the next page; null after the last one.
    """

    job: JobId
    after: Cursor = 0


class GetValue(Request, frozen=True, tag="value"):
    """Read a value that was left out because of its size. The reply has `text`, and `next`.

    `text` is a piece of its JSON, and `next` the `offset` of the next piece, null after the last one.

    `field` is a field of the job, as it was when the job's `last_seq` was `seq`; or `data`, that of the
    event `seq`. If it is not kept any more, the reply is the error
    `changed`.
    """

    job: JobId
    field: Literal["result", "saved", "metadata", "data", "args"]
    seq: Cursor
    offset: Cursor = 0


class Wait(Request, frozen=True, tag="wait"):
    """Wait for a job's end. The reply, after it, is `job`."""

    job: JobId


class Cancel(Request, frozen=True, tag="cancel"):
    """Cancel a job. The reply is `report`; without `wait` it is sent once cancellation was requested."""

    job: JobId
    reason: Annotated[str, Meta(max_length=2000)] | None = None
    grace: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    patience: Annotated[float, Meta(ge=0, le=3600)] = 10.0
    wait: bool = True


class Send(Request, frozen=True, tag="send"):
    """Give a job inputs, all of them or none. The reply has `seq`, that of the last of them.

    `input_id` is chosen by the sender; if the job already has inputs with this id, they are not added again.
    A server does the sends of one connection to one job one at a time, in the order of arrival.
    """

    job: JobId
    values: Annotated[list[Any], Meta(min_length=1, max_length=MOST_INPUTS)]
    input_id: Name


class EndInputs(Request, frozen=True, tag="end_inputs"):
    """End a job's inputs: no more will come. The reply has `seq`, that of the event."""

    job: JobId


class Follow(Request, frozen=True, tag="follow"):
    """Read a job's log behind a cursor, and then live. The replies are `events` and `gap`, and last `end`.

    With a `window`, at most so many events are sent beyond the cursor of the last `ack`.
    """

    job: JobId
    after: Cursor = 0
    policy: Literal["block", "gap"] = "gap"
    window: Count | None = None


class Ack(Request, frozen=True, tag="ack"):
    """Report the cursor up to which a follow was read; `id` is that of the follow. There is no reply."""

    cursor: Cursor


class Unfollow(Request, frozen=True, tag="unfollow"):
    """End a follow or a wait; `id` is its id. The reply `unfollowed` is the last one with that id."""


class ListHandlers(Request, frozen=True, tag="handlers"):
    """Read which handlers can be submitted. The reply has `handlers`, and `may`: `read` or `change`."""


class GetStatistics(Request, frozen=True, tag="statistics"):
    """Read the statistics of the server. The reply is `statistics`."""


class GetOverview(Request, frozen=True, tag="overview"):
    """Read the statistics, what ended of late, and the limits. The reply is `overview`."""


class Pause(Request, frozen=True, tag="pause"):
    """Pause handlers for all workers of the store; null stands for all. The reply is `statistics`."""

    handlers: Names | None


class Resume(Request, frozen=True, tag="resume"):
    """Let handlers start jobs again; with null nothing is paused any more. The reply is `statistics`."""

    handlers: Names | None


class ListSchedules(Request, frozen=True, tag="schedules"):
    """Read all schedules. The reply is `schedules`."""


class PauseSchedule(Request, frozen=True, tag="pause_schedule"):
    """Let a schedule fire no more. The reply is `schedules`, as they are then."""

    name: Name


class ResumeSchedule(Request, frozen=True, tag="resume_schedule"):
    """Let a schedule fire again. The reply is `schedules`, as they are then."""

    name: Name


class TriggerSchedule(Request, frozen=True, tag="trigger_schedule"):
    """Submit a job of a schedule now. The reply is `job`."""

    name: Name


class Ping(Request, frozen=True, tag="ping"):
    """Check that the server answers. The reply is `pong`."""


AnyRequest: TypeAlias = (
    Submit
    | Resubmit
    | Get
    | Explain
    | List
    | Bulk
    | Find
    | History
    | GetValue
    | Wait
    | Cancel
    | Send
    | EndInputs
    | Follow
    | Ack
    | Unfollow
    | ListHandlers
    | GetStatistics
    | GetOverview
    | Pause
    | Resume
    | ListSchedules
    | PauseSchedule
    | ResumeSchedule
    | TriggerSchedule
    | Ping
)


class _OnlyId(msgspec.Struct):
    id: Id


_requests: Final[msgspec.json.Decoder[AnyRequest]] = msgspec.json.Decoder(AnyRequest)
_only_id: Final = msgspec.json.Decoder(_OnlyId)
_bodies: Final[Mapping[Any, msgspec.json.Decoder[Any]]] = {
    kind: msgspec.json.Decoder(kind) for kind in (NewJob, SubmitOptions, NewInputs, HandlerNames, BulkBody)
}


def check_depth(data: bytes, most: int) -> None:
    """Raise `BadRequest` if lists and objects are nested deeper than that."""
    if data.count(b"[") + data.count(b"{") > most and depth(data) > most:
        raise BadRequest(f"the message is nested more than {most} deep")


def _decoded(decoder: msgspec.json.Decoder[T], data: bytes, deepest: int) -> T:
    check_depth(data, deepest)
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadRequest(str(error)) from None


def decode_request(data: bytes, deepest: int) -> AnyRequest:
    """Decode a request. Raises `BadRequest` if the message is none."""
    try:
        return _decoded(_requests, data, deepest)
    except BadRequest as error:
        with suppress(msgspec.MsgspecError, ValueError, RecursionError):
            error.re = _only_id.decode(data).id
        raise


def decode_body(kind: type[T], data: bytes, deepest: int) -> T:
    """Decode the body of an HTTP request. Raises `BadRequest` if it does not fit."""
    decoder: msgspec.json.Decoder[T] = _bodies[kind]
    return _decoded(decoder, data, deepest)


def json_fields(fields: Mapping[str, bytes]) -> bytes:
    """Return fields, whose values are JSON, joined as in an object."""
    return b",".join(b'"%b":%b' % (name.encode(), value) for name, value in fields.items())


def schema() -> Mapping[str, Any]:
    """Return the JSON Schema (2020-12) of all messages of a client."""
    (request,), components = msgspec.json.schema_components([AnyRequest], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": PROTOCOL,
        **request,
        "$defs": components,
    }
