"""A handle on one job: read it, wait for it, send it inputs, cancel it."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar, Unpack, cast

from .._common.errors import IllegalTransition, StreamGap
from .._common.validate import input_key, number, text
from .._model.job import CancelReport, Ended, Event, Job, Kind
from .._model.options import SubmitOptions
from ..stores.records import JobEnd
from .cursor import LogCursor
from .raised import Raised, chained
from .readers import Policy
from .streams import EventStream, Restarts, TokenStream, end_error

T_co = TypeVar("T_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)


class JobAccess(Protocol):
    """Gives handles access to their jobs: a worker of this process does, and the client of a server.

    Every method raises `UnknownJob` if no job has the id, and `trio.ClosedResourceError` once the
    block of the registry was left. All that is awaited is a checkpoint.

    Attributes:
        raised: What handlers raised in this process.
    """

    raised: Raised

    def snapshot(self, job_id: str) -> Awaitable[Job]:
        """Return a job as it is now."""
        ...

    def explain(self, job_id: str) -> Awaitable[str]:
        """Say why a job does not run, or what it is doing."""
        ...

    def wait(self, job_id: str) -> Awaitable[Job]:
        """Return a job once it has ended."""
        ...

    def end(self, job_id: str) -> Awaitable[Job | JobEnd]:
        """Return how a job ended, once it has."""
        ...

    def history(self, job_id: str) -> Awaitable[list[Event]]:
        """Return a job's events but for tokens, progress and inputs."""
        ...

    def log(self, job_id: str, after: int, policy: Policy) -> LogCursor:
        """Return a cursor in a job's log, which is not open yet."""
        ...

    def request_cancel(self, job_id: str, reason: str | None, grace: float) -> Awaitable[bool]:
        """Ask for a job's cancellation; return whether it had not ended already."""
        ...

    def cancel(
        self, job_id: str, reason: str | None, grace: float, patience: float
    ) -> Awaitable[CancelReport]:
        """Ask for a job's cancellation, and report how it ended."""
        ...

    def resubmit(self, job_id: str, options: Mapping[str, Any]) -> Awaitable[str]:
        """Submit a job that has ended again, and return the id of the new one."""
        ...

    def send(self, job_id: str, key: str | None, values: Sequence[Any]) -> Awaitable[int]:
        """Send inputs to a job, all or none, and return the `seq` of the last; see `Store.send`.

        With no key, they get a new one.
        """
        ...

    def end_inputs(self, job_id: str) -> Awaitable[int]:
        """End a job's inputs, and return the `seq` of that event."""
        ...


class JobHandle(Generic[T_co, R_co]):
    """Watch one job, send it inputs, and cancel it. `T` is what it streams, `R` what it returns.

    Any number of handles may stand for one job; those of one registry with the same id are equal.
    Every method raises `UnknownJob` once the job was removed, and `trio.ClosedResourceError` once the
    registry was left.

    For a job on a server, every method may also raise `Disconnected`, if the server was out of reach for too
    long, and `ServerError`; all of them may then be called again, and streams read on.

    Attributes:
        id: The job's id.
    """

    def __init__(self, access: JobAccess, job_id: str) -> None:
        self.id = job_id
        self._access = access

    def __repr__(self) -> str:
        return f"<JobHandle {self.id}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, JobHandle):
            return NotImplemented
        # Those that a handler was given, and others, have not the same access.
        return self.id == other.id and self._access.raised is other._access.raised

    def __hash__(self) -> int:
        return hash(self.id)

    async def snapshot(self) -> Job:
        """Return the job as it is now. A checkpoint."""
        return await self._access.snapshot(self.id)

    async def explain(self) -> str:
        """Say in words why the job does not run, or what it is doing. A checkpoint.

        The text is some lines for people, and may change; `snapshot` has the facts. Of a job that waits, it
        has what that waits for, see `Job.waiting_for`, with what the store and this registry know of it. Of
        one that runs in this process, it has the deadlines, the readers here, and its tasks' stacks. What
        runs elsewhere cannot be looked into. For a job on a server, the server answers, so this process is
        the server's; the stacks are in it if that has the option `tracebacks`.
        """
        return await self._access.explain(self.id)

    async def wait(self) -> Job:
        """Wait for the job's end, and return the job. A checkpoint.

        Never raises for how the job ended. Cancelling the wait does not touch the job.
        """
        return await self._access.wait(self.id)

    async def result(self) -> R_co:
        """Wait for the job's end, and return what its handler returned. A checkpoint.

        Cancelling the wait does not touch the job.

        Raises:
            JobFailed: The job failed; `JobTimedOut` if one of its timeouts passed. What the handler raised is
                its cause, if that was in this process and not too long ago; else a note has it as text.
            JobCancelled: The job was cancelled.
        """
        end = await self._access.end(self.id)
        if end.reason is not None:
            ended = Ended(end.reason, end.message, end.error, replaced_by=end.replaced_by)
            error = end_error(self.id, end.attempt, ended, end.state)
            raise chained(error, self._access.raised.get(self.id, end.attempt), end.error)
        return cast("R_co", end.result)

    async def wait_ready(self) -> None:
        """Wait until the attempt that runs has said that it is ready, see `JobContext.ready`. A checkpoint.

        Cancelling the wait does not touch the job.

        Raises:
            JobFailed: The job has failed.
            JobCancelled: The job was cancelled.
            IllegalTransition: The job has completed.
        """
        while not (job := await self.snapshot()).state.over:
            if job.ready_at is not None:
                return
            with suppress(StreamGap):
                async with self.events(job.last_seq, policy="gap") as events:
                    async for event in events:
                        if event.kind is Kind.READY:
                            return
        await self.result()
        raise IllegalTransition(job.state, "ready")

    async def history(self) -> list[Event]:
        """Return the job's events but for tokens, progress and inputs, up to now. A checkpoint."""
        return await self._access.history(self.id)

    async def resubmit(self, **options: Unpack[SubmitOptions]) -> JobHandle[T_co, R_co]:
        """Submit the job again, now that it has ended: a new job with the same arguments and options.

        A checkpoint. Of the options, the new job has neither the `key` nor the `run_at` and the delay. Its
        `Job.resubmitted_from` is the id of this one, which stays as it is. A child job becomes a job of its
        own. If this is cancelled, nothing was submitted; for a job on a server, it may have been.

        Args:
            **options: Options in place of those that it had, see `SubmitOptions`.

        Returns:
            A handle on the new job.

        Raises:
            IllegalTransition: The job has not ended.
            UnknownHandler: On a store that outlives the process, no handler of this registry has its name.
            InvalidPayload: Its arguments do not fit its handler, which was changed since.
            Exception: Whatever `JobRegistry.submit` raises.
        """
        return JobHandle(self._access, await self._access.resubmit(self.id, options))

    # ------------------------------------------------------------ reading

    def events(self, after: int = 0, *, policy: Policy = "block") -> EventStream:
        """Open the job's log, in `async with`: every event behind a cursor, and then live to the end.

        Args:
            after: The cursor; 0 is the beginning.
            policy: `block`: once caught up, the handler waits when this reader is a full window behind.
                `gap`: it does not; a reader that is overtaken by retention gets `StreamGap`.

        Raises:
            ValueError: An argument is out of range.
            StreamGap: On entering, the cursor is ahead of the log.
        """
        return EventStream(self._access.log(self.id, after, policy))

    def stream(
        self, after: int = 0, *, restarts: Restarts = "raise", policy: Policy = "block"
    ) -> TokenStream[T_co]:
        """Open the job's values, in `async with`: those behind a cursor, and then live to the end.

        Args:
            after: The cursor; 0 is the beginning.
            restarts: What a new attempt does to this reader: `raise` gives it `StreamRestarted` between
                the attempts, `continue` runs their values together.
            policy: See `events`.

        Raises:
            ValueError: An argument is out of range.
            StreamGap: On entering, the cursor is ahead of the log.
        """
        return TokenStream(self._access.log(self.id, after, policy), restarts)

    # ------------------------------------------------------------ inputs

    async def send(self, value: object, *, key: str | None = None) -> int:
        """Send the job an input, which its handler receives. A checkpoint.

        When this returns, the input is in the job's log. It is kept until the handler has saved what it made
        of it; who wants an answer reads the job. It waits for nothing, and never for room: see `InboxFull`.
        A job that waits for an input is due at once, see `AwaitInput`.

        If this is cancelled, or its answer is lost, the input may have been sent. Call it again with the same
        `key` and the same value then: an input with a `key` that the job knows is not sent again.

        Args:
            value: The input. A store in memory keeps the object itself; do not change it afterwards.
            key: A name of 1 to 256 characters that no other input of the job has; by default a new one.

        Returns:
            The cursor of the input in the job's log.

        Raises:
            IllegalTransition: The job has ended, or its inputs have.
            InboxFull: The job has too many inputs that its handler has not saved yet; try again later.
            InvalidPayload: The value is larger than `Retention.token_bytes`; or, on a store that outlives the
                process, it does not fit the type that the handler declares, or cannot be made into JSON.
            KeyConflict: The `key` was used for another value.
            ValueError: The `key` is too long or empty.
        """
        return await self._access.send(self.id, None if key is None else input_key(key), [value])

    async def send_many(self, values: Iterable[object], *, key: str | None = None) -> int:
        """Send the job inputs in order, all of them or none, as one with one `key`. See `send`.

        Args:
            values: The inputs, at least one.
            key: A name for all of them together.

        Returns:
            The cursor of the last of them in the job's log.

        Raises:
            ValueError: There is none, or the `key` is too long or empty.
            Exception: Whatever `send` raises.
        """
        batch = list(values)
        if not batch:
            raise ValueError("send_many takes at least one input; got none")
        return await self._access.send(self.id, None if key is None else input_key(key), batch)

    async def end_inputs(self) -> int:
        """Say that no more inputs will come: then the handler's `receive` ends. A checkpoint.

        It holds for every attempt of the job. A repeated call does nothing. If it is cancelled, the inputs
        may have been ended.

        Returns:
            The cursor of that event in the job's log, the first one if it was called before.

        Raises:
            IllegalTransition: The job has ended.
        """
        return await self._access.end_inputs(self.id)

    # ------------------------------------------------------------ cancelling

    async def request_cancel(self, reason: str | None = None, *, grace: float = 0.0) -> bool:
        """Ask for the job's cancellation, and do not wait for it. A checkpoint.

        A job that waits is CANCELLED at once. One that runs gets `JobContext.cancel_requested`, and is
        cancelled after `grace`; if it ends by itself before, that end counts. For a job on a server, if this
        call is cancelled, the cancellation may have been asked for.

        Args:
            reason: Free text for the job's log.
            grace: Seconds for the handler to end by itself.

        Returns:
            False if the job had ended already.
        """
        _check(reason, grace)
        return await self._access.request_cancel(self.id, reason, grace)

    async def cancel(
        self, reason: str | None = None, *, grace: float = 0.0, patience: float = 10.0
    ) -> CancelReport:
        """Cancel the job, and wait until it has ended. A checkpoint.

        Cancelling this call leaves the request in force. If it is called again after that or after
        `StoreUnavailable`, `already_over` may mean that the first call ended the job. For a job on a server,
        one call may say so too, as it is repeated if the connection was lost meanwhile.

        Args:
            reason: Free text for the job's log.
            grace: Seconds for the handler to end by itself, before it is cancelled.
            patience: Seconds it may take to stop after that, before it is reported as stuck.

        Returns:
            How it ended; `cancelled` only after the job's nursery has closed.
        """
        _check(reason, grace)
        number("patience", patience)
        return await self._access.cancel(self.id, reason, grace, patience)


def _check(reason: str | None, grace: float) -> None:
    number("grace", grace)
    if reason is not None:
        text("reason", reason)
