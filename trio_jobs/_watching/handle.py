"""A job as those see it who submitted it or looked it up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar, cast

import trio

from .._common.validate import number, text
from .._model.job import CancelReport, Ended, Event, Job
from .cursor import Place
from .raised import chained
from .readers import Policy
from .streams import Cursor, EventStream, Restarts, TokenStream, end_error

if TYPE_CHECKING:
    from .._running.runner import Runner as Worker

T_co = TypeVar("T_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)


class JobHandle(Generic[T_co, R_co]):
    """Watch and cancel one job. `T` is what it streams, `R` what it returns.

    Any number of handles may stand for one job; those of one registry with the same id are equal.
    Every method raises `UnknownJob` once the job was removed, and `trio.ClosedResourceError` once the
    registry was left.

    Attributes:
        id: The job's id.
    """

    def __init__(self, worker: Worker, job_id: str) -> None:
        self.id = job_id
        self._home: object = worker
        self._worker = worker

    def __repr__(self) -> str:
        return f"<JobHandle {self.id}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, JobHandle):
            return NotImplemented
        return (self.id, self._home) == (other.id, other._home)

    def __hash__(self) -> int:
        return hash(self.id)

    async def snapshot(self) -> Job:
        """Return the job as it is now. A checkpoint."""
        self._worker.check_open()
        await trio.lowlevel.checkpoint()
        return await self._worker.store.get(self.id)

    async def wait(self) -> Job:
        """Wait for the job's end, and return the job. A checkpoint.

        Never raises for how the job ended. Cancelling the wait does not touch the job.
        """
        self._worker.check_open()
        return await self._worker.store.ended(self.id)

    async def result(self) -> R_co:
        """Wait for the job's end, and return what its handler returned. A checkpoint.

        Cancelling the wait does not touch the job.

        Raises:
            JobFailed: The job failed; `JobTimedOut` if one of its timeouts passed. What the handler raised is
                its cause, if that was in this process and not too long ago; else a note has it as text.
            JobCancelled: The job was cancelled.
        """
        job = await self.wait()
        if job.reason is not None:
            error = end_error(job.id, job.attempt, Ended(job.reason, job.message, job.error), job.state)
            raise chained(error, self._raised(job.attempt), job.error)
        return cast("R_co", job.result)

    def _raised(self, attempt: int) -> BaseException | None:
        """Return what an attempt ended with, if that is known here."""
        return self._worker.raised.get(self.id, attempt)

    async def history(self) -> list[Event]:
        """Return the job's events but for tokens and progress, as far as it has come. A checkpoint."""
        self._worker.check_open()
        await trio.lowlevel.checkpoint()
        return await self._worker.store.history(self.id)

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
        return EventStream(self._cursor(after, policy))

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
        return TokenStream(self._cursor(after, policy), restarts)

    def _cursor(self, after: int, policy: Policy) -> Place:
        self._worker.check_open()
        worker = self._worker
        return Cursor(worker.store, worker.readers, self.id, after, policy, raised=worker.raised)

    # ------------------------------------------------------------ cancelling

    async def request_cancel(self, reason: str | None = None, *, grace: float = 0.0) -> bool:
        """Ask for the job's cancellation, and do not wait for it. A checkpoint.

        A job that waits is CANCELLED at once. One that runs is told (`JobContext.cancel_requested`) and is
        cancelled after `grace`; if it ends by itself before, that end counts.

        Args:
            reason: Free text for the job's log.
            grace: Seconds for the handler to end by itself.

        Returns:
            False if the job had ended already.
        """
        number("grace", grace)
        if reason is not None:
            text("reason", reason)
        return await self._worker.request_cancel(self.id, reason, grace)

    async def cancel(
        self, reason: str | None = None, *, grace: float = 0.0, patience: float = 10.0
    ) -> CancelReport:
        """Cancel the job, and wait for what becomes of it. A checkpoint.

        Cancelling this call leaves the request in force.

        Args:
            reason: Free text for the job's log.
            grace: Seconds for the handler to end by itself, before it is cancelled.
            patience: Seconds it may take to stop after that, before it is reported as stuck.

        Returns:
            What became of it; `cancelled` only after the job's nursery has closed.
        """
        number("grace", grace)
        number("patience", patience)
        if reason is not None:
            text("reason", reason)
        return await self._worker.cancel(self.id, reason, grace, patience)
