"""What an attempt has sent and received; it is counted for telemetry, and read when that asks."""

from __future__ import annotations

from typing import Any, NamedTuple

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
