"""Claim jobs while there are free slots, and run their attempts."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import trio

from .._common.bell import Bell
from .._common.errors import LeaseLost, StoreUnavailable
from .._common.states import Reason, Transition
from .._model.job import Ended
from .._watching.handle import JobAccess, JobHandle
from ..stores.contract import Claim, Claimant, Outcome, Store, Submission
from ..stores.retrying import retry_until_answered, retry_until_done
from ..stores.submission import child_submission, submission
from .attempt import Attempt
from .logs import log_reclaimed
from .patient import Patient
from .runner import Runner
from .shortcuts import NO_SHORTCUTS, Shortcuts

if TYPE_CHECKING:
    from ..stores.pauses import Pauses
    from ..stores.services import KeepsServices

logger = logging.getLogger("trio_jobs")
NESTED: Final = 100
"""How deep child jobs may lie in each other: each takes its place on the stack of what waits for it."""


class Worker(Runner):
    """Claims jobs and runs them in this process.

    Args:
        store: The store.
        nursery: It runs the tasks of the attempts.
        claimant: The worker's name, and how long its leases are.
        shortcuts: The ways around the verbs of the store, if there are any.
        capacity: How many attempts may run at once; child jobs use their parent's slot, services none.
        window: How many events a handler may be ahead of a reader.
        services: The names of the handlers of the services that run here.

    Attributes:
        paused: Whether claiming is paused.
        handlers: The handlers that the registry was given, by name.
        tell_limits: Tells the store of the limits of a handler before its first job.
    """

    handlers: Mapping[str, object]
    tell_limits: Callable[[Submission], Awaitable[None]]

    def __init__(
        self,
        store: Store,
        nursery: trio.Nursery,
        claimant: Claimant,
        shortcuts: Shortcuts = NO_SHORTCUTS,
        *,
        capacity: int,
        window: int,
        services: Collection[str] = (),
    ) -> None:
        super().__init__(store, nursery, claimant, window=window, shortcuts=shortcuts, starts=self)
        self.capacity = capacity
        self.services = services
        self.paused = False
        self._asked = 0  # slots for which a claim is under way
        self._unanswered: list[Claimant] = []  # who submitted, and was not told what that started
        self._unheard = Bell()
        self._background = trio.CancelScope()
        self._patient: JobAccess = self if self._at_once else Patient(self)  # for handlers
        # Whether a job starts in `submit` or later must not decide which context variables it sees.
        self._context = copy_context()

    async def run(self) -> None:
        """Claim and start jobs, and sweep, until `stop`."""
        with self._background:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sweep)
                nursery.start_soon(self._return_unheard)
                if self.services:
                    nursery.start_soon(self._serve, cast("KeepsServices", self.store))
                await self._claim()

    async def _sweep(self) -> None:
        """Sweep the store whenever a sweep may find work."""
        while True:
            await retry_until_done(self.store.overdue)
            for lost in await retry_until_done(self.store.sweep):
                log_reclaimed(lost)

    async def _claim(self) -> None:
        while True:  # claim only when work may wait: a claim holds the slots that a submit could fill at once
            while not self._free():
                await self._changed.wait()
            await retry_until_done(self.store.due)
            if self._free():
                await retry_until_done(self._claim_once, self.new_claim())

    async def _serve(self, keeper: KeepsServices) -> None:
        while True:
            while self.paused:
                await self._changed.wait()
            await retry_until_done(keeper.due_services)
            if not self.paused:
                await retry_until_done(self._claim_services, keeper, self.new_claim())

    async def _claim_services(self, keeper: KeepsServices, worker: Claimant) -> None:
        await self._take(await keeper.claim_services(worker), slot=False)

    async def _claim_once(self, worker: Claimant) -> None:
        """Claim for all free slots. If the answer to an earlier try was lost, there may be fewer now."""
        free = self._hold(self.capacity)
        try:
            claims = await self.store.claim(free, worker)
            await self._take(claims[:free])
            await self._give_back(claims[free:])
        finally:
            self._let_go(free)

    async def _return_unheard(self) -> None:
        """Give back what a `submit` had started whose answer was lost."""
        while True:
            while not self._unanswered:
                await self._unheard.wait()
            await self._give_back(await retry_until_done(self.store.claim, 0, self._unanswered[0]))
            del self._unanswered[0]

    async def submit(self, batch: Sequence[Submission]) -> list[str]:
        """Submit a batch and, in the same step, start as many jobs as there are free slots. A checkpoint."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if batch and batch[0].limits:
            await self.tell_limits(batch[0])
        free = self._hold(len(batch))
        worker = self.new_claim() if free else self.claimant  # else it starts nothing
        try:
            ids, claims = await self.store.submit(batch, free, worker)
            await self._take(claims)
        except StoreUnavailable:
            if free:
                self._unanswered.append(worker)
                self._unheard.ring()
            raise
        finally:
            self._let_go(free)
        if not self.store.durable:  # else others had their turn while this was written
            if batch and batch[0].options.on_busy == "cancel":
                await self.hear()  # as no heartbeats are sent
            await trio.lowlevel.cancel_shielded_checkpoint()
        return ids

    async def spawn(
        self,
        parent: Attempt,
        fn: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        given: Mapping[str, Any],
    ) -> JobHandle[Any, Any]:
        """Start a child job in an attempt's nursery; see `JobContext.spawn`."""
        above = parent.claim
        child = child_submission(fn, args, given, above.submission.options)
        if (depth := parent.depth) > NESTED:
            raise RecursionError(f"child jobs can be nested {NESTED} deep, not {depth}")
        await trio.lowlevel.checkpoint_if_cancelled()
        job_id = above.submission.id
        worker = self.claimant._replace(claim=above.id)
        claim = await retry_until_answered(self.store.spawn, job_id, above.attempt, child, worker)
        try:
            self.start(claim, parent.context.nursery, parent)
        except RuntimeError:  # the nursery has just closed; the store ends the child with this attempt
            raise LeaseLost(job_id, above.attempt) from None
        await trio.lowlevel.cancel_shielded_checkpoint()
        return JobHandle(self._patient, child.id)

    async def submit_by(
        self,
        attempt: Attempt,
        fn: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        given: Mapping[str, Any],
    ) -> JobHandle[Any, Any]:
        """Submit a job while an attempt runs; see `JobContext.submit`."""
        self.check_open(submits=True)
        if "owner" in given:
            raise TypeError("the owner of what a handler submits is that of its own job; leave out owner")
        by = attempt.claim
        new = submission(fn, args, {**given, "owner": by.submission.options.owner})
        new.submitter = by.submission.id, by.attempt, by.id
        (job_id,) = await retry_until_answered(self.submit, [new])
        return JobHandle(self._patient, job_id)

    async def resubmit(self, job_id: str, options: Mapping[str, Any], room: int | None = None) -> str:
        """Submit a job that has ended again; see `JobHandle.resubmit` and `Submission.room`."""
        self.check_open(submits=True)
        await trio.lowlevel.checkpoint_if_cancelled()
        from ..stores.resubmitting import submit_again  # which few programs need

        new = await submit_again(self.store, job_id, options)
        new.room = room
        (new_id,) = await self.submit([new])
        return new_id

    def _hold(self, most: int) -> int:
        """Hold up to `most` free slots for a call of the store, and return how many are held."""
        free = min(most, self._free())
        self._asked += free
        return free

    def _let_go(self, free: int) -> None:
        """Free the slots that were held; a claim may be waiting for those that were not filled."""
        self._asked -= free
        if free:
            self._changed.ring()

    def _free(self) -> int:
        return 0 if self.paused or self.closed else max(0, self.capacity - self.running - self._asked)

    async def _take(self, claims: Sequence[Claim], *, slot: bool = True) -> None:
        if self.closed:  # during the call of the store
            await self._give_back(claims)
            return
        for claim in claims:
            present = self.attempts.get(claim.submission.id)
            if present is not None and present.claim.attempt > claim.attempt:
                continue  # the answer came so late that the job was reclaimed, and claimed again here
            self.running += slot
            attempt = self._context.run(partial(self.start, claim, self.nursery, slot=slot))
            if self._heard and (grace := self._heard.get(claim.submission.id)) is not None:
                attempt.notify_cancel(Reason.USER, grace)  # requested while the claim was on its way

    async def _give_back(self, claims: Sequence[Claim]) -> None:
        """Hand over claimed jobs that will not be started here. Mostly the caller is being cancelled."""
        if not claims:
            return
        left = {claim.submission.id for claim in claims}

        async def hand_over(claim: Claim) -> None:
            ended = Ended(Reason.SHUTDOWN, delay=0.0)
            outcome = Outcome(Transition.RETRIED, None, ended, claim.consumed, begun=False)
            end = claim.submission.id, claim.attempt, outcome, claim.id
            with suppress(trio.ClosedResourceError):  # a submit may outlast the registry
                with suppress(LeaseLost):
                    await retry_until_answered(self.store.finish, *end)
                left.discard(claim.submission.id)

        with trio.move_on_after(self.patience, shield=True):
            async with trio.open_nursery() as nursery:  # one after the other would take a commit for each
                for claim in claims:
                    nursery.start_soon(hand_over, claim)
        if left:
            logger.warning("it was not recorded that these jobs were not started: %s", ", ".join(left))

    async def explain(self, job_id: str) -> str:
        """Say why a job does not run, or what it is doing; see `JobHandle.explain`."""
        from .explaining import explain

        return await explain(self, job_id)

    async def pause_handlers(self, names: Collection[str] | None, *, paused: bool) -> None:
        """Pause handlers in the store, or resume them, all if None. Raises `TypeError` if it cannot."""
        from ..stores.pauses import KeepsPauses  # which few programs need

        self.check_open()
        await trio.lowlevel.checkpoint()
        if not isinstance(self.store, KeepsPauses):
            raise TypeError(f"{type(self.store).__name__} keeps no pauses; the stores of trio_jobs do")
        await self.store.pause_handlers(names, paused=paused)
        self._changed.ring()

    async def paused_handlers(self) -> Pauses:
        """Return what is paused in the store."""
        from ..stores.pauses import KeepsPauses, Pauses

        return await self.store.paused_handlers() if isinstance(self.store, KeepsPauses) else Pauses()

    def pause(self, *, paused: bool) -> None:
        """Stop or resume claiming."""
        self._changed.ring()  # first, as it raises in a thread
        self.paused = paused

    # ------------------------------------------------------------ shutdown

    def stop(self, grace: float) -> None:
        """Claim no more, and ask every attempt to end within `grace` seconds."""
        self._background.cancel(reason="the registry is being left")
        for scope in self._recording:
            scope.deadline = self._patience_ends()
        for attempt in list(self.attempts.values()):
            if attempt.slot:
                attempt.notify_cancel(Reason.SHUTDOWN, grace)

    async def wait_answers(self) -> None:
        """Wait, for `patience` at most, until no claim is on its way that would have to be handed over."""
        with trio.move_on_after(self.patience, shield=True):  # noqa: ASYNC912  # mostly nothing is
            while self._asked:
                await self._changed.wait()

    async def wait_nothing_runnable(self) -> None:
        """Wait until no attempt runs here, and none will."""
        while self.busy or (self.capacity and not self.paused):
            await self._changed.wait()
