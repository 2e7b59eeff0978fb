"""The store contract: a store keeps jobs, and it alone decides about them.

Every verb is atomic and conditional. The writes of an attempt (`append`, `finish`) take effect only while the
job is RUNNING that very attempt, so an attempt that a sweep has reclaimed can write nothing; all other writes
are conditional on the job's state. A verb decides and writes in one step, so no write of another caller can
come between the two and be overwritten.

Cancellation does not cut short a verb that writes. A store that has to wait for its answer shields the wait,
for a few seconds at most; a call that is cancelled then may have happened or not, as below. Verbs may be
checkpoints; those of the memory store are not, except those that wait.

Failure: a verb that raises `StoreUnavailable` may have happened or not, and may be called again: `submit` and
`spawn` know the id, `send` that of its inputs, `append` the offset, `claim` and `finish` that of the claim.

Leases: an attempt belongs to the worker that claimed it until its lease has lapsed *and* a sweep has
reclaimed it. Its number is the fence: a claim always raises it, so the worker of an earlier attempt can write
nothing. The id of its claim is kept beside it and is part of the fence, as a store that was restored from a
copy, or lost its last writes in a fail-over, may give a number twice. An attempt that knows of events or
inputs that such a store has lost can write nothing either, and a cursor ahead of a log is refused.

Waiting is done in the store as well. `follow` and `ended` wait for what they return. `due` and `overdue` are
hints: they return when looking again may be worth while, may return too early, and never too late; so does
`cancelling`, which tells a worker that a heartbeat is worth while before the next one is due. Events
are always read by cursor, so a lost or doubled wake-up inside a store loses or doubles nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .records import (
    COUNTED,
    CRASHES,
    NO_CLAIMS,
    CancelAnswer,
    Claim,
    Claimant,
    Heartbeat,
    Outcome,
    Reclaimed,
    Submission,
    Where,
)

if TYPE_CHECKING:
    from .._common.states import Reason, State
    from .._model.job import Event, Job, Kind
    from .._model.summary import Page

__all__ = [
    "COUNTED",
    "CRASHES",
    "NO_CLAIMS",
    "CancelAnswer",
    "Claim",
    "Claimant",
    "Heartbeat",
    "Outcome",
    "Reclaimed",
    "Store",
    "Submission",
    "Where",
]


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
        already was accepted before, and changes nothing. Called again, it claims what `claim` would then.
        A new one that has a `submitter` is accepted only while that attempt runs.

        A submission that is `exclusive` comes alone. While a job of its owner with that name has not ended,
        `exclusion.MOVES` says what becomes of it, unless its id or key is known. In the same step the jobs
        that it replaces end, and the cancellation of the holder is requested. A job that stands behind the
        holder is QUEUED, and is not claimed before the holder has ended; in the step in which that ends, by
        whatever verb, the first of those behind it holds the name.

        Returns:
            A job id for each submission, in order: its own, or that of the job which already holds its
            key for the same handler, arguments and given options. And what was claimed, perhaps other jobs.

        Raises:
            LeaseLost: The `submitter` of a new submission is not running that attempt of that claim.
            KeyConflict: The key belongs to a different submission.
            Busy: A job holds the `exclusive` name, and `on_busy` is `reject`.
            QueueFull: Accepting the batch would exceed the number of jobs that may wait, or that of an owner
                may; see `Submission.room`.
            InvalidPayload: The store cannot keep a value.
        """
        ...

    async def spawn(self, parent: str, attempt: int, child: Submission, worker: Claimant) -> Claim:
        """Accept a child job that is RUNNING from birth, while its parent runs `attempt`.

        It has no lease of its own: it is open for as long as that attempt is. `worker.claim` is the id of the
        claim that started that attempt, and counts for the child too.

        Raises:
            LeaseLost: The parent is not running that attempt.
        """
        ...

    async def claim(self, limit: int, worker: Claimant) -> list[Claim]:
        """Start up to `limit` jobs that are due, those of the lowest rank first (see `PENALTY`).

        Of equal rank those that came first are first. A job whose queue timeout has passed is not started.

        If attempts run that an earlier call with the same `worker.claim` has started, these are returned,
        with new leases, however many they are, and nothing else is started. With a limit of 0 that is all.
        """
        ...

    async def heartbeat(
        self, held: Mapping[str, int], lease: float, claims: Mapping[str, str | None] = NO_CLAIMS
    ) -> Heartbeat:
        """Renew the leases of running attempts, also those that have lapsed and no sweep has reclaimed.

        Args:
            held: The attempt that runs, by job id; child jobs included, which have no lease.
            lease: Seconds from now.
            claims: The id of the claim that started it, by job id, for those that have one.

        Returns:
            The jobs whose attempts are over for the store, and those that the caller is to cancel.
        """
        ...

    async def append(
        self,
        job_id: str,
        attempt: int,
        kind: Kind,
        values: Sequence[Any],
        offset: int,
        *,
        received: int | None = None,
        claim: str | None = None,
    ) -> int:
        """Add an event for each value to the log of a running attempt, all or none.

        Args:
            job_id: The job.
            attempt: The attempt that writes.
            kind: `token`, `progress`, `saved` or `step`.
            values: At least one.
            offset: How many events this attempt has appended. Those of `values` that the store has already,
                from a call whose answer was lost, are skipped.
            received: With `saved`: the inputs up to this `seq` are consumed in the same step. The job keeps
                the greatest that it was given, which is `Event.received` of these events.
            claim: The id of the claim that started the attempt, if it had one.

        Returns:
            The newest `seq` of the log.

        Raises:
            LeaseLost: The job is not running that attempt of that claim, or lacks what that knows of: it has
                fewer events of the attempt than `offset`, or no input `received`.
            InvalidPayload: The store cannot keep a value, a token is too large, or there would be too many
                steps, or too large ones; see `Retention`.
        """
        ...

    async def send(self, job_id: str, input_id: str, values: Sequence[Any]) -> int:
        """Add an input for each value to the log of a job that has not ended, all or none.

        A job that waits for an input, RETRYING with reason `awaiting_input` and not due yet, is due at once.
        No other job is due any earlier for it.

        Args:
            job_id: The job.
            input_id: Chosen by the sender, 1 to 256 characters, and unique within the job: if the job knows
                it already, nothing is added. It is known at least as long as its inputs are in the log.
            values: At least one.

        Returns:
            The `seq` of the last of these inputs.

        Raises:
            UnknownJob: No job has this id.
            KeyConflict: The id belongs to other values. Whatever else is wrong with a call, an id that is
                known is answered, or refused with this.
            InvalidPayload: The store cannot keep a value, or it is larger than `Retention.token_bytes`.
            IllegalTransition: The job has ended, or its inputs have.
            InboxFull: There would be more unconsumed inputs than `Retention.inputs`, or more bytes.
        """
        ...

    async def end_inputs(self, job_id: str) -> int:
        """Record that no more inputs will come, and make a job due that waits for one, as `send` does.

        Returns:
            The `seq` of the event `inputs_ended`; if it was there before, also if the job has ended.

        Raises:
            UnknownJob: No job has this id.
            IllegalTransition: The job has ended, and its inputs had not.
        """
        ...

    async def inputs(self, job_id: str, after: int, limit: int) -> list[Event]:
        """Return up to `limit` events `input` and `inputs_ended` behind a cursor, in order.

        Raises:
            UnknownJob: No job has this id.
            StreamGap: The cursor is ahead of the log.
        """
        ...

    async def listening(self, places: Mapping[str, int]) -> Collection[str]:
        """Wait until jobs have an input, or the end of the inputs, behind a cursor. A checkpoint.

        Args:
            places: The cursor, by job id.

        Returns:
            At least one of these jobs; those that were removed, or whose log ends before, count as well.
        """
        ...

    async def finish(self, job_id: str, attempt: int, outcome: Outcome, claim: str | None = None) -> State:
        """End a running attempt, as `outcome` says.

        If cancellation was requested, `retried` becomes `cancelled` in the same step, and children that
        are still open are cancelled (reason `parent`). `spent` is given back for the reasons in `UNSPENT`.
        For those in `KEEPS_RANK` a `retried` job is due when it was at first, so that it keeps its rank; for
        the others it is due after `Ended.delay`.
        `completed` consumes the inputs that were received. An attempt that waits for an input
        (`awaiting_input`) is due at once if the job has one, or the end of its inputs, behind `received`.

        `claim` is the id of the claim that started the attempt. A call with an id that comes again, before
        the next attempt has begun, changes nothing.

        Returns:
            The job's state now.

        Raises:
            LeaseLost: The job is not running that attempt of that claim, or lacks what that has appended or
                received; another writer decides its outcome.
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

    async def sweep(self) -> list[Reclaimed]:
        """End the queued jobs whose queue timeout has passed, and reclaim attempts with lapsed leases.

        An attempt whose lease has lapsed is `cancelled`, if that was requested; `failed`, if with it as many
        in a row have lapsed as the greater of `Retry.attempts` and `CRASHES` says, as such a job kills its
        workers; and else `retried`, as `finish` does. The reason is `worker_lost`, unless it was cancelled.
        Its open children are cancelled (reason `parent`).

        Returns:
            What this call has reclaimed, in any order.
        """
        ...

    async def get(self, job_id: str) -> Job:
        """Return a snapshot, with what the job waits for, see `rules.waiting_for`.

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
        """Return all events but tokens, progress and inputs; see `Retention` for which others may be gone.

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
            StreamGap: The cursor is ahead of the log.
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
        a job that has not ended raise `trio.ClosedResourceError`; in any store `due`, `overdue`,
        `cancelling` and `listening` do, if they wait.
        """
        ...
