"""The store contract: a store keeps jobs, and it alone decides about them.

Every verb is atomic and conditional. The writes of an attempt (`append`, `finish`) take effect only while the
job is RUNNING that very attempt, so an attempt that a sweep has reclaimed can write nothing; all other writes
are conditional on the job's state. A verb decides and writes in one step, so no write of another caller can
come between the two and be overwritten.

Cancellation does not cut short a verb that writes. A store that has to wait for its answer shields the wait,
for a few seconds at most; a call that is cancelled then may have happened or not, as below. Verbs may be
checkpoints; those of the memory store are not, except those that wait.

Failure: a verb that raises `StoreUnavailable` may have happened or not. Every verb may then be called
again: `submit` and `spawn` know the id, `append` the offset, a `finish` that had happened is answered with
`LeaseLost`, and what a lost answer to `claim` had started comes back when its lease lapses.

Leases: an attempt belongs to the worker that claimed it until its lease has lapsed *and* a sweep has
reclaimed it. Its number is the fence: a claim always raises it, so the worker of an earlier attempt can write
nothing.

Waiting is done in the store as well. `follow` and `ended` wait for what they return. `due` and `overdue` are
hints: they return when looking again may be worth while, may return too early, and never too late; so does
`cancelling`, which tells a worker that a heartbeat is worth while before the next one is due. Events
are always read by cursor, so a lost or doubled wake-up inside a store loses or doubles nothing.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, runtime_checkable

import attrs

if TYPE_CHECKING:
    from .._common.states import Reason, State, Transition
    from .._model.job import Ended, Event, Job, JobEnd, Kind, Options
    from .._model.summary import Page


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
    """

    id: str
    handler: str
    target: Callable[..., Awaitable[Any]]
    args: tuple[Any, ...]
    options: Options
    key: str | None = None
    given: Options | None = None
    room: int | None = None


@attrs.define
class Claim:
    """The right to run one attempt.

    Attributes:
        submission: What to run.
        attempt: Its number, which fences the attempt's writes.
        spent: The retry budget used, this attempt included.
        saved: What earlier attempts saved last.
        seq: The cursor of this attempt's `started` event.
    """

    submission: Submission
    attempt: int
    spent: int
    saved: Any
    seq: int


@attrs.define
class Outcome:
    """How an attempt ended, as `finish` records it.

    Attributes:
        transition: `completed`, `failed`, `cancelled` or `retried`.
        result: What the handler returned, when completed.
        ended: Why and how, otherwise; its `delay` says when a retry is due.
    """

    transition: Transition
    result: Any = None
    ended: Ended | None = None


@attrs.frozen(slots=False)
class Where:
    """A filter of jobs; None means any. A job matches when each given field matches."""

    states: Collection[State] | None = None
    tags: Mapping[str, str] | None = None
    handler: str | None = None
    owner: str | None = None
    parent: str | None = None

    @property
    def searched(self) -> bool:
        """Whether a count has to search: there are counters only for the states of one handler or owner."""
        both = self.handler is not None and self.owner is not None
        return bool(self.tags) or self.parent is not None or both


@attrs.frozen(slots=False)
class Claimant:
    """The worker that claims, and how long its leases are.

    Attributes:
        name: The worker's name in `started` events.
        lease: Seconds after which an attempt may be reclaimed, unless a heartbeat renews it.
    """

    name: str
    lease: float = math.inf


@attrs.frozen
class Heartbeat:
    """The answer of a store to a heartbeat.

    Attributes:
        lost: The jobs that do not run the attempt that the worker holds.
        cancels: Those whose cancellation was requested, and the grace in seconds.
    """

    lost: frozenset[str]
    cancels: Mapping[str, float]


CRASHES: Final = 3
"""How many attempts of a job may lose their worker, at least, before the job fails of it."""

COUNTED: Final = 10_000
"""How many jobs a count that has to search finds at most."""

CancelAnswer = Literal["cancelled", "requested", "already_over"]


class Store(Protocol):
    """The verbs of every store. `stores.memory` is the readable reference.

    A store object belongs to one registry, as a connection does; several may reach the same jobs.
    """

    @property
    def durable(self) -> bool:
        """Whether jobs outlive the process. If not, `close` ends those that are unfinished."""
        ...

    async def submit(
        self, batch: Sequence[Submission], limit: int, worker: Claimant
    ) -> tuple[list[str], list[Claim]]:
        """Accept all of a batch, or none of it; in the same step, `claim` up to `limit` jobs.

        Submitting to a worker with free slots thus costs one step, not two. A submission whose id is known
        already was accepted before, and changes nothing.

        Returns:
            A job id for each submission, in order: its own, or that of the job which already holds its
            key for the same handler, arguments and given options. And what was claimed, perhaps other jobs.

        Raises:
            KeyConflict: The key belongs to a different submission.
            QueueFull: Accepting the batch would exceed the number of jobs that may wait, or that of an owner
                may; see `Submission.room`.
            InvalidPayload: The store cannot keep a value.
        """
        ...

    async def spawn(self, parent: str, attempt: int, child: Submission, worker: Claimant) -> Claim:
        """Accept a child job that is RUNNING from birth, while its parent runs `attempt`.

        It has no lease of its own: it is open for as long as that attempt is.

        Raises:
            LeaseLost: The parent is not running that attempt.
        """
        ...

    async def claim(self, limit: int, worker: Claimant) -> list[Claim]:
        """Start up to `limit` jobs that are due, those of the lowest rank first (see `PENALTY`).

        A job whose queue timeout has passed is not started.
        """
        ...

    async def heartbeat(self, held: Mapping[str, int], lease: float) -> Heartbeat:
        """Renew the leases of running attempts, also those that have lapsed and no sweep has reclaimed.

        Args:
            held: The attempt that runs, by job id; child jobs included, which have no lease.
            lease: Seconds from now.

        Returns:
            The jobs whose attempts are over for the store, and those that the caller is to cancel.
        """
        ...

    async def append(self, job_id: str, attempt: int, kind: Kind, values: Sequence[Any], offset: int) -> int:
        """Add an event for each value to the log of a running attempt, all or none.

        Args:
            job_id: The job.
            attempt: The attempt that writes.
            kind: `token`, `progress` or `saved`.
            values: At least one.
            offset: How many events this attempt has appended before. Those of `values` that the store has
                already, from a call whose answer was lost, are skipped.

        Returns:
            The newest `seq` of the log.

        Raises:
            LeaseLost: The job is not running that attempt.
            InvalidPayload: The store cannot keep a value, or a token is too large.
        """
        ...

    async def finish(self, job_id: str, attempt: int, outcome: Outcome) -> State:
        """End a running attempt, as `outcome` says.

        If cancellation was requested, `retried` becomes `cancelled` in the same step, and children that
        are still open are cancelled (reason `parent`). `spent` is given back for the reasons in `UNSPENT`.

        Returns:
            The job's state now.

        Raises:
            LeaseLost: The job is not running that attempt; another writer decides its outcome.
            InvalidPayload: The store cannot keep the result.
        """
        ...

    async def request_cancel(self, job_id: str, message: str | None, grace: float = 0.0) -> CancelAnswer:
        """Cancel a job that waits; mark one that runs, so that it will not run again.

        The first request counts for the job's log; a later one with a shorter grace shortens the grace.

        Args:
            job_id: The job.
            message: Free text for its log.
            grace: Seconds that a running handler has to end by itself, from when its worker learns of it.

        Returns:
            `cancelled`: it was waiting and has ended. `requested`: it runs, and its worker is to stop it.
            `already_over`: it had ended.

        Raises:
            UnknownJob: No job has this id.
        """
        ...

    async def sweep(self) -> None:
        """End the queued jobs whose queue timeout has passed, and reclaim attempts with lapsed leases.

        An attempt whose lease has lapsed is `cancelled`, if that was requested; `failed`, once `spent` is at
        least the greater of `Retry.attempts` and `CRASHES`, as such a job kills its workers; and else
        `retried`, due at once. The reason is `worker_lost`, unless it was cancelled. Its open children are
        cancelled (reason `parent`).
        """
        ...

    async def get(self, job_id: str) -> Job:
        """Return a snapshot.

        Raises:
            UnknownJob: No job has this id.
        """
        ...

    async def find(self, where: Where, limit: int, *, after: str | None = None, newest: bool = False) -> Page:
        """Return summaries of matching jobs, the oldest first; or the newest first.

        A page ends with `limit` jobs or `PAGE_JOBS`, with `PAGE_BYTES` of JSON, or when `EXAMINED` entries
        were examined; so it may be empty and not the last.

        Args:
            where: The filter.
            limit: How many at most.
            after: The `next` of the page before; None for the first page.
            newest: Whether the newest come first.

        Raises:
            ValueError: No page returned this `after`.
        """
        ...

    async def count(self, where: Where) -> Mapping[State, int]:
        """Return how many matching jobs are in each state; states without any are left out.

        A count that has to search (`Where.searched`) stops at `COUNTED` jobs.
        """
        ...

    async def read(self, job_id: str, after: int, limit: int) -> list[Event]:
        """Return up to `limit` events behind a cursor, in order.

        What was trimmed is skipped, so a `seq` that does not follow on from the one before announces a gap.

        Raises:
            UnknownJob: No job has this id.
        """
        ...

    async def history(self, job_id: str) -> list[Event]:
        """Return the events but for tokens and progress; see `Retention` for which others may be gone.

        Raises:
            UnknownJob: No job has this id.
        """
        ...

    async def follow(self, job_id: str, after: int, limit: int) -> list[Event]:
        """Wait until there are events behind a cursor, and return them as `read` does. A checkpoint.

        Returns:
            Up to `limit` events; none if the job has ended and nothing lies behind `after`.

        Raises:
            UnknownJob: No job has this id, or it was removed meanwhile.
        """
        ...

    async def ended(self, job_id: str) -> Job:
        """Wait until the job has ended, and return it. A checkpoint.

        Raises:
            UnknownJob: No job has this id.
        """
        ...

    async def due(self) -> None:
        """Wait until a `claim` may find work."""
        ...

    async def overdue(self) -> None:
        """Wait until a `sweep` may find work."""
        ...

    async def cancelling(self, heard: Mapping[str, float]) -> Mapping[str, float]:
        """Wait until the cancellation of a running job is requested, or its grace is shortened.

        Args:
            heard: What the last call returned.

        Returns:
            All the running jobs whose cancellation was requested, and the grace in seconds; those that
            differ from `heard` are new.
        """
        ...

    async def remove(self, job_id: str) -> None:
        """Delete a job that has ended, its log and its key.

        Raises:
            UnknownJob: No job has this id.
            IllegalTransition: It has not ended.
        """
        ...

    async def prune(self, older_than: float) -> int:
        """Delete the jobs that ended more than `older_than` seconds ago, and return how many."""
        ...

    def close(self, reason: Reason) -> None:
        """Close this store object, and wake all tasks that wait in this process.

        A store that is not durable ends the unfinished jobs. In a durable one, `follow` and `ended` of
        a job that has not ended raise `trio.ClosedResourceError`; in any store `due`, `overdue` and
        `cancelling` do, if they wait.
        """
        ...


@runtime_checkable
class KnowsEnds(Protocol):
    """A store that a registry makes by itself, and asks for less than `Store.ended` says."""

    async def end(self, job_id: str) -> JobEnd:
        """Wait until the job has ended, and return how. Raises what `Store.ended` does. A checkpoint."""
        ...
