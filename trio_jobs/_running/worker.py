"""Claim jobs while there are free slots, and run each in a task of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from contextvars import copy_context
from functools import partial

import trio

from .._common.bell import Bell
from .._common.error_text import indented
from .._common.errors import LeaseLost
from .._common.states import Reason, State, Transition
from .._model.job import CancelReport, Ended
from .._watching.raised import Raised
from .._watching.readers import ReadersByJob
from ..stores.contract import Claim, Claimant, Heartbeat, Outcome, Store, Submission
from ..stores.retrying import LAST_WORDS, insist, persist
from .attempt import Attempt
from .sweeper import sweep

logger = logging.getLogger("trio_jobs")
STUCK_SECONDS = 10.0
"""How long a shutdown waits before it says in the log which jobs hold it up."""


class Worker:
    """What runs jobs in this process.

    Args:
        store: Where the jobs are.
        nursery: Where their tasks run.
        claimant: What the `started` events say, and how long a lease is.
        capacity: How many attempts may run at once; child jobs use their parent's slot.
        window: How many events a handler may be ahead of a reader.
        batches: Whether the store does in one step what it is asked in one: then an end, and the claim for
            the slot that it leaves, are asked together. Otherwise a slot is kept until the end is recorded.

    Attributes:
        raised: What the last attempts that failed here raised.
        attempts: The attempts that run now, child jobs included, by job id.
        running: How many of them use a slot: all but child jobs.
        paused: Whether claiming is paused.
        closed: Whether the registry has been left.
        trio_token: What lets a thread call into the run.
        interrupted: Whether a KeyboardInterrupt came out of a handler.
        patience: Seconds in which the store has to hear of an end, once the registry is being left.
    """

    def __init__(
        self,
        store: Store,
        nursery: trio.Nursery,
        claimant: Claimant,
        *,
        capacity: int,
        window: int,
        batches: bool = False,
    ) -> None:
        self.store = store
        self.nursery = nursery
        self.trio_token = trio.lowlevel.current_trio_token()
        self.claimant = claimant
        self.capacity = capacity
        self._batches = batches
        self.readers = ReadersByJob(window)
        self.raised = Raised()
        self.attempts: dict[str, Attempt] = {}
        self._outdated: list[Attempt] = []  # still ending, while a newer attempt of their job waits here
        self.running = 0
        self._asked = 0  # slots for which a claim is under way
        self.paused = False
        self.closed = False
        self.interrupted = False
        self.patience = min(claimant.lease, LAST_WORDS)
        self._background = trio.CancelScope()
        self._changed = Bell()
        self._heard: Mapping[str, float] = {}
        # Whether a job starts in `submit` or later must not decide which context variables it sees.
        self._context = copy_context()

    async def run(self) -> None:
        """Claim and start jobs, and sweep, until `stop`."""
        with self._background:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sweep, self.store)
                await self._claim()

    async def _claim(self) -> None:
        while True:  # asked only when work may wait: a claim holds the slots that a submit could fill at once
            while not self._free():
                await self._changed.wait()
            await persist(self.store.due)
            if self._free():
                await persist(self._claim_once)

    async def _claim_once(self) -> None:
        free = self._hold(self.capacity)
        try:
            await self._take(await self.store.claim(free, self.claimant))
        finally:
            self._let_go(free)

    async def submit(self, batch: Sequence[Submission]) -> list[str]:
        """Submit a batch and, in the same step, start what there are free slots for."""
        free = self._hold(len(batch))
        try:
            ids, claims = await self.store.submit(batch, free, self.claimant)
            await self._take(claims)
        finally:
            self._let_go(free)
        return ids

    def _hold(self, most: int) -> int:
        """Hold free slots, `most` at most, for what the store is asked, and return how many these are."""
        free = min(most, self._free())
        self._asked += free
        return free

    def _let_go(self, free: int) -> None:
        """Hold slots no longer; a claim that found none free waits for those that were not filled."""
        self._asked -= free
        if free:
            self._changed.ring()

    def _free(self) -> int:
        return 0 if self.paused or self.closed else max(0, self.capacity - self.running - self._asked)

    async def _take(self, claims: Sequence[Claim]) -> None:
        if self.closed:  # while the store was being asked
            await self._give_back(claims)
            return
        for claim in claims:
            self.running += 1
            attempt = Attempt(self, claim)
            self._context.run(self.start, attempt, self.nursery)
            if (grace := self._heard.get(claim.submission.id)) is not None:
                attempt.tell(Reason.USER, grace)  # requested while the claim was on its way

    async def _give_back(self, claims: Sequence[Claim]) -> None:
        """Hand over what will not be started here. Who asked for it is being cancelled, as a rule."""
        left = {claim.submission.id for claim in claims}

        async def hand_over(claim: Claim) -> None:
            outcome = Outcome(Transition.RETRIED, ended=Ended(Reason.SHUTDOWN, delay=0.0))
            with suppress(trio.ClosedResourceError):  # a submit may outlast the registry
                with suppress(LeaseLost):
                    await insist(partial(self.store.finish, claim.submission.id, claim.attempt, outcome))
                left.discard(claim.submission.id)

        with trio.move_on_after(self.patience, shield=True):
            async with trio.open_nursery() as nursery:  # one after the other would take a commit for each
                for claim in claims:
                    nursery.start_soon(hand_over, claim)
        if left:
            logger.warning("the store did not hear that these jobs were not begun: %s", ", ".join(left))

    def start(self, attempt: Attempt, nursery: trio.Nursery) -> None:
        """Run an attempt in a task of `nursery`.

        Raises:
            RuntimeError: The nursery is closed.
        """
        submission = attempt.claim.submission
        nursery.start_soon(attempt.run, name=f"{submission.handler} {submission.id}")
        if (older := self.attempts.get(submission.id)) is not None:
            # Its lease had lapsed, its job was taken back, and this worker was the next to claim it.
            self._outdated.append(older)
            older.deadlines.stop(Reason.WORKER_LOST)
        self.attempts[submission.id] = attempt

    async def finish(self, attempt: Attempt, outcome: Outcome) -> State:
        """Tell the store how an attempt ended, and claim for its slot in the same step, if the store batches.

        Between two tries, when the store is unavailable, the slot is kept.
        """
        slots = int(self._batches and attempt.parent is None)
        if slots:
            self.running -= slots
            self._changed.ring()
        try:
            return await self.store.finish(attempt.claim.submission.id, attempt.claim.attempt, outcome)
        finally:
            self.running += slots

    async def wait_for_turn(self, attempt: Attempt) -> None:
        """Wait until no older attempt of the same job runs here: a handler never runs beside itself."""
        job_id = attempt.claim.submission.id
        while any(older.claim.submission.id == job_id for older in self._outdated):
            await self._changed.wait()

    def ended(self, attempt: Attempt) -> None:
        """Note that an attempt is over, and give its slot back."""
        job_id = attempt.claim.submission.id
        if self.attempts.get(job_id) is attempt:
            del self.attempts[job_id]
            if job_id in self.readers:
                self.readers[job_id].dismiss()
                self.readers.release(job_id)
        else:
            self._outdated.remove(attempt)
        if attempt.parent is None:
            self.running -= 1
        self._changed.ring()

    def pause(self, *, paused: bool) -> None:
        """Stop or resume claiming."""
        self._changed.ring()  # first, as it raises in a thread
        self.paused = paused

    def check_open(self) -> None:
        """Raise `trio.ClosedResourceError` if the registry has been left."""
        if self.closed:
            raise trio.ClosedResourceError("the registry is closed: its 'async with' block was left")

    def interrupt(self) -> None:
        """Shut down because of Ctrl-C."""
        self.interrupted = True
        self.nursery.cancel_scope.cancel(reason="KeyboardInterrupt")

    # ------------------------------------------------------------ cancelling

    async def request_cancel(self, job_id: str, reason: str | None, grace: float) -> bool:
        """Ask for a job's cancellation; see `JobHandle.request_cancel`."""
        self.check_open()
        await trio.lowlevel.checkpoint()
        answer = await self.store.request_cancel(job_id, reason, grace)
        attempt = self.attempts.get(job_id)
        if answer == "requested" and attempt is not None:
            attempt.tell(Reason.USER, grace)
        return answer != "already_over"

    async def cancel(self, job_id: str, reason: str | None, grace: float, patience: float) -> CancelReport:
        """Cancel a job, and wait for what becomes of it; see `JobHandle.cancel`."""
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

    # ------------------------------------------------------------ shutdown

    def stop(self, grace: float) -> None:
        """Claim no more, and ask every attempt to end within `grace` seconds."""
        self._background.cancel(reason="the registry is being left")
        for attempt in [*self.attempts.values(), *self._outdated]:
            attempt.hurry()
        for attempt in list(self.attempts.values()):
            if attempt.parent is None:
                attempt.tell(Reason.SHUTDOWN, grace)

    async def keep_leases(self, heart: trio.CancelScope) -> None:
        """Renew the leases of what runs here, and hear what is to stop, until `heart` is cancelled.

        At least three times a lease, so that two answers may be lost; at once when a request to cancel comes.
        """
        lease = self.claimant.lease
        with heart:
            while True:
                with trio.move_on_after(lease / 3):
                    self._heard = await persist(partial(self.store.cancelling, self._heard))
                held = {job_id: attempt.claim.attempt for job_id, attempt in self.attempts.items()}
                if held:
                    self._heed(held, await persist(partial(self.store.heartbeat, held, lease)))

    def _heed(self, held: Mapping[str, int], answer: Heartbeat) -> None:
        for job_id, number in held.items():
            attempt = self.attempts.get(job_id)
            if attempt is None or attempt.claim.attempt != number:
                continue  # it has ended meanwhile
            if job_id in answer.lost:
                attempt.deadlines.stop(Reason.WORKER_LOST)
            elif job_id in answer.cancels:
                attempt.tell(Reason.USER, answer.cancels[job_id])

    async def wait_idle(self) -> None:
        """Wait until no attempt runs here."""
        while self.attempts or self._outdated:
            await self._changed.wait()

    async def wait_answers(self) -> None:
        """Wait, for so long as that may take, until nothing is on its way here that is to be given back."""
        with trio.move_on_after(self.patience, shield=True):  # noqa: ASYNC912  # mostly nothing is
            while self._asked:
                await self._changed.wait()

    async def wait_hopeless(self) -> None:
        """Wait until nothing runs here and nothing will."""
        while self.attempts or (self.capacity and not self.paused):
            await self._changed.wait()

    async def report_stuck(self, grace: float) -> None:
        """Say in the log which jobs hold up a shutdown, and where they are."""
        with trio.move_on_after(grace + STUCK_SECONDS):
            await self.wait_idle()
        for job_id, attempt in self.attempts.items():
            logger.warning("job %s does not stop; it is at\n%s", job_id, indented(attempt.stack()))
