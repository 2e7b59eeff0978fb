"""Run attempts, each in a task of its own, and record how each ended.

    start → handler → close the channel → conclude → finish

The end of an attempt is recorded whatever is cancelled meanwhile. Once the registry is being left, recording
it may take a few seconds at most.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import count
from math import inf
from threading import get_ident
from typing import Any, Final

import trio

from .._common.bell import Bell
from .._common.error_text import indented
from .._common.errors import InboxFull, InvalidPayload, LeaseLost
from .._common.states import Reason, State, Transition
from .._model.job import REPEATED, CancelReport, Ended, Event, Job, new_id
from .._watching.cursor import LogCursor
from .._watching.raised import Raised
from .._watching.readers import Policy, ReadersByJob
from .._watching.store_cursor import LocalCursor, StoreCursor
from ..stores.contract import Claim, Claimant, Heartbeat, Outcome, Store
from ..stores.records import JobEnd
from ..stores.retrying import LAST_WORDS, retry_until_answered, retry_until_done
from .attempt import Attempt
from .context import Starts
from .listener import Listener
from .logs import log_end, log_start
from .outcome import Run
from .shortcuts import Shortcuts
from .writer import Resources

logger = logging.getLogger("trio_jobs")
_STEERED: Final = REPEATED - {Reason.RESTARTED}  # by what the handler raised
STUCK_SECONDS = 10.0
"""How long a shutdown waits before it logs which jobs hold it up."""


class Runner:
    """Runs the attempts of this process.

    Args:
        store: The store.
        nursery: It runs the tasks of the attempts.
        claimant: The worker's name, and how long its leases are.
        window: How many events a handler may be ahead of a reader.
        shortcuts: The ways around the verbs of the store, if there are any.
        starts: Starts other jobs for the handlers of attempts.

    Attributes:
        readers: The readers of jobs in this process.
        raised: The exceptions of the last attempts that failed here.
        attempts: The attempts that run now, child jobs included, by job id.
        running: How many of them use a slot: all but child jobs and services.
        closed: Whether the registry's block has been left, though attempts may still run.
        interrupted: Whether a handler raised KeyboardInterrupt.
        patience: Seconds in which an end has to be recorded, once the registry is being left.
        tell_start: Is called when an attempt begins.
        tell_end: Is called with how one ended, once that is recorded.
        listener: It hears whether inputs came to attempts; to be run unless logs are read in place.
    """

    def __init__(
        self,
        store: Store,
        nursery: trio.Nursery,
        claimant: Claimant,
        *,
        window: int,
        shortcuts: Shortcuts,
        starts: Starts,
    ) -> None:
        self.store = store
        self._starts = starts
        self.nursery = nursery
        self.claimant = claimant
        self.readers = ReadersByJob(window)
        self.raised = Raised()
        self.attempts: dict[str, Attempt] = {}
        self.running: int = 0
        self.closed = False
        self._thread = get_ident()
        self.interrupted = False
        self.patience = min(claimant.lease, LAST_WORDS)
        self.tell_start: Callable[[Attempt], None] = log_start
        self.tell_end: Callable[[Attempt, State, Ended | None], None] = log_end
        self._at_once = shortcuts.local is not None  # and never unavailable
        self._batches = shortcuts.batches
        self._cursor = StoreCursor if shortcuts.local is None else LocalCursor
        ends = shortcuts.ends
        self._end_of: Callable[[str], Awaitable[Job | JobEnd]] = store.ended if ends is None else ends.end
        trio_token = trio.lowlevel.current_trio_token()
        self.listener = Listener(store)
        self._resources = Resources(store, self.readers, nursery, trio_token, shortcuts.local, self.listener)
        self._superseded: list[Attempt] = []  # still ending, while a newer attempt of their job waits here
        self._recording: set[trio.CancelScope] = set()
        self._changed = Bell()
        self._heard: Mapping[str, float] = {}
        # The keys of inputs, and the ids of claims: new random bits for each would take long.
        self._keys = map(f"{new_id()}-".__add__, map(str, count()))

    # ------------------------------------------------------------ one attempt

    def start(
        self, claim: Claim, nursery: trio.Nursery, parent: Attempt | None = None, *, slot: bool = True
    ) -> Attempt:
        """Run an attempt in a task of `nursery`, and return it.

        Raises:
            RuntimeError: The nursery is closed.
        """
        attempt = Attempt(claim, self._resources, self._starts, parent)
        attempt.slot = slot and parent is None
        job_id = claim.submission.id
        nursery.start_soon(self._run, attempt, name=f"{claim.submission.handler} {job_id}")
        if (older := self.attempts.get(job_id)) is not None:
            # Its lease had lapsed, its job was reclaimed, and this worker was the next to claim it.
            self._superseded.append(older)
            older.deadlines.stop(Reason.WORKER_LOST)
        if self._superseded:  # perhaps by one of this job, though the attempt after it has ended
            attempt.wait_first = partial(self._wait_until_sole, job_id)
        self.attempts[job_id] = attempt
        return attempt

    async def _wait_until_sole(self, job_id: str) -> None:
        """Wait until no older attempt of a job runs here: a handler never runs beside itself."""
        while any(older.claim.submission.id == job_id for older in self._superseded):
            await self._changed.wait()

    async def _run(self, attempt: Attempt) -> None:
        """Run an attempt, record how it ended, and give its slot back.

        Raises:
            trio.Cancelled: Something outside the attempt was cancelled.
            BaseException: The failure of a child job, for its parent's nursery.
        """
        self.tell_start(attempt)
        try:
            run, cancelled = await attempt.run()
            if run.error is not None and run.interrupted:
                self.interrupt()
            # A store in this process answers at once: nothing can cut that short.
            record = self._record_shielded if self.store.durable else self._record
            await record(attempt, run)
        finally:
            self._end(attempt)
        outcome = attempt.outcome
        if attempt.parent is not None and outcome is not None and outcome.transition is Transition.FAILED:
            raise run.child_failure(outcome.ended)
        if cancelled is not None:
            raise cancelled

    async def _record(self, attempt: Attempt, run: Run) -> None:
        """Write what is still in the attempt's channel and how it ended."""
        await attempt.writer.close()
        outcome = attempt.outcome = attempt.conclude(run, durable=self.store.durable)
        if outcome is not None:
            if run.error is not None and (outcome.ended is None or outcome.ended.reason not in _STEERED):
                self.raised.add(attempt.claim, run.error)
            await self._finish(attempt, outcome)

    async def _record_shielded(self, attempt: Attempt, run: Run) -> None:
        """Do what `_record` does, whatever is cancelled; once the registry is being left, not for long."""
        with trio.CancelScope(shield=True, deadline=self._patience_ends()) as scope:
            self._recording.add(scope)
            try:
                await self._record(attempt, run)
            finally:
                self._recording.remove(scope)
        if scope.cancelled_caught:
            job_id, number = attempt.claim.submission.id, attempt.claim.attempt
            words = "the end of attempt %d of job %s was not recorded; its lease will lapse"
            logger.warning(words, number, job_id)

    def _patience_ends(self) -> float:
        """Return until when an end has to be recorded."""
        return trio.current_time() + self.patience if self.closed else inf

    def new_claim(self) -> Claimant:
        """Return the claimant with a new claim id; if the store never fails to answer, it needs none."""
        name, lease, _ = mine = self.claimant
        return mine if self._at_once else Claimant(name, lease, next(self._keys))

    async def _finish(self, attempt: Attempt, outcome: Outcome) -> None:
        claim = attempt.claim
        try:
            finish = self.store.finish
            if self._batches and attempt.slot:
                finish = self._finish_and_claim
            end = claim.submission.id, claim.attempt, outcome, claim.id
            state = await (finish(*end) if self._at_once else retry_until_answered(finish, *end))
        except LeaseLost:
            words = "the end of attempt %d of job %s came too late"
            logger.warning(words, claim.attempt, claim.submission.id)
        except InvalidPayload as refusal:
            bad = Ended(Reason.BAD_RESULT, str(refusal))
            given = outcome.received, outcome.begun, outcome.appended
            await self._finish(attempt, Outcome(Transition.FAILED, None, bad, *given))
        else:
            ended = outcome.ended
            if state is State.CANCELLED and outcome.transition is Transition.RETRIED and ended is not None:
                ended = Ended(Reason.USER, error=ended.error)  # requested before it could run again
            elif state is State.FAILED and outcome.transition is Transition.RETRIED and ended is not None:
                ended = Ended(Reason.RESTARTS, ended.message, ended.error)
            self.tell_end(attempt, state, ended)

    async def _finish_and_claim(
        self, job_id: str, attempt: int, outcome: Outcome, claim: str | None = None
    ) -> State:
        """Record an end in a store that batches, and claim for the slot in the same step.

        Between two tries, when the store is unavailable, the slot is kept.
        """
        self.running -= 1
        self._changed.ring()
        try:
            return await self.store.finish(job_id, attempt, outcome, claim)
        finally:
            self.running += 1

    def _end(self, attempt: Attempt) -> None:
        """Remove an attempt that has ended, and free its slot."""
        job_id = attempt.claim.submission.id
        if self.attempts.get(job_id) is attempt:
            del self.attempts[job_id]
            if job_id in self.readers:
                self.readers[job_id].dismiss()
                self.readers.release(job_id)
        else:
            self._superseded.remove(attempt)
        if attempt.slot:
            self.running -= 1
        self._changed.ring()

    # ------------------------------------------------------------ for handles, see `JobAccess`

    async def snapshot(self, job_id: str) -> Job:
        """Return a job as it is now."""
        self.check_open()
        await trio.lowlevel.checkpoint()
        return await self.store.get(job_id)

    def wait(self, job_id: str) -> Awaitable[Job]:
        """Return a job once it has ended."""
        self.check_open()
        return self.store.ended(job_id)

    def end(self, job_id: str) -> Awaitable[Job | JobEnd]:
        """Return how a job ended, once it has."""
        self.check_open()
        return self._end_of(job_id)

    async def history(self, job_id: str) -> list[Event]:
        """Return a job's events but for tokens, progress and inputs."""
        self.check_open()
        await trio.lowlevel.checkpoint()
        return await self.store.history(job_id)

    def log(self, job_id: str, after: int, policy: Policy) -> LogCursor:
        """Return a cursor in a job's log."""
        self.check_open()
        return self._cursor(self.store, self.readers, job_id, after, policy, raised=self.raised)

    async def request_cancel(self, job_id: str, reason: str | None, grace: float) -> bool:
        """Ask for a job's cancellation; see `JobHandle.request_cancel`."""
        self.check_open()
        await trio.lowlevel.checkpoint()
        answer = await self.store.request_cancel(job_id, reason, grace)
        attempt = self.attempts.get(job_id)
        if answer == "requested" and attempt is not None:
            attempt.notify_cancel(Reason.USER, grace)
        self._changed.ring()
        return answer != "already_over"

    async def cancel(self, job_id: str, reason: str | None, grace: float, patience: float) -> CancelReport:
        """Cancel a job, and wait until it has ended; see `JobHandle.cancel`.

        A repeated call may report `already_over`, as the one before may have ended the job.
        """
        began = trio.current_time()
        if not await self.request_cancel(job_id, reason, grace):
            return CancelReport("already_over", trio.current_time() - began)
        job = None
        with trio.move_on_after(grace + patience):
            job = await self.store.ended(job_id)
        took = trio.current_time() - began
        if job is not None:
            return CancelReport("cancelled" if job.state is State.CANCELLED else "finished_first", took)
        attempt = self.attempts.get(job_id)
        if attempt is None:
            return CancelReport("requested", took)
        return CancelReport("stuck", took, attempt.stack())

    async def send(self, job_id: str, key: str | None, values: Sequence[Any]) -> int:
        """Send inputs to a job; see `JobHandle.send`."""
        self.check_open()
        await trio.lowlevel.checkpoint()
        try:
            return await self.store.send(job_id, next(self._keys) if key is None else key, values)
        except InboxFull as full:  # the store learns only with the end of an attempt what that has received
            inbox = self.attempts[job_id].writer.inbox if job_id in self.attempts else None
            if inbox is None:
                raise
            raise InboxFull(full.unconsumed, min(inbox.unsaved, full.unconsumed), full.limit) from None

    async def end_inputs(self, job_id: str) -> int:
        """End a job's inputs; see `JobHandle.end_inputs`."""
        self.check_open()
        await trio.lowlevel.checkpoint()
        return await self.store.end_inputs(job_id)

    # ------------------------------------------------------------ all of them

    async def keep_leases(self) -> None:
        """Send heartbeats until cancelled, and stop the attempts that their answers name.

        At least three times a lease, so that two answers may be lost; at once when a request to cancel comes.
        """
        while True:
            with trio.move_on_after(self.claimant.lease / 3):
                self._heard = await retry_until_done(self.store.cancelling, self._heard)
            await self.hear()

    async def hear(self) -> None:
        """Send a heartbeat, and stop the attempts that its answer names."""
        held = {job_id: attempt.claim.attempt for job_id, attempt in self.attempts.items()}
        claims = {job_id: attempt.claim.id for job_id, attempt in self.attempts.items()}
        if held:
            answer = await retry_until_done(self.store.heartbeat, held, self.claimant.lease, claims)
            self._apply_heartbeat(held, answer)

    def _apply_heartbeat(self, held: Mapping[str, int], answer: Heartbeat) -> None:
        for job_id, number in held.items():
            attempt = self.attempts.get(job_id)
            if attempt is None or attempt.claim.attempt != number:
                continue  # it has ended meanwhile
            if job_id in answer.lost:
                attempt.deadlines.stop(Reason.WORKER_LOST)
            elif job_id in answer.cancels:
                attempt.notify_cancel(Reason.USER, answer.cancels[job_id])

    async def changed(self) -> None:
        """Wait until jobs may have ended, or begun to wait."""
        await self._changed.wait()

    async def wait_idle(self) -> None:
        """Wait until no attempt runs here that uses a slot."""
        while self.busy:
            await self._changed.wait()

    @property
    def busy(self) -> bool:
        """Whether an attempt runs here that uses a slot."""
        return any(attempt.slot for attempt in (*self.attempts.values(), *self._superseded))

    async def stop_services(self, grace: float) -> None:
        """Once all else has ended, ask the services to end within `grace` seconds."""
        await self.wait_idle()
        for attempt in list(self.attempts.values()):
            if attempt.parent is None:
                attempt.notify_cancel(Reason.SHUTDOWN, grace)

    async def report_stuck(self, grace: float) -> None:
        """Log which jobs hold up a shutdown, with their stacks."""
        with trio.move_on_after(grace + STUCK_SECONDS):  # noqa: ASYNC912  # mostly nothing runs
            while self.attempts or self._superseded:
                await self._changed.wait()
        for job_id, attempt in self.attempts.items():
            logger.warning("job %s does not stop; it is at\n%s", job_id, indented(attempt.stack()))

    def check_open(self, *, submits: bool = False) -> None:
        """Raise `trio.ClosedResourceError` if the registry was left, and no attempt runs here any more.

        Until then handlers use it: one that ends within its grace may wait for its child jobs. A job that is
        submitted then waits for another worker, which a store in memory does not have.
        """
        if get_ident() != self._thread:
            text = "a registry is used in the thread that opened it; from another one, call it with"
            raise RuntimeError(f"{text} trio.from_thread.run, as in trio.from_thread.run(jobs.submit, fn)")
        if self.closed and not ((self.attempts or self._superseded) and (self.store.durable or not submits)):
            raise trio.ClosedResourceError("the registry is closed: its 'async with' block was left")

    def interrupt(self) -> None:
        """Shut down because of Ctrl-C."""
        self.interrupted = True
        self.nursery.cancel_scope.cancel(reason="KeyboardInterrupt")
