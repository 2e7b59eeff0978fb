"""The wire `trio-jobs.v1`: every message that a client may send.

The structures are the grammar: `decoding` refuses a message that does not fit them, and makes the JSON
Schema of the documentation from them.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from .._common.errors import TrioJobsError
from .._common.states import Reason, State
from .._model.limits import LEAST_RATE, MOST_RATE
from .._model.schedule import Missed
from .options import Name, Seconds, Strict, SubmitOptions

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


Kwargs: TypeAlias = dict[str, Any] | UnsetType
"""Keyword arguments; clients leave it out if there are none: older servers may lack it."""


class NewJob(Strict, frozen=True):
    """The body of `POST /v1/jobs`."""

    handler: Name
    args: list[Any] = []  # noqa: RUF012  # msgspec copies it
    kwargs: Kwargs = UNSET
    options: SubmitOptions = SubmitOptions()
    again: JobId | UnsetType = UNSET


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


class NewSchedule(Strict, frozen=True):
    """The body of `POST /v1/schedules`: `Schedule`, with its handler by name."""

    handler: Name
    args: list[Any] = []  # noqa: RUF012  # msgspec copies it
    kwargs: Kwargs = UNSET
    name: Annotated[str, Meta(max_length=256)] = ""
    cron: Annotated[str, Meta(max_length=1000)] | None = None
    timezone: Name | None = None
    every: Seconds | None = None
    missed: Missed = "skip"
    late: Seconds = 60.0
    jitter: Seconds = 0.0
    options: SubmitOptions = SubmitOptions()


RULE: Final = ("name", "cron", "timezone", "every", "missed", "late", "jitter")
"""The fields that a schedule has on the wire as it has them in Python."""


class Request(Strict, frozen=True, tag_field="op"):
    """The base of all messages: `id` is in each of its replies as `re`."""

    id: Id


class Submit(Request, frozen=True, tag="submit"):
    """Submit a job. The reply is `job`.

    `again` is a job that has ended, and that this one is in place of, with other arguments.
    """

    handler: Name
    args: list[Any] = []  # noqa: RUF012  # msgspec copies it
    kwargs: Kwargs = UNSET
    options: SubmitOptions = SubmitOptions()
    again: JobId | UnsetType = UNSET


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
    field: Literal["result", "saved", "metadata", "data", "args", "kwargs"]
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
    """Read the statistics, what ended of late and the limits. The reply is `overview`."""


class Pause(Request, frozen=True, tag="pause"):
    """Pause handlers for all workers of the store; null stands for all. The reply is `statistics`."""

    handlers: Names | None


class Resume(Request, frozen=True, tag="resume"):
    """Let handlers start jobs again; with null nothing is paused any more. The reply is `statistics`."""

    handlers: Names | None


class ListSchedules(Request, frozen=True, tag="schedules"):
    """Read all schedules. The reply is `schedules`."""


class AddSchedule(Request, frozen=True, tag="add_schedule"):
    """Add a schedule, or change one that was added. The reply is `schedules`, as they are then."""

    what: NewSchedule


class RemoveSchedule(Request, frozen=True, tag="remove_schedule"):
    """Remove a schedule that no program declares. The reply is `schedules`, as they are then."""

    name: Name


class PauseSchedule(Request, frozen=True, tag="pause_schedule"):
    """Let a schedule fire no more. The reply is `schedules`, as they are then."""

    name: Name


class ResumeSchedule(Request, frozen=True, tag="resume_schedule"):
    """Let a schedule fire again. The reply is `schedules`, as they are then."""

    name: Name


class TriggerSchedule(Request, frozen=True, tag="trigger_schedule"):
    """Submit a job of a schedule now. The reply is `job`."""

    name: Name


class ListLimits(Request, frozen=True, tag="limits"):
    """Read all limits, and what is used of them. The reply is `limits`."""


class SetLimit(Request, frozen=True, tag="set_limit"):
    """Pin a limit, with the fields of `Limit`. The reply is `limits`, as they are then."""

    name: Name
    at_once: Count | None = None
    per_second: Annotated[float, Meta(ge=LEAST_RATE, le=MOST_RATE)] | None = None
    burst: Count | None = None
    waiting: Count | None = None
    keyed: bool = False


class UnsetLimit(Request, frozen=True, tag="unset_limit"):
    """Let programs say again what a limit is. The reply is `limits`, as they are then."""

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
    | AddSchedule
    | RemoveSchedule
    | PauseSchedule
    | ResumeSchedule
    | TriggerSchedule
    | ListLimits
    | SetLimit
    | UnsetLimit
    | Ping
)
