"""Run one attempt: call the handler in a nursery and a cancel scope of its own, and record how it ended.

The cause of a stop is always noted before the scope is cancelled (see `deadlines.py`), because afterwards
Trio cannot tell: a user's cancellation that coincides with a shutdown looks just like the shutdown.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, cast

import attrs
import trio

from .._common.states import Reason
from .._common.task_tree import task_tree
from ..stores.contract import Claim, Outcome
from .context import JobContext, Starts
from .deadlines import Deadlines
from .outcome import Run, as_service, conclude
from .writer import Resources, Writer

if TYPE_CHECKING:
    from contextvars import ContextVar

logger = logging.getLogger("trio_jobs")
# Each attempt asks for these, and Python 3.11 finds the members of an enum slowly.
_WORKER_LOST, _SHUTDOWN = Reason.WORKER_LOST, Reason.SHUTDOWN


def _joined(one: BaseException | None, other: BaseException | None) -> BaseException | None:
    """Return one exception for what the handler and its nursery raised."""
    if one is None or other is None:
        return one or other
    return BaseExceptionGroup("the handler and its nursery", [one, other])


def _split(error: BaseException | None) -> tuple[BaseException | None, BaseException | None]:
    """Return the `Cancelled` part of what a nursery raised, and the rest."""
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).split(trio.Cancelled)
    return (error, None) if isinstance(error, trio.Cancelled) else (None, error)


class Attempt:
    """Runs one attempt.

    Args:
        claim: The right to run it.
        resources: What the attempts of the worker share.
        starts: Starts other jobs for its handler.
        parent: The attempt that spawned it, for a child job.

    Attributes:
        deadlines: Its cancel scope, and the reasons it may fire for.
        writer: It writes to the job's log.
        context: The job context of the handler.
        wait_first: Waits until the handler may start; None if it may at once.
        call: What is called in place of the handler, which it calls; None if nothing is around that.
        outcome: How it ended, as the store is to record it; None before, and if another attempt has the job.
        slot: Whether it uses one: child jobs and services do not.
        current: Where each attempt leaves its context for what its task calls, once `trio_jobs.logs` is
            loaded; None before, as it costs a little.
    """

    wait_first: Callable[[], Awaitable[None]] | None = None
    call: Callable[..., Awaitable[Any]] | None = None
    outcome: Outcome | None = None
    slot = True
    current: ClassVar[ContextVar[JobContext[Any] | None] | None] = None
    _task: trio.lowlevel.Task | None = None

    def __init__(
        self,
        claim: Claim,
        resources: Resources,
        starts: Starts,
        parent: Attempt | None = None,
    ) -> None:
        self.claim = claim
        self.parent = parent
        self.deadlines = Deadlines(claim.submission.options.timeouts)
        self.writer = Writer(claim, resources, self.deadlines)
        self.context: JobContext[Any] = JobContext(claim, self.writer, self, starts)

    async def run(self) -> tuple[Run, BaseException | None]:
        """Call the handler in its own nursery and scope.

        Returns:
            How it ended, and the `Cancelled` that was raised if something outside the attempt was cancelled.
        """
        submission, context = self.claim.submission, self.context
        self._task = trio.lowlevel.current_task()
        if self.current is not None:
            self.current.set(context)
        if submission.options.when_unread != "continue":
            self.writer.attend()
        returned, value, cause = False, None, None
        stopped = raised = error = None
        try:
            with self.deadlines.scope:
                try:
                    async with trio.open_nursery() as context.nursery:
                        try:
                            if self.wait_first is not None:
                                await self.wait_first()
                            call, args = self.call or submission.target, submission.args
                            if submission.kwargs:
                                value = await call(context, *args, **submission.kwargs)
                            else:  # as nearly always, and quicker
                                value = await call(context, *args)
                            returned = True
                        except BaseException as exc:  # noqa: ASYNC103, BLE001  # kept for below
                            stopped, raised = _split(exc)
                            if stopped is not None:
                                raise stopped  # noqa: ASYNC104, B904  # a Cancelled is Trio's to deal with
                            context.nursery.cancel_scope.cancel(reason="the handler raised")
                finally:
                    cause = self.deadlines.cause()
        except BaseException as exc:  # noqa: ASYNC103, BLE001  # the worker raises what is not the job's
            error = exc
        self.writer.open = False
        if (inbox := self.writer.inbox) is not None:
            inbox.close()
        if returned and error is None and cause is None:  # as nearly always
            return Run(self.claim, returned=True, value=value, inbox=inbox), None
        cancelled, rest = _split(error)
        rest = _joined(raised, rest)
        if not returned and cause is None and error is None and rest is None:
            # The handler cancelled its own nursery, or kept an old Cancelled and raised it again.
            rest = stopped
        escaped = cancelled is not None
        returned = returned and error is None and not self.deadlines.scope.cancelled_caught
        run = Run(self.claim, cause, returned, value, rest, escaped, self.writer.refused, inbox)
        return attrs.evolve(run, cause=Reason.SHUTDOWN) if run.interrupted else run, cancelled

    def conclude(self, run: Run, *, durable: bool) -> Outcome | None:
        """Return what to record; nothing if the store has given the job to another worker.

        Args:
            run: How the attempt ended.
            durable: Whether the store is durable. It may have lost what the attempt wrote, so it compares.
        """
        refused = self.writer.refused
        if refused is not None and run.cause is None:  # it was in the channel until the nursery closed
            run = attrs.evolve(run, cause=Reason.LIMIT, refused=refused)
        if run.cause is _WORKER_LOST:
            job_id, attempt = self.claim.submission.id, self.claim.attempt
            logger.warning("job %s belongs to another attempt than %d now; that was stopped", job_id, attempt)
            return None
        if self.parent is None:
            options = self.claim.submission.options
            outcome = conclude(run, options.retry, _SHUTDOWN, durable=durable)
            if options.restart is not None:
                outcome = as_service(outcome)
        else:
            outcome = conclude(run, None, Reason.PARENT, durable=False)
        outcome.received = self.claim.consumed if run.inbox is None else run.inbox.received
        if durable:
            outcome.appended = self.writer.appended
        return outcome

    # ------------------------------------------------------------ for the worker

    def notify_cancel(self, reason: Reason, grace: float) -> None:
        """Ask the handler to end within `grace` seconds, and cancel it then. A shorter grace wins."""
        self.context.cancel_requested.set()
        if grace > 0:
            self.deadlines.bring_forward(reason, grace)
        else:
            self.deadlines.stop(reason)

    def stack(self) -> str:
        """Return the stacks of the attempt's tasks, as text."""
        return "" if self._task is None else task_tree(self._task)

    @property
    def depth(self) -> int:
        """How deep a child of this attempt would be nested."""
        depth, above = 1, self.parent
        while above is not None:
            depth, above = depth + 1, above.parent
        return depth
