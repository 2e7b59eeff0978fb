"""Keep the jobs that have ended in order, and choose which of them are deleted."""

from __future__ import annotations

from .._model.job import Retention
from ._row import Row


class EndedJobs:
    """Lists the jobs that have ended, the oldest first.

    Args:
        keep: How many of them are kept, and how many bytes.

    Attributes:
        bytes: About how many bytes they take together.
    """

    def __init__(self, keep: Retention) -> None:
        self.bytes = 0
        self._keep = keep
        self._sizes: dict[str, tuple[int, float]] = {}

    def add(self, row: Row, now: float) -> None:
        """Add a job."""
        size = row.size()
        self._sizes[row.submission.id] = size, now
        self.bytes += size

    def discard(self, job_id: str) -> None:
        """Remove a job."""
        self.bytes -= self._sizes.pop(job_id)[0]

    def one_too_many(self) -> str | None:
        """Return the oldest job if there are too many; the job that ended last is always kept."""
        jobs, keep = len(self._sizes), self._keep
        crowded = jobs > keep.finished or (self.bytes > keep.finished_bytes and jobs > 1)
        return next(iter(self._sizes)) if crowded else None

    def before(self, moment: float) -> list[str]:
        """Return the jobs that ended before a moment."""
        return [job_id for job_id, (_, ended) in self._sizes.items() if ended < moment]
