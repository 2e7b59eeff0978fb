"""The records of jobs in lists, without payloads, and pages of them, which are bounded in size.

The annotations are types, not text, as in `job.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast, overload

import attrs

from .._common.error_text import ANY, shown
from .._common.errors import quoted
from .._common.record import show
from .._common.states import Reason, State
from .job import Job, Priority, Progress

PAGE_BYTES: Final = 512 * 2**10
"""How many bytes of JSON a page has at most, unless it has one job only."""
EXAMINED: Final = 20_000
"""How many entries of an index are examined for a page at most."""
SHOWN: Final = 200
"""How many characters of a message a summary has."""
ARGS_READ: Final = 16 * 2**10
"""How many bytes of arguments are read for a list; a file reads all of a text for its beginning."""
_DIGITS: Final = 18
_NAMES_AND_NUMBERS: Final = 800
"""Bytes of a summary in JSON beside its texts, at most."""


@attrs.frozen(slots=False, unsafe_hash=False)  # which is made faster
class JobSummary:
    """A job in a list: the fields of `Job` but for those that may be large, and the sizes of these.

    Attributes:
        id: 128 random bits as text.
        handler: The handler's name.
        state: The state of the job.
        reason: Why it failed, was cancelled or is to run again; None otherwise.
        message: The first 200 characters of the job's message, or else of its error, if it has either.
        attempt: The number of the last attempt started; 0 before the first.
        priority: As submitted.
        tags: As submitted.
        owner: As submitted.
        parent: The job whose attempt spawned this one, if any.
        progress: The progress that the handler reported last.
        created_at: When it was submitted.
        started_at: When its last attempt started.
        finished_at: When it ended.
        next_attempt_at: When it is due; None unless it waits.
        cancel_requested_at: When its cancellation was asked for.
        last_seq: The newest cursor of its log.
        args_bytes: The size of its arguments, as the store counts it.
        result_bytes: That of its result; 0 while it has none.
        log_bytes: That of the tokens and progress in its log.
        args_text: The first 200 characters of its arguments as JSON, if these have no more than 16 KiB
            and are told, see `Job.args`.
    """

    __repr__ = show

    id: str
    handler: str
    state: State
    reason: Reason | None
    message: str | None
    attempt: int
    priority: Priority
    tags: Mapping[str, str]
    owner: str | None
    parent: str | None
    progress: Progress | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    next_attempt_at: datetime | None
    cancel_requested_at: datetime | None
    last_seq: int
    args_bytes: int
    result_bytes: int
    log_bytes: int
    args_text: str | None = None


_AS_OF_JOB: Final = (attrs.fields_dict(JobSummary).keys() & attrs.fields_dict(Job)) - {"message"}


@attrs.frozen(slots=False)  # an abstract class made twice, as slots take, is slow to import
class Page(Sequence[JobSummary]):
    """Some of the jobs that match, in order, and where to go on: a sequence of summaries.

    Attributes:
        jobs: The summaries. There may be none on a page that is not the last.
        next: What `find(after=…)` takes to go on behind this page; None on the last one. Jobs that are
            added or removed meanwhile make no other job appear twice or be left out.
    """

    jobs: tuple[JobSummary, ...] = ()
    next: str | None = None

    @overload
    def __getitem__(self, index: int) -> JobSummary: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[JobSummary, ...]: ...
    def __getitem__(self, index: int | slice) -> JobSummary | tuple[JobSummary, ...]:
        """Return a summary, or several."""
        return self.jobs[index]

    def __len__(self) -> int:
        """Return the number of summaries."""
        return len(self.jobs)

    def __iter__(self) -> Iterator[JobSummary]:
        """Iterate over the summaries."""
        return iter(self.jobs)


def shortened(text: str | None) -> str | None:
    """Return a message, cut as in a summary."""
    return None if text is None else text[:SHOWN]


def short_progress(progress: Progress | None) -> Progress | None:
    """Return progress with its message cut as in a summary."""
    return None if progress is None else attrs.evolve(progress, message=shortened(progress.message))


def text_of(args: Sequence[Any] | Mapping[str, Any], most: int | None = SHOWN) -> str:
    """Return the beginning of arguments as JSON, for a summary, or all; what JSON does not have as text."""
    import json  # needed only for lists

    try:
        text = json.dumps(args, ensure_ascii=False, separators=(",", ":"), default=shown)
    except ANY:  # as for a dict with other keys than JSON has
        text = shown(args)
    return text[:most]


def summary_of(
    job: Job,
    *,
    progress: Progress | None = None,
    args_bytes: int = 0,
    result_bytes: int = 0,
    log_bytes: int = 0,
    args_text: str | None = None,
) -> JobSummary:
    """Return the summary of a job."""
    return JobSummary(
        **{name: getattr(job, name) for name in _AS_OF_JOB},
        message=shortened(job.message or (None if job.error is None else str(job.error))),
        progress=short_progress(progress),
        args_bytes=args_bytes,
        result_bytes=result_bytes,
        log_bytes=log_bytes,
        args_text=args_text,
    )


def place_of(after: str | None) -> int | None:
    """Return the number of the job that a page ended with.

    Raises:
        ValueError: No page returned this.
    """
    if after is None:
        return None
    text = isinstance(cast("object", after), str)
    if not (text and after.isascii() and after.isdecimal() and len(after) <= _DIGITS):
        raise ValueError(f"after takes the next of a page; got {quoted(after)}")
    return int(after)


def json_bytes(summary: JobSummary) -> int:
    """Return an upper bound of the size of a summary in JSON."""
    import json  # needed only for lists

    text = None if summary.progress is None else summary.progress.message
    texts = [summary.handler, summary.message, summary.owner, summary.parent, text, summary.args_text]
    whole = json.dumps([*texts, dict(summary.tags)], ensure_ascii=False)
    return _NAMES_AND_NUMBERS + len(whole.encode(errors="replace"))


def page_of(found: Sequence[tuple[int, JobSummary]], limit: int, examined: int | None) -> Page:
    """Return the page of jobs that fits its bounds.

    Args:
        found: The jobs that match, with their numbers, in order: one more than `limit`, if there are so many.
        limit: How many jobs at most.
        examined: The number of the last job that was examined, if there are more behind it.
    """
    size, jobs = 0, list[JobSummary]()
    last = 0
    for number, summary in found[:limit]:
        size += json_bytes(summary)
        if jobs and size > PAGE_BYTES:
            return Page(tuple(jobs), str(last))
        jobs.append(summary)
        last = number
    if len(found) > limit:
        return Page(tuple(jobs), str(last) if jobs else None)
    return Page(tuple(jobs), None if examined is None else str(examined))
