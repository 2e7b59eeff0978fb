"""What the commands that only read ask a store, whichever it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from os.path import commonprefix
from typing import Any, Final

from .._common.states import State
from .._model.job import Event, Job
from .._model.limits import LimitStatus
from .._model.summary import JobSummary, Page
from ..stores.contract import Where
from ..stores.pauses import Pauses
from ..stores.records import PAGE_JOBS
from .faults import Fault

SHORTEST: Final = 8
FITS: Final = 4
"""How many ids with one beginning are looked for: one more than an error names."""


class ReadOnly(ABC):
    """Answers what a store holds.

    Attributes:
        called: What it is called in what is printed.
    """

    called: str

    @abstractmethod
    def job(self, job_id: str) -> Job:
        """Return a job."""

    @abstractmethod
    def page(self, where: Where, limit: int, after: str | None) -> Page:
        """Return a page of the jobs that match, the newest first."""

    def newest(self, where: Where, limit: int) -> list[JobSummary]:
        """Return the newest jobs that match, the oldest of them first."""
        found: list[JobSummary] = []
        after: str | None = None
        while (wanted := min(limit - len(found), PAGE_JOBS)) > 0:
            page = self.page(where, wanted, after)
            found += page
            if (after := page.next) is None:
                break
        return found[::-1]

    @abstractmethod
    def count(self, where: Where) -> dict[State, int]:
        """Return how many jobs match in each state."""

    @abstractmethod
    def handlers(self) -> list[str]:
        """Return the names of the handlers that have had jobs."""

    @abstractmethod
    def pauses(self) -> Pauses:
        """Return what is paused."""

    @abstractmethod
    def limits(self) -> Sequence[LimitStatus]:
        """Return the limits of handlers, and those that are pinned."""

    @abstractmethod
    def size(self) -> int | None:
        """Return how many bytes the store takes on the disk; None if that is not told."""

    @abstractmethod
    def history(self, job_id: str) -> list[Event]:
        """Return the events of a job but for tokens, progress and inputs."""

    @abstractmethod
    def explain(self, job_id: str) -> str:
        """Say why a job does not run, or what it is doing."""

    # ------------------------------------------------------------ ids

    @abstractmethod
    def begin_with(self, prefix: str) -> list[str]:
        """Return ids that begin with a prefix in order, at most `FITS` of them."""

    @abstractmethod
    def near(self, job_id: str) -> Sequence[str | None]:
        """Return the ids before and after one, in the order of their characters."""

    def resolve(self, prefix: str) -> str:
        """Return the one id that begins with a prefix.

        Raises:
            Fault: No id begins with it, or several do.
        """
        if not prefix:
            raise Fault("an id cannot be empty; 'trio-jobs list' shows those that there are")
        found = self.begin_with(prefix) if prefix.isascii() and "\0" not in prefix else []  # as all ids are
        if prefix in found:
            return prefix
        if not found:
            raise Fault(
                f"no job has an id that begins with {prefix!r}; 'trio-jobs list' shows those that there are"
            )
        if len(found) > 1:
            some = ", ".join(self.short(one) for one in found[: FITS - 1])
            more = ", …" if len(found) == FITS else ""
            raise Fault(f"several jobs have ids that begin with {prefix!r}: {some}{more}; write more of it")
        return found[0]

    def short(self, job_id: str) -> str:
        """Return the shortest beginning of an id that no other id has."""
        near = [commonprefix([job_id, other or ""]) for other in self.near(job_id)]  # noqa: RUF071  # no paths
        return job_id[: max(SHORTEST, max(map(len, near)) + 1)]


class ReadOnlyStore(ReadOnly):
    """Answers also what only the store itself tells, and no server."""

    def explain(self, job_id: str) -> str:
        """Say why a job does not run, or what it is doing, as far as the store knows it."""
        from .._running.explaining import NEWEST, Known, explained, have_started, started

        job = self.job(job_id)
        holder = None if job.behind is None else self.job(job.behind)
        more = started(job, self.page(have_started(job), NEWEST, None))
        return explained(job, Known(holder, self.limits(), self.pauses(), more))

    # ------------------------------------------------------------ what `check` looks at

    @abstractmethod
    def damage(self) -> list[str]:
        """Return what is damaged below the tables."""

    @abstractmethod
    def wrong_totals(self) -> list[Any]:
        """Return what is counted wrongly: what, its name, the state, how many are said to be, and are."""

    @abstractmethod
    def orphans(self) -> list[Any]:
        """Return the numbers of jobs that have a log and do not exist."""

    @abstractmethod
    def to_check(self) -> list[Any]:
        """Return of each job its number, id, what is kept, and whether it runs without a lease."""

    @abstractmethod
    def log(self, number: int, job_id: str) -> list[Event]:
        """Return every event of a job."""
