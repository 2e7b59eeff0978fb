"""Decide what an attempt's end means for its job.

`Run` records how the attempt ended. `conclude` decides what follows: a pure function over that record and one
table.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, Any, Final

import attrs

from .._common.error_text import indented, leaves, message_of, record_error
from .._common.errors import AwaitInput, Permanent, RetryAfter
from .._common.states import Reason, Transition
from .._model.job import Ended
from .._model.retry import Retry
from .._watching.raised import chained
from .._watching.streams import failure
from ..stores.contract import Claim, Outcome

if TYPE_CHECKING:
    from .inbox import Inbox

logger = logging.getLogger("trio_jobs")

_CLOCKS: Final[Mapping[Reason, tuple[str, str]]] = {
    Reason.TIMEOUT: ("run", "Job timed out after {:g}s"),
    Reason.FIRST_TOKEN_TIMEOUT: ("first_token", "Job sent no token within {:g}s"),
    Reason.IDLE_TIMEOUT: ("idle", "Job sent nothing for {:g}s"),
}
_LIMITS: Final = frozenset({*_CLOCKS, Reason.LIMIT})
_STEERING: Final = AwaitInput, RetryAfter
_NO_QUEUE: Final = "a child has no queue to wait in; raise it in the parent"
_CANCELS: Final = frozenset({Reason.USER, Reason.PARENT, Reason.UNREAD})
_COMPLETED: Final = Transition.COMPLETED  # bound once: Python 3.11 finds the members of an enum slowly


@attrs.define(eq=False, repr=False)
class Run:
    """The record of how an attempt ended.

    Attributes:
        claim: What ran.
        cause: Why its scope fired; None if it did not.
        returned: Whether the handler returned and nothing was stopped or raised after that.
        value: What it returned.
        error: What came out of its nursery, without any `Cancelled`.
        escaped: Whether a `Cancelled` came out: something outside the attempt was cancelled.
        refused: The message of the store about a token that was too large.
        inbox: The inputs that it received; None if it asked for none.
    """

    claim: Claim
    cause: Reason | None = None
    returned: bool = False
    value: Any = None
    error: BaseException | None = None
    escaped: bool = False
    refused: str | None = None
    inbox: Inbox | None = None

    @property
    def waits_in_vain(self) -> str | None:
        """Why it may not wait for another input, if it may not: it would wait for ever, or over and over."""
        if self.inbox is not None and self.inbox.ended:
            return "it waits for an input, and has received that no more will come"
        received = self.claim.consumed if self.inbox is None else self.inbox.received
        if self.claim.waited == "input" and received == self.claim.consumed:
            return "it was woken by an input, received none, and waits for one again; receive it first"
        return None

    @property
    def interrupted(self) -> bool:
        """Whether the handler raised a KeyboardInterrupt."""
        return self.error is not None and any(
            isinstance(leaf, KeyboardInterrupt) for leaf in leaves(self.error)
        )

    def child_failure(self, ended: Ended | None) -> BaseException:
        """Return what a child job that failed raises in its parent's nursery."""
        steered = self.error is not None and any(isinstance(one, _STEERING) for one in leaves(self.error))
        if self.cause is None and self.error is not None and not steered:
            return self.error
        failed = failure(self.claim.submission.id, self.claim.attempt, ended or Ended(Reason.ERROR))
        return chained(failed, self.error, None)


def conclude(run: Run, retry: Retry | None, outside: Reason, *, durable: bool) -> Outcome:
    """Decide what an attempt's end means for its job.

    Args:
        run: How it ended.
        retry: The job's retry rule; None for a child, which is not run again.
        outside: What a cancellation from outside means: `shutdown`, or `parent` for a child.
        durable: Whether a job may wait for another process after a shutdown.

    Returns:
        What to record.
    """
    cause = outside if run.escaped and run.cause is None else run.cause
    if run.returned and cause not in _LIMITS:
        return Outcome(_COMPLETED, run.value)
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
        return _retry_or_fail(ended, [timed_out], retry, run)
    errors = [] if run.error is None else list(leaves(run.error))
    return _retry_or_fail(Ended(Reason.ERROR, error=error), errors, retry, run)


def as_service(outcome: Outcome) -> Outcome:
    """Return how an attempt of a service ended: whatever it was, but for a cancellation, it is restarted."""
    ended = outcome.ended
    if outcome.transition is Transition.CANCELLED or (ended is not None and ended.reason is Reason.SHUTDOWN):
        return outcome
    ended = Ended(Reason.ERROR, "It returned") if ended is None else ended
    return Outcome(Transition.RETRIED, ended=attrs.evolve(ended, reason=Reason.RESTARTED, delay=0.0))


def _retry_or_fail(ended: Ended, errors: list[BaseException], retry: Retry | None, run: Run) -> Outcome:
    if retry is None:
        steers = any(isinstance(error, _STEERING) for error in errors)
        return Outcome(Transition.FAILED, ended=attrs.evolve(ended, message=_NO_QUEUE) if steers else ended)
    inputs = [error for error in errors if isinstance(error, AwaitInput)]
    if inputs and len(inputs) == len(errors):
        return _wait(ended, inputs, run.waits_in_vain)
    errors = [error for error in errors if not isinstance(error, AwaitInput)]
    if any(isinstance(error, Permanent) for error in errors):
        return Outcome(Transition.FAILED, ended=ended)
    waits = [error.seconds for error in errors if isinstance(error, RetryAfter)]
    if waits:
        snoozed = attrs.evolve(ended, reason=Reason.SNOOZED, delay=max(waits))
        if len(waits) == len(errors) and ended.error is not None:
            # RetryAfter is no error: a job that polls raises it over and over, and its place is of no use.
            snoozed = attrs.evolve(snoozed, error=attrs.evolve(ended.error, traceback=""))
        return Outcome(Transition.RETRIED, ended=snoozed)
    spent = run.claim.spent
    if retry.allows(spent) and _matches(retry, errors):
        return Outcome(Transition.RETRIED, ended=attrs.evolve(ended, delay=retry.delay(spent)))
    return Outcome(Transition.FAILED, ended=ended)


def _wait(ended: Ended, waits: list[AwaitInput], in_vain: str | None) -> Outcome:
    """Return how an attempt ends that waits for an input, with the first message and the shortest limit."""
    if in_vain is not None:
        return Outcome(Transition.FAILED, ended=attrs.evolve(ended, message=in_vain))
    delay = min(inf if wait.timeout is None else wait.timeout for wait in waits)
    message = next((message_of(wait) for wait in waits if wait.message is not None), None)
    return Outcome(Transition.RETRIED, ended=Ended(Reason.AWAITING_INPUT, message, delay=delay))


def _matches(retry: Retry, errors: list[BaseException]) -> bool:
    try:
        return any(retry.matches(error) for error in errors)
    except Exception as error:  # noqa: BLE001  # the caller's function may raise anything
        text = indented(record_error(error).traceback)
        logger.error("Retry.on raised; the job is not retried\n%s", text)  # noqa: TRY400  # user text is escaped
        return False
