"""One attempt: run the handler, see how it ended, and record that.

    start → scope and nursery → handler → close the channel → conclude → finish

How an attempt ended is seen in `Run`; what follows from it is decided by `conclude`, which is a pure
function over that record and one table. The cause of a stop is always noted before the scope is
cancelled (see `deadlines.py`), because afterwards Trio cannot tell: a user's cancellation that coincides
with a shutdown looks just like the shutdown.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import attrs
import trio

from .._common.error_text import indented, leaves, record_error
from .._common.errors import InvalidPayload, LeaseLost, Permanent, RetryAfter
from .._common.states import Reason, Transition
from .._common.task_tree import task_tree
from .._model.job import Ended
from .._model.retry import Retry
from .._watching.handle import JobHandle
from .._watching.raised import chained
from .._watching.readers import Readers
from .._watching.streams import failure
from ..stores.contract import Claim, Outcome
from ..stores.retrying import insist
from ..stores.submission import child_submission
from .context import JobContext
from .deadlines import Deadlines
from .logs import log_end, log_start

if TYPE_CHECKING:
    from .worker import Worker

logger = logging.getLogger("trio_jobs")

_CLOCKS: Final[Mapping[Reason, tuple[str, str]]] = {
    Reason.TIMEOUT: ("run", "Job timed out after {:g}s"),
    Reason.FIRST_TOKEN_TIMEOUT: ("first_token", "Job sent no token within {:g}s"),
    Reason.IDLE_TIMEOUT: ("idle", "Job sent nothing for {:g}s"),
}
NESTED: Final = 100
"""How deep child jobs may lie in each other: each takes its place on the stack of what waits for it."""
_CANCELS: Final = frozenset({Reason.USER, Reason.PARENT, Reason.UNREAD})
_NO_SCOPE: Final = nullcontext()


@attrs.frozen
class Run:
    """How an attempt ended, before anything is made of it.

    Attributes:
        claim: What ran.
        cause: Why its scope fired; None if it did not.
        returned: Whether the handler returned and nothing was stopped or raised after that.
        value: What it returned.
        error: What came out of its nursery, without any `Cancelled`.
        escaped: Whether a `Cancelled` came out: something outside the attempt was cancelled.
        refused: What the store said of a token that was too large.
    """

    claim: Claim
    cause: Reason | None = None
    returned: bool = False
    value: Any = None
    error: BaseException | None = None
    escaped: bool = False
    refused: str | None = None


def conclude(run: Run, *, retry: Retry | None, outside: Reason, durable: bool) -> Outcome:
    """Decide what an attempt's end means for its job.

    Args:
        run: How it ended.
        retry: The job's retry rule; None for a child, which nobody would run again.
        outside: What a cancellation from outside means: `shutdown`, or `parent` for a child.
        durable: Whether a job may wait for another process after a shutdown.

    Returns:
        What to record.
    """
    cause = outside if run.escaped and run.cause is None else run.cause
    if run.returned and cause not in _CLOCKS and cause is not Reason.LIMIT:
        return Outcome(Transition.COMPLETED, run.value)
    error = None if run.error is None else record_error(run.error)
    if cause is not None and cause in _CANCELS:
        return Outcome(Transition.CANCELLED, ended=Ended(cause, error=error))
    if cause is Reason.SHUTDOWN:
        how = Transition.RETRIED if durable else Transition.CANCELLED
        return Outcome(how, ended=Ended(cause, error=error, delay=0.0 if durable else None))
    if cause is Reason.LIMIT:
        return Outcome(Transition.FAILED, ended=Ended(cause, run.refused, error))
    if cause is not None:
        clock, message = _CLOCKS[cause]
        limit = getattr(run.claim.submission.options.timeouts, clock)
        ended = Ended(cause, message.format(limit), error)
        timed_out = failure(run.claim.submission.id, run.claim.attempt, ended)
        return _retry_or_fail(ended, [timed_out], retry, run.claim.spent)
    errors = [] if run.error is None else list(leaves(run.error))
    return _retry_or_fail(Ended(Reason.ERROR, error=error), errors, retry, run.claim.spent)


def _retry_or_fail(ended: Ended, errors: list[BaseException], retry: Retry | None, spent: int) -> Outcome:
    if retry is None or any(isinstance(error, Permanent) for error in errors):
        return Outcome(Transition.FAILED, ended=ended)
    waits = [error.seconds for error in errors if isinstance(error, RetryAfter)]
    if waits:
        snoozed = attrs.evolve(ended, reason=Reason.SNOOZED, delay=max(waits))
        if len(waits) == len(errors) and ended.error is not None:
            # A word, not an error: a job that polls says it over and over, and need not say where.
            snoozed = attrs.evolve(snoozed, error=attrs.evolve(ended.error, traceback=""))
        return Outcome(Transition.RETRIED, ended=snoozed)
    if spent < retry.attempts and _matches(retry, errors):
        return Outcome(Transition.RETRIED, ended=attrs.evolve(ended, delay=retry.delay(spent)))
    return Outcome(Transition.FAILED, ended=ended)


def _matches(retry: Retry, errors: list[BaseException]) -> bool:
    try:
        return any(retry.matches(error) for error in errors)
    except Exception as error:  # noqa: BLE001  # the caller's function may raise anything
        told = indented(record_error(error).traceback)
        logger.error("Retry.on raised; the job is not retried\n%s", told)  # noqa: TRY400  # user text is escaped
        return False


def _joined(one: BaseException | None, other: BaseException | None) -> BaseException | None:
    """Return what was raised, as one exception."""
    if one is None or other is None:
        return one or other
    return BaseExceptionGroup("the handler and its nursery", [one, other])


def _split(error: BaseException | None) -> tuple[BaseException | None, BaseException | None]:
    """Return the `Cancelled` part of what came out of a nursery, and the rest."""
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).split(trio.Cancelled)
    return (error, None) if isinstance(error, trio.Cancelled) else (None, error)


class Attempt:
    """One attempt while it runs.

    Args:
        worker: Who runs it.
        claim: What is run.
        parent: The attempt that spawned it, for a child job.

    Attributes:
        deadlines: Its cancel scope, and why that may fire.
        open: Whether its nursery is open.
        refused: What the store said of a token that was too large.
    """

    def __init__(self, worker: Worker, claim: Claim, parent: Attempt | None = None) -> None:
        self.worker = worker
        self.claim = claim
        self.parent = parent
        self.open = True
        self.refused: str | None = None
        self.deadlines = Deadlines(claim.submission.options.timeouts)
        self.context: JobContext[Any] = JobContext(self)
        self._task: trio.lowlevel.Task | None = None
        # How an attempt ended is recorded whatever is cancelled meanwhile; `hurry` puts an end to that.
        # A store in this process answers at once, so nothing can cut that short.
        self._last_words = trio.CancelScope(shield=True) if worker.store.durable else None

    async def run(self) -> None:
        """Run the handler, and record how that ended.

        Raises:
            trio.Cancelled: Something outside the attempt was cancelled; the end is recorded all the same.
            BaseException: Of a child job, what it failed with: its parent's nursery is to know.
        """
        self._task = trio.lowlevel.current_task()
        outcome = None
        log_start(self.claim)
        try:
            run, cancelled = await self._execute()
            with self._last_words or _NO_SCOPE:
                if self.worker.closed:
                    self.hurry()
                await self.context.close()
                outcome = self._conclude(run)
                if outcome is not None:
                    snoozed = outcome.ended is not None and outcome.ended.reason is Reason.SNOOZED
                    if run.error is not None and not snoozed:
                        self.worker.raised.add(self.claim, run.error)
                    await self._finish(outcome)
            if self._last_words is not None and self._last_words.cancelled_caught:
                logger.warning(
                    "the store did not hear how attempt %d of job %s ended; its lease will lapse",
                    self.claim.attempt,
                    self.claim.submission.id,
                )
        finally:
            self.worker.ended(self)
        if self.parent is not None and outcome is not None and outcome.transition is Transition.FAILED:
            raise self._child_failure(run, outcome)
        if cancelled is not None:
            raise cancelled

    async def _execute(self) -> tuple[Run, BaseException | None]:
        """Call the handler in its own nursery and scope; nothing it raises comes out."""
        submission, context = self.claim.submission, self.context
        if submission.options.when_unread != "continue":
            self.attend()
        returned, value, cause = False, None, None
        stopped = raised = error = None
        try:
            with self.deadlines.scope:
                try:
                    async with trio.open_nursery() as context.nursery:
                        try:
                            await self.worker.wait_for_turn(self)
                            value = await submission.target(context, *submission.args)
                            returned = True
                        except BaseException as exc:  # noqa: ASYNC103, BLE001  # kept for below
                            stopped, raised = _split(exc)
                            if stopped is not None:
                                raise stopped  # noqa: ASYNC104, B904  # a Cancelled is Trio's to deal with
                            context.nursery.cancel_scope.cancel(reason="the handler raised")
                finally:
                    cause = self.deadlines.cause()
        except BaseException as exc:  # noqa: ASYNC103, BLE001  # run() raises again what is not the job's
            error = exc
        self.open = False
        cancelled, rest = _split(error)
        rest = _joined(raised, rest)
        if not returned and cause is None and error is None and rest is None:
            # The handler cancelled its own nursery, or kept an old Cancelled and raised it again.
            rest = stopped
        if rest is not None and any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves(rest)):
            cause = Reason.SHUTDOWN
            self.worker.interrupt()
        escaped = cancelled is not None
        returned = returned and error is None and not self.deadlines.scope.cancelled_caught
        return Run(self.claim, cause, returned, value, rest, escaped, self.refused), cancelled

    def _conclude(self, run: Run) -> Outcome | None:
        """Return what to record; nothing if the store has given the job to somebody else."""
        if self.refused is not None and run.cause is None:  # the channel held it until the nursery closed
            run = attrs.evolve(run, cause=Reason.LIMIT, refused=self.refused)
        if run.cause is Reason.WORKER_LOST:
            job_id, attempt = self.claim.submission.id, self.claim.attempt
            logger.warning("job %s belongs to another attempt than %d now; that was stopped", job_id, attempt)
            return None
        if self.parent is not None:
            return conclude(run, retry=None, outside=Reason.PARENT, durable=False)
        return conclude(
            run,
            retry=self.claim.submission.options.retry,
            outside=Reason.SHUTDOWN,
            durable=self.worker.store.durable,
        )

    async def _finish(self, outcome: Outcome) -> None:
        job_id = self.claim.submission.id
        try:
            state = await insist(partial(self.worker.finish, self, outcome))
        except LeaseLost:
            logger.warning("the end of attempt %d of job %s came too late", self.claim.attempt, job_id)
        except InvalidPayload as refusal:
            await self._finish(Outcome(Transition.FAILED, ended=Ended(Reason.BAD_RESULT, str(refusal))))
        else:
            log_end(self.claim, state, outcome.ended)

    def _child_failure(self, run: Run, outcome: Outcome) -> BaseException:
        if run.cause is None and run.error is not None:
            return run.error
        ended = outcome.ended or Ended(Reason.ERROR)
        return chained(failure(self.claim.submission.id, self.claim.attempt, ended), run.error, None)

    # ------------------------------------------------------------ what others may ask of it

    def attend(self) -> Readers:
        """Return the readers of the job, which may make this attempt wait from now on."""
        submission = self.claim.submission
        readers = self.worker.readers[submission.id]
        readers.attend(self.deadlines, submission.options, self.claim.seq)
        return readers

    def tell(self, reason: Reason, grace: float) -> None:
        """Ask the handler to end within `grace` seconds, and cancel it then. A shorter grace wins."""
        self.context.cancel_requested.set()
        if grace > 0:
            self.deadlines.bring_forward(reason, grace)
        else:
            self.deadlines.stop(reason)

    def hurry(self) -> None:
        """Let the store be told how this attempt ended within `Worker.patience` seconds, or not at all."""
        if self._last_words is not None and not self.open:  # else `run` does it when that is so
            self._last_words.deadline = trio.current_time() + self.worker.patience

    def stack(self) -> str:
        """Return where the attempt's tasks are, for people."""
        return "" if self._task is None else task_tree(self._task)

    def _depth(self) -> int:
        """Return how deep a child of this attempt would lie."""
        depth, above = 1, self.parent
        while above is not None:
            depth, above = depth + 1, above.parent
        return depth

    async def spawn(
        self,
        fn: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        given: Mapping[str, Any],
    ) -> JobHandle[Any, Any]:
        """See `JobContext.spawn`."""
        child = child_submission(fn, args, given, self.claim.submission.options)
        if (depth := self._depth()) > NESTED:
            raise RecursionError(f"child jobs can lie {NESTED} deep in each other, not {depth}")
        await trio.lowlevel.checkpoint_if_cancelled()
        job_id = self.claim.submission.id
        call = partial(self.worker.store.spawn, job_id, self.claim.attempt, child, self.worker.claimant)
        claim = await insist(call)
        try:
            self.worker.start(Attempt(self.worker, claim, parent=self), self.context.nursery)
        except RuntimeError:  # the nursery has just closed; the store ends the child with this attempt
            raise LeaseLost(job_id, self.claim.attempt) from None
        await trio.lowlevel.cancel_shielded_checkpoint()
        return JobHandle(self.worker, child.id)
