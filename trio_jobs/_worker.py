"""Claim jobs while there are free slots, and run each in a task of its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextvars import copy_context

import trio

from ._attempt import Attempt
from ._audience import Audiences
from ._bell import Bell
from ._states import Reason
from ._store import Claim, Store, Submission
from ._sweeper import sweep

logger = logging.getLogger("trio_jobs")
STUCK_SECONDS = 10.0
"""How long a shutdown waits before it says in the log which jobs hold it up."""


class Worker:
    """What runs jobs in this process.

    Args:
        store: Where the jobs are.
        nursery: Where their tasks run.
        name: What the `started` events say.
        capacity: How many attempts may run at once; child jobs use their parent's slot.
        window: How many events a handler may be ahead of a reader.

    Attributes:
        attempts: The attempts that run now, child jobs included, by job id.
        running: How many of them use a slot.
        paused: Whether claiming is paused.
        closed: Whether the registry has been left.
        interrupted: Whether a KeyboardInterrupt came out of a handler.
    """

    def __init__(self, store: Store, nursery: trio.Nursery, *, name: str, capacity: int, window: int) -> None:
        self.store = store
        self.nursery = nursery
        self.name = name
        self.capacity = capacity
        self.audiences = Audiences(window)
        self.attempts: dict[str, Attempt] = {}
        self.running = 0
        self.paused = False
        self.closed = False
        self.interrupted = False
        self._background = trio.CancelScope()
        self._changed = Bell()
        # Whether a job starts in `submit` or later must not decide which context variables it sees.
        self._context = copy_context()

    async def run(self) -> None:
        """Claim and start jobs, and sweep, until `stop`."""
        with self._background:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sweep, self.store)
                await self._claim()

    async def _claim(self) -> None:
        while True:
            while not self._free():
                await self._changed.wait()
            claims = await self.store.claim(self._free(), self.name)
            self._start_all(claims)
            if not claims:
                await self.store.due()

    async def submit(self, batch: Sequence[Submission]) -> list[str]:
        """Submit a batch and, in the same step, start what there are free slots for."""
        ids, claims = await self.store.submit(batch, self._free(), self.name)
        self._start_all(claims)
        return ids

    def _free(self) -> int:
        return 0 if self.paused else max(0, self.capacity - self.running)

    def _start_all(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            self.running += 1
            self._context.run(self.start, Attempt(self, claim), self.nursery)

    def start(self, attempt: Attempt, nursery: trio.Nursery) -> None:
        """Run an attempt in a task of `nursery`.

        Raises:
            RuntimeError: The nursery is closed.
        """
        submission = attempt.claim.submission
        nursery.start_soon(attempt.run, name=f"{submission.handler} {submission.id}")
        self.attempts[submission.id] = attempt

    def ended(self, attempt: Attempt) -> None:
        """Note that an attempt is over, and give its slot back."""
        job_id = attempt.claim.submission.id
        del self.attempts[job_id]
        if job_id in self.audiences:
            self.audiences[job_id].dismiss()
            self.audiences.release(job_id)
        if attempt.parent is None:
            self.running -= 1
        self._changed.ring()

    def pause(self, *, paused: bool) -> None:
        """Stop or resume claiming."""
        self.paused = paused
        self._changed.ring()

    def check_open(self) -> None:
        """Raise `trio.ClosedResourceError` if the registry has been left."""
        if self.closed:
            raise trio.ClosedResourceError("the registry is closed: its 'async with' block was left")

    def interrupt(self) -> None:
        """Shut down because of Ctrl-C."""
        self.interrupted = True
        self.nursery.cancel_scope.cancel(reason="KeyboardInterrupt")

    # ------------------------------------------------------------ shutdown

    def stop(self, grace: float) -> None:
        """Claim no more, and ask every attempt to end within `grace` seconds."""
        self._background.cancel(reason="the registry is being left")
        for attempt in list(self.attempts.values()):
            if attempt.parent is None:
                attempt.tell(Reason.SHUTDOWN, grace)

    async def wait_idle(self) -> None:
        """Wait until no attempt runs here."""
        while self.attempts:
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
            logger.warning("job %s does not stop; it is at\n%s", job_id, attempt.stack())
