"""The records that every store takes and returns, see `contract`."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import attrs

from .._common.record import show
from .._model.job import NO_KWARGS

if TYPE_CHECKING:
    from .._common.errors import ErrorRecord
    from .._common.states import Reason, State, Transition
    from .._model.job import Ended, Kind, Options
    from .._model.limits import Limit


class Again(NamedTuple):
    """That a submission is an ended job's, submitted again; see `resubmitting`.

    Attributes:
        job_id: That job.
        once: Whether to accept it only if that job was not submitted again before.
    """

    job_id: str
    once: bool = False


# Of the records those that each job takes are not frozen, which would take three times as long; none changes.
@attrs.define
class Submission:
    """A job as it is handed to a store.

    Attributes:
        id: Chosen by the caller, so that a submit with an unknown outcome can be looked up.
        handler: The handler's name.
        target: The handler itself; only stores that live in the process can keep it.
        args: The handler's arguments.
        options: How to run it.
        key: Idempotency key, unique per `options.owner`.
        given: Of `options`, what the submitter gave, over the defaults of all handlers. With a key it is this
            that is compared, as the defaults of the handler may have changed meanwhile; None is `options`.
        room: How many jobs of its owner may wait, this one included; None is no limit.
        limits: The limits of its handler, as that is marked; `limits.KeepsLimits` tells the store of them.
        submitter: The attempt whose handler submits it: job id, number and claim id; None if no handler does.
        again: Which job it is submitted again for, if for any.
        kwargs: The handler's keyword arguments.
    """

    __repr__ = show

    id: str
    handler: str
    target: Callable[..., Awaitable[Any]]
    args: tuple[Any, ...]
    options: Options
    key: str | None = None
    given: Options | None = None
    room: int | None = None
    limits: Sequence[str | Limit] = ()
    submitter: tuple[str, int, str | None] | None = None
    again: Again | None = None
    kwargs: Mapping[str, Any] = NO_KWARGS


@attrs.define
class Claim:
    """The right to run one attempt.

    Attributes:
        submission: What to run.
        attempt: Its number, which fences the attempt's writes.
        spent: The retry budget used, this attempt included.
        saved: What earlier attempts saved last.
        seq: The cursor of this attempt's `started` event.
        consumed: The `seq` of the last input that is consumed; this attempt receives the inputs behind it.
        waited: If the attempt before ended to wait for an input: what ended the wait, an input (or the end of
            the inputs) that it had not received, or the time limit.
        id: The id of the call that started it, see `Claimant.claim`; of a child job that of its parent.
    """

    __repr__ = show

    submission: Submission
    attempt: int
    spent: int
    saved: Any
    seq: int
    consumed: int = 0
    waited: Literal["input", "timeout"] | None = None
    id: str | None = None


@attrs.define
class Outcome:
    """How an attempt ended, as `finish` records it.

    Attributes:
        transition: `completed`, `failed`, `cancelled` or `retried`.
        result: What the handler returned, when completed.
        ended: Why and how, otherwise; its `delay` says when a retry is due.
        received: The `seq` of the last input that the attempt received; at first what was consumed before it.
            None if that is not known, because its worker was lost.
        begun: Whether it was begun; a claim that was given back at once was not.
        appended: How many events it has appended, as far as its worker knows; 0 if the store cannot lose any.
    """

    __repr__ = show

    transition: Transition
    result: Any = None
    ended: Ended | None = None
    received: int | None = 0
    begun: bool = True
    appended: int = 0


class Note:
    """An event that is no token, as an entry of a log or of a reader among the values of tokens."""

    __slots__ = ("attempt", "data", "kind", "received")

    def __init__(self, attempt: int, kind: Kind, data: Any, received: int | None = None) -> None:
        self.attempt = attempt
        self.kind = kind
        self.data = data
        self.received = received


class Where(NamedTuple):
    """A filter of jobs; None means any. A job matches when each given field matches.

    `older_than` is of jobs that ended so many seconds ago, at least. `newer_than` is of those that ended so
    many seconds ago, at most, or have not ended and were submitted then. `id_prefix` is what the id begins
    with. `args_contain` is a piece of the arguments as JSON without spaces, in the same case; hidden ones
    have none, and above 16 KiB they need not be searched. `retryable` are those that have ended, are no
    child jobs, and were not submitted again.
    """

    states: Collection[State] | None = None
    tags: Mapping[str, str] | None = None
    handler: str | None = None
    owner: str | None = None
    parent: str | None = None
    reason: Reason | None = None
    older_than: float | None = None
    newer_than: float | None = None
    id_prefix: str | None = None
    args_contain: str | None = None
    retryable: bool = False

    @property
    def searched(self) -> bool:
        """Whether a count has to search: there are counters only for the states of one handler or owner."""
        both = self.handler is not None and self.owner is not None
        rare = self.parent, self.reason, self.older_than, self.newer_than, self.id_prefix, self.args_contain
        return bool(self.tags) or both or self.retryable or any(one is not None for one in rare)


class Claimant(NamedTuple):
    """The worker that claims, and how long its leases are.

    Attributes:
        name: The worker's name in `started` events.
        lease: Seconds after which an attempt may be reclaimed, unless a heartbeat renews it.
        claim: A random id of this call, by which its answer can be asked for again; None if it never is.
    """

    name: str
    lease: float = math.inf
    claim: str | None = None


class Heartbeat(NamedTuple):
    """The answer of a store to a heartbeat.

    Attributes:
        lost: The jobs that do not run the attempt that the worker holds.
        cancels: Those whose cancellation was requested, and the grace in seconds.
    """

    lost: frozenset[str]
    cancels: Mapping[str, float]


class Reclaimed(NamedTuple):
    """An attempt whose worker was lost, and that a sweep has ended.

    Attributes:
        job_id: The job.
        handler: The name of its handler.
        attempt: The attempt.
        worker: The name of the worker, as its `started` event has it; "" if that cannot be read.
        state: The state of the job after it.
    """

    job_id: str
    handler: str
    attempt: int
    worker: str
    state: State


class JobEnd(NamedTuple):
    """How a job ended: the fields of `Job` that say so, for callers who need no others."""

    state: State
    reason: Reason | None
    message: str | None
    error: ErrorRecord | None
    result: Any
    attempt: int
    replaced_by: str | None = None


CRASHES: Final = 3
"""How many attempts of a job in a row may lose their worker, at least, before the job fails of it."""

NO_CLAIMS: Final[Mapping[str, str | None]] = {}
"""The ids of the claims of attempts that have none."""

PAGE_JOBS: Final = 1000
"""How many jobs a page of `Store.find` has at most."""

COUNTED: Final = 10_000
"""How many jobs a count that has to search finds at most."""

CancelAnswer = Literal["cancelled", "requested", "already_over"]
