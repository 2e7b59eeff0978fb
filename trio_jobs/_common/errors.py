"""Every error of the package, sorted by whose fault it is.

The caller's: `IllegalTransition`, `UnknownJob`, `UnknownHandler`, `InvalidPayload`, `KeyConflict`,
`QueueFull`, `InboxFull`, `Busy`. A lost race: `LeaseLost`. The world: `StoreUnavailable`, `StoreUnfit`,
`StoreCorrupt`, `SchemaTooNew`. The job's own end: `JobFailed`, `JobTimedOut`, `JobCancelled`. The reader's
situation: `StreamGap`, `StreamRestarted`. Three more are not errors of the package: a handler raises
`RetryAfter`, `AwaitInput` and `Permanent` to decide whether and when its job runs again.

None of them is, or hides, `trio.Cancelled`: "this job was cancelled" (`JobCancelled`) and "the task that
watches it was cancelled" (`trio.Cancelled`) are different facts. What a program may want to act on is in
attributes; the text is for people.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .states import Reason, State


def quoted(text: object, limit: int = 80) -> str:
    """Return `text` as a repr that is short and safe to show on one line."""
    shown = repr(text)
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


@attrs.frozen
class ErrorRecord:
    """What a handler raised, as text that any store and any wire can carry.

    Attributes:
        type: The exception's class name; of a group with one leaf, the leaf's.
        message: Its text; at most 16 KiB.
        traceback: The formatted traceback; at most 16 KiB, the middle cut out.
    """

    type: str
    message: str
    traceback: str = attrs.field(repr=False)

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


class TrioJobsError(Exception):
    """Base of all errors that the package raises for a reason of its own."""


class IllegalTransition(TrioJobsError):
    """The state of the job does not allow this transition; nothing was changed.

    Attributes:
        state: The state of the job.
        transition: The transition that was refused.
        hint: What else there is to say.
    """

    def __init__(self, state: State, transition: str, hint: str = "") -> None:
        super().__init__(f"a job that is {state} cannot be {transition}{hint}")
        self.state = state
        self.transition = transition
        self.hint = hint


class UnknownJob(TrioJobsError):
    """No job has this id: none ever had it, or the job was removed.

    Attributes:
        job_id: The id.
    """

    def __init__(self, job_id: str) -> None:
        wrong = "" if isinstance(cast("object", job_id), str) else "; an id is a str, as handle.id is"
        super().__init__(f"no job has the id {quoted(job_id)}{wrong}")
        self.job_id = job_id


class UnknownHandler(TrioJobsError):
    """The registry has no handler of this name; a durable store runs handlers by name only.

    Attributes:
        name: The name.
        known: The names that the registry has.
    """

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = sorted(known)
        there = f"there is {', '.join(self.known)}" if self.known else "the registry was given none"
        super().__init__(f"there is no handler {quoted(name)}: {there}; see handlers= of open_registry")


class InvalidPayload(TrioJobsError, ValueError):
    """A value cannot be stored as it is; the text names it and what to pass instead."""


class KeyConflict(TrioJobsError):
    """The idempotency key belongs to a job that was submitted with something else.

    So do the id of an input, which belongs to another value, and the name of a step.

    Attributes:
        key: The key.
        job_id: The job that holds it.
    """

    def __init__(
        self,
        key: str,
        job_id: str,
        conflict: str = "which was submitted with another handler, other arguments or other options; "
        "use a new key for a new job",
    ) -> None:
        super().__init__(f"key {quoted(key)} belongs to job {job_id}, {conflict}")
        self.key = key
        self.job_id = job_id


class QueueFull(TrioJobsError):
    """As many jobs wait as may, so this one was not accepted; try again later.

    Attributes:
        limit: How many jobs may wait.
        name: The name of the `Limit` whose `waiting` it is; else None.
        key: The key for which it is, if that is keyed; else None.
        owner: The owner who has too many, if the limit is that of one owner; else None.
    """

    def __init__(
        self, limit: int, name: str | None = None, key: str | None = None, *, owner: str | None = None
    ) -> None:
        if name is not None:
            of_key = "" if key is None else f" for {quoted(key)}"
            said = f"{limit} jobs wait already, as many as the limit {quoted(name)} allows{of_key}"
        elif owner is None:
            said = f"{limit} jobs wait already, as many as queue_limit allows"
        else:
            said = f"{limit} jobs of {quoted(owner)} wait already, as many as an owner may have"
        super().__init__(f"{said}; try again later")
        self.limit = limit
        self.owner = owner
        self.name = name
        self.key = key


class InboxFull(TrioJobsError):
    """A job has as many unconsumed inputs as it may have, so this one was not accepted; try again later.

    Attributes:
        unconsumed: How many inputs it has that no `save` covers.
        received: How many of them its handler has received, and has only to save; 0 as well while an attempt
            runs in another process than that in which the registry is.
        limit: How many it may have, or how many bytes they may have.
    """

    def __init__(self, unconsumed: int, received: int, limit: str) -> None:
        hint = f"; its handler has received {received} of them, and has to save" if received else ""
        fix = "try again later" if unconsumed else "send less at once"  # as these will never fit
        super().__init__(f"the job has {unconsumed} unconsumed inputs, and may have {limit}{hint}; {fix}")
        self.unconsumed = unconsumed
        self.received = received
        self.limit = limit


class Busy(TrioJobsError):
    """A job with the same `exclusive` has not ended, so this one was not accepted.

    Attributes:
        job_id: The job that has not ended.
    """

    def __init__(self, job_id: str) -> None:
        super().__init__(
            f"job {job_id} has the same exclusive name and has not ended; wait for it, or say with on_busy= "
            "what is to become of it"
        )
        self.job_id = job_id


class StoreUnavailable(TrioJobsError):
    """The store cannot be reached, or its answer was lost: whether the call took effect is not known."""


class StoreUnfit(TrioJobsError, ValueError):
    """What an address leads to cannot be the store, and waiting does not help; the text says what does."""


class StoreCorrupt(TrioJobsError):
    """The store's data is damaged, or was removed while it was open. Nothing was written over it."""


class SchemaTooNew(TrioJobsError):
    """The store was written by a newer version of this package. Nothing was changed.

    Attributes:
        found: The version of the store.
        known: The newest version that this package knows.
    """

    def __init__(self, where: str, found: int, known: int) -> None:
        super().__init__(
            f"{where} has version {found} of the schema, and this trio_jobs knows {known}; upgrade trio_jobs"
        )
        self.found = found
        self.known = known


class LeaseLost(TrioJobsError):
    """This attempt is no longer the job's current one, so what it wrote was refused.

    Attributes:
        job_id: The job.
        attempt: The attempt that wrote.
    """

    def __init__(self, job_id: str, attempt: int) -> None:
        super().__init__(f"attempt {attempt} of job {job_id} is over; nothing was written")
        self.job_id = job_id
        self.attempt = attempt


class JobFailed(TrioJobsError):
    """The job whose result or stream was asked for ended FAILED.

    Attributes:
        job_id: The job.
        reason: Why, as a word.
        message: What happened, in one line.
        error: What the handler raised, as text; None when it raised nothing.
        attempt: The last attempt; 0 when none was started.
    """

    def __init__(
        self, job_id: str, reason: Reason, message: str, error: ErrorRecord | None, attempt: int
    ) -> None:
        super().__init__(f"job {job_id} failed ({reason}): {message}")
        self.job_id = job_id
        self.reason = reason
        self.message = message
        self.error = error
        self.attempt = attempt


class JobTimedOut(JobFailed, TimeoutError):
    """The job ended FAILED because one of its timeouts passed; `reason` says which."""


class JobCancelled(TrioJobsError):
    """The job whose result or stream was asked for ended CANCELLED.

    Attributes:
        job_id: The job.
        reason: Who cancelled it, as a word.
        message: The free text given with the request, if any.
        replaced_by: The job that took its place, if it is `replaced`; see `SubmitOptions.on_busy`.
    """

    def __init__(
        self, job_id: str, reason: Reason, message: str | None = None, replaced_by: str | None = None
    ) -> None:
        super().__init__(f"job {job_id} was cancelled ({reason})" + (f": {message}" if message else ""))
        self.job_id = job_id
        self.reason = reason
        self.message = message
        self.replaced_by = replaced_by


class StreamGap(TrioJobsError):
    """Events that this reader has not seen are gone, or its cursor is ahead of the log.

    The reader can go on: its next `receive` continues after the gap.

    Attributes:
        job_id: The job.
        first: The first missing `seq`.
        last: The last missing `seq`.
        oldest: The cursor to resume with, `follow(after=oldest)`, to go on right behind the gap.
    """

    def __init__(self, job_id: str, first: int, last: int, oldest: int) -> None:
        super().__init__(
            f"events {first} to {last} of job {job_id} are not in its log; resume with after={oldest}"
        )
        self.job_id = job_id
        self.first = first
        self.last = last
        self.oldest = oldest


def check_cursor(job_id: str, cursor: int, last_seq: int) -> None:
    """Raise `StreamGap` if a cursor is ahead of a log, which then lacks what its reader has seen."""
    if cursor > last_seq:
        raise StreamGap(job_id, last_seq + 1, cursor, last_seq)


class StreamRestarted(TrioJobsError):
    """A new attempt began: what it sends does not continue what this reader has seen.

    The reader can go on: its next `receive` gives the new attempt's first token.

    Attributes:
        job_id: The job.
        attempt: The attempt that began.
        cursor: Where it began in the log.
    """

    def __init__(self, job_id: str, attempt: int, cursor: int) -> None:
        super().__init__(
            f"attempt {attempt} of job {job_id} began at {cursor}; drop what earlier attempts sent, "
            "or read with restarts='continue'"
        )
        self.job_id = job_id
        self.attempt = attempt
        self.cursor = cursor


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} takes seconds as a number; got {quoted(value)}")
    if not 0 <= value <= sys.float_info.max:
        raise ValueError(f"{name} takes seconds, at least 0 and finite; got {quoted(value)}")
    return float(value)


class RetryAfter(Exception):  # no error: it says what is to happen next
    """Raised by a handler: its job runs again in `seconds`, and this attempt does not count.

    Args:
        seconds: How long to wait; at least 0.
        message: One line for the job's log.

    Raises:
        TypeError: `seconds` is not a number.
        ValueError: `seconds` is negative, or not finite.
    """

    def __init__(self, seconds: float, message: str = "") -> None:
        self.seconds = _seconds("RetryAfter", seconds)
        super().__init__(message or f"run again in {seconds:g}s")


class AwaitInput(Exception):  # no error: it says what is to happen next
    """Raised by a handler: its job gives its slot back, runs again when an input comes, and nothing is spent.

    Args:
        message: What it waits for, in one line.
        timeout: Seconds after which it runs again without one; None for no limit. See `JobContext.timed_out`.

    Raises:
        TypeError: `message` is not a `str`, or `timeout` is not a number.
        ValueError: `timeout` is negative, or not finite.
    """

    def __init__(self, message: str | None = None, timeout: float | None = None) -> None:
        if message is not None and not isinstance(cast("object", message), str):
            raise TypeError(f"AwaitInput takes a str as its message; got {quoted(message)}")
        self.timeout = None if timeout is None else _seconds("AwaitInput", timeout)
        super().__init__(message or "waits for an input")
        self.message = message


class Permanent(Exception):  # no error: it says what is to happen next
    """Raised by a handler: its job has failed, and is not tried again.

    Args:
        error: The error, or a line of text. The job's record shows it in place of this wrapper.
    """

    def __init__(self, error: BaseException | str) -> None:
        super().__init__(str(error) if isinstance(error, str) else repr(error))
        self.error = error
