"""Decide what a store writes: the rules that are the same in every store, as pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import attrs

from .._common.errors import IllegalTransition, InboxFull, InvalidPayload, QueueFull
from .._common.states import KEEPS_RANK, TRANSITIONS, UNSPENT, Reason, State, Transition, sources
from .._model.job import REPEATED, SNOOZES, Ended, Job, Options, Retention
from .contract import CRASHES, CancelAnswer, Outcome, Submission

if TYPE_CHECKING:
    from .._model.restart import Restart

WAITING: Final = sources(Transition.STARTED)
"""The states of jobs that wait."""
_LAST: Final = datetime.max.replace(tzinfo=UTC).timestamp() - 1


def advance(state: State, transition: Transition) -> State:
    """Return the state that follows, or raise.

    Args:
        state: The state of the job.
        transition: What happened to it.

    Returns:
        The state after `transition`.

    Raises:
        IllegalTransition: The table has no such row; nothing was changed.
    """
    try:
        return TRANSITIONS[state][transition]
    except KeyError:
        raise IllegalTransition(state, transition) from None


class Conclusion(NamedTuple):
    """What the end of an attempt means for its job.

    Attributes:
        transition: What happens.
        ended: Why and how; None if the job completed.
        delay: Seconds until it is due again; None if it has ended.
        unspent: Whether the attempt is not counted by the retry budget.
    """

    transition: Transition
    ended: Ended | None
    delay: float | None = None
    unspent: bool = False

    @property
    def keeps_rank(self) -> bool:
        """Whether it is due again when it was at first, rather than after `delay`."""
        return self.delay is not None and self.ended is not None and self.ended.reason in KEEPS_RANK


_BARE: Final[Mapping[Transition, Conclusion]] = {how: Conclusion(how, None) for how in Transition}


ABANDONED: Final = Conclusion(Transition.CANCELLED, Ended(Reason.PARENT))
"""What the end of an attempt means for each child that is open still."""


class Restarting(NamedTuple):
    """A service whose attempt has ended.

    Attributes:
        rule: How it is restarted.
        ran: How many seconds the attempt ran.
        restarts: How many there were in the last `rule.within` seconds, without the one that is to follow.
    """

    rule: Restart
    ran: float
    restarts: int


def conclude(
    outcome: Outcome,
    *,
    asked: bool,
    message: str | None,
    last_input: int,
    before: Ended | None,
    service: Restarting | None = None,
) -> Conclusion:
    """Return what the end of a running attempt means for its job, alike for `finish` and `sweep`.

    Args:
        outcome: How the attempt ended.
        asked: Whether cancellation was requested.
        message: The free text of that request.
        last_input: The `seq` of the job's newest `input` or `inputs_ended`; 0 for none.
        before: How the attempt before ended, of which only the reason and `repeats` count; None if there
            was none.
        service: Of an end with reason `restarted`, what is known of the service.
    """
    transition, ended = outcome.transition, outcome.ended
    if ended is None:
        return _BARE[transition]
    if transition is Transition.RETRIED:
        if asked:
            return Conclusion(Transition.CANCELLED, _cancelled(message, ended))
        if service is not None:
            return _restarted(ended, before, service)
        if before is not None and ended.reason is before.reason and ended.reason in REPEATED:
            ended = attrs.evolve(ended, repeats=before.repeats + 1)
        delay = ended.delay or 0.0
        if ended.reason is Reason.AWAITING_INPUT and last_input > (outcome.received or 0):
            delay = 0.0
        return Conclusion(transition, ended, delay, ended.reason in UNSPENT)
    return Conclusion(transition, _cancelled(message, ended) if ended.reason is Reason.USER else ended)


def _cancelled(message: str | None, ended: Ended) -> Ended:
    """Return the end of an attempt that was to be cancelled; the message tells if its worker was lost."""
    if ended.reason is Reason.WORKER_LOST:
        message = ended.message if message is None else f"{message} ({ended.message})"
    return Ended(Reason.USER, message, ended.error)


def _restarted(ended: Ended, before: Ended | None, service: Restarting) -> Conclusion:
    rule, ran, restarts = service
    if restarts >= rule.most:
        often = f"It ended {restarts + 1} times within {rule.within:g}s"
        why = f"{often}: {ended.message}" if ended.message else often
        return Conclusion(Transition.FAILED, Ended(Reason.RESTARTS, why, ended.error))
    fresh = before is None or before.reason is not Reason.RESTARTED or ran >= rule.healthy
    repeats = 0 if fresh or before is None else before.repeats + 1
    delay = rule.delay(repeats + 1)
    return Conclusion(Transition.RETRIED, attrs.evolve(ended, repeats=repeats, delay=delay), delay)


def worker_lost(losses: int, attempts: int | None, *, asked: bool, service: bool = False) -> Outcome:
    """Return how an attempt ends whose worker was lost.

    Args:
        losses: How many attempts in a row have lost their worker, this one included.
        attempts: `Retry.attempts`; None or 0 if there is no bound.
        asked: Whether cancellation was requested.
        service: Whether it is a service, which is restarted.
    """
    deadly = losses >= max(attempts or 0, CRASHES) and not service
    row = f", {losses} times in all, and no attempt ended in between"
    message = f"Its worker was lost{row if deadly else ''}"
    how = Transition.FAILED if deadly and not asked else Transition.RETRIED
    reason = Reason.RESTARTED if service else Reason.WORKER_LOST
    return Outcome(how, ended=Ended(reason, message, delay=0.0), received=None)


def waited(reason: Reason | None, last_input: int, received: int) -> Literal["input", "timeout"] | None:
    """Return what ended a wait for an input, when its job starts; None if it did not wait for one.

    Args:
        reason: The job's, up to now.
        last_input: See `conclude`.
        received: What the attempt before had received.
    """
    if reason is not Reason.AWAITING_INPUT:
        return None
    return "input" if last_input > received else "timeout"


def wakes(state: State, reason: Reason | None, due: float, now: float) -> bool:
    """Return whether an input, or the end of the inputs, makes a job due now."""
    return state is State.RETRYING and reason is Reason.AWAITING_INPUT and due > now


class Inbox(NamedTuple):
    """What a job has of unconsumed inputs.

    Attributes:
        unconsumed: How many.
        received: How many of them its running attempt has received, as far as the store knows.
        size: How many bytes they have.
        ended: Whether no more will come.
    """

    unconsumed: int
    received: int
    size: int
    ended: bool


def check_send(state: State, inbox: Inbox, sizes: Sequence[int], keep: Retention) -> None:
    """Check that a job takes inputs of these sizes.

    Raises:
        InvalidPayload: One is too large.
        IllegalTransition: The job has ended, or its inputs have.
        InboxFull: They would be too many, or too large.
    """
    if sizes and (largest := max(sizes)) > keep.token_bytes:
        raise InvalidPayload(f"an input of {largest} bytes is over Retention.token_bytes={keep.token_bytes}")
    if state.over:
        raise IllegalTransition(state, "sent an input")
    if inbox.ended:
        raise IllegalTransition(state, "sent an input", "; its inputs were ended")
    if inbox.unconsumed + len(sizes) > keep.inputs:
        raise InboxFull(inbox.unconsumed, inbox.received, f"{keep.inputs}")
    if inbox.size + sum(sizes) > keep.input_bytes:
        raise InboxFull(inbox.unconsumed, inbox.received, f"{keep.input_bytes} bytes of them")


def check_end_inputs(state: State) -> None:
    """Check that the inputs of a job may end.

    Raises:
        IllegalTransition: The job has ended.
    """
    if state.over:
        raise IllegalTransition(state, "told that its inputs ended")


def check_steps(count: int, size: int, sizes: Sequence[int], keep: Retention) -> None:
    """Check that the results of more steps may be kept.

    Args:
        count: How many are kept.
        size: How many bytes they have.
        sizes: Those of the new ones.
        keep: The bounds.

    Raises:
        InvalidPayload: They would be too many, or too large.
    """
    if count + len(sizes) > keep.steps:
        raise InvalidPayload(f"one more step is over Retention.steps={keep.steps}")
    if size + sum(sizes) > keep.step_bytes:
        raise InvalidPayload(
            f"with one more step the results have {size + sum(sizes)} bytes, "
            f"over Retention.step_bytes={keep.step_bytes}"
        )


def not_started(limit: float) -> Ended:
    """Return how a job ends that was not started within its queue timeout."""
    return Ended(Reason.QUEUE_TIMEOUT, f"Job was not started within {round(limit, 6):g}s")


def rooms(batch: Sequence[Submission]) -> dict[str, int]:
    """Return how many jobs of each owner may wait, as the submissions of a batch say."""
    return {
        new.options.owner: new.room for new in batch if new.room is not None and new.options.owner is not None
    }


def due_at(options: Options, now: float, epoch: float = 0.0) -> float:
    """Return when a job is due.

    Args:
        options: Its options.
        now: The store's clock.
        epoch: When that was 0, in seconds since 1970.
    """
    if options.run_at is not None:
        return max(now, options.run_at.timestamp() - epoch)
    return now + options.delay


def expires_at(options: Options, due: float) -> float | None:
    """Return when the queue timeout of a job passes that is due at a time; None if it never does."""
    limit = options.timeouts.queue
    return None if limit is None or limit == math.inf else due + limit


def check_queue(
    waiting: int, fresh: Sequence[Submission], free: int, now: float, *, most: int, epoch: float = 0.0
) -> None:
    """Check that the queue has room for new jobs.

    Args:
        waiting: How many jobs wait.
        fresh: The new ones.
        free: How many jobs are claimed in the same step at most; of the new ones, those that are due count.
        now: See `due_at`.
        most: How many jobs may wait.
        epoch: See `due_at`.

    Raises:
        QueueFull: It has not.
    """
    if not fresh or waiting + len(fresh) <= most:
        return
    at_once = sum(due_at(new.options, now, epoch) <= now for new in fresh)
    if waiting + len(fresh) - min(free, at_once) > most:
        raise QueueFull(most)


def waiting_for(
    job: Job, now: float, *, busy: bool, paused: bool = False, limit: str | None = None
) -> str | None:
    """Return what a job waits for, see `Job.waiting_for`: the first that holds; None if it does not wait.

    Args:
        job: Its snapshot.
        now: The store's clock, in seconds since 1970.
        busy: Whether an attempt runs, of whatever job.
        paused: Whether its handler is paused.
        limit: The first of its limits under which no job may start now, with the key of a keyed one.
    """
    if job.state not in WAITING:
        return None
    later = job.next_attempt_at is None or job.next_attempt_at > date_of(now)
    table = (
        (job.behind is not None, f"behind {job.behind}"),
        (later and job.reason is Reason.AWAITING_INPUT, "input"),
        (later, "due"),
        (paused, "paused"),
        (limit is not None, f"limit {limit}"),
        (busy, "slot"),
        (True, "worker"),
    )
    return next(word for holds, word in table if holds)


def cancel_answer(state: State) -> CancelAnswer:
    """Return what a request to cancel a job does: it ends what waits, and marks what runs."""
    if state.over:
        return "already_over"
    return "requested" if state is State.RUNNING else "cancelled"


def check_removable(state: State) -> None:
    """Check that a job may be removed.

    Raises:
        IllegalTransition: It has not ended.
    """
    if not state.over:
        raise IllegalTransition(state, "removed", "; cancel it first, or wait for its end")


def date_of(when: float) -> datetime:
    """Return a time of a job, in seconds since 1970, as a date; one too late for that as the last date."""
    return datetime.fromtimestamp(max(0.0, min(when, _LAST)), UTC)


def folds(attempt: int) -> bool:
    """Return whether old snoozes are to be trimmed from a log when this attempt ends in a retry."""
    return attempt % (SNOOZES // 4) == 0
