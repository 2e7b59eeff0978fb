"""What is counted of an attempt for telemetry, which reads it when it is asked."""

from __future__ import annotations

from typing import Any, NamedTuple

from .._model.job import Job, Options
from ..stores.rules import due_at
from .context import JobContext


class Counts(NamedTuple):
    """What an attempt has sent and received so far.

    Attributes:
        tokens: How many tokens the store has accepted.
        inputs: How many inputs the handler has received.
    """

    tokens: int
    inputs: int


def counts_of(job: JobContext[Any]) -> Counts:
    """Return the counts of the attempt that a context is of; to be asked until its end is told."""
    writer = job._writer  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return Counts(writer.sent, 0 if writer.inbox is None else writer.inbox.count)


def options_of(job: JobContext[Any]) -> Options:
    """Return the options of the job that a context is of."""
    return job._writer.claim.submission.options  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def waited(options: Options, now: Job) -> float | None:
    """Return for how many seconds a job was due before its first attempt began.

    Args:
        options: Its options.
        now: The job as it is now.

    Returns:
        None if that cannot be told any more, or it did not wait: a later attempt began, or it is a child job.
    """
    if now.attempt != 1 or now.parent is not None or now.started_at is None:
        return None
    due = due_at(options, now.created_at.timestamp(), 0.0)
    return max(0.0, now.started_at.timestamp() - due)
