"""Which ended jobs are kept: so many, of so many bytes, and always the last one."""

from __future__ import annotations

import pytest

from trio_jobs import Retention
from trio_jobs.stores import Options, _ended, _row
from trio_jobs.stores.contract import Submission
from trio_jobs.stores.log import Log


async def target() -> None: ...


def row(job_id: str, size: int = 0) -> _row.Row:
    """Return a job with arguments of about a size."""
    new = Submission(job_id, "f", target, ("x" * size,), Options())
    return _row.Row(new, Log(Retention(), lambda: 0.0, 0.0), 0.0, 0.0)


def test_the_oldest_go_first() -> None:
    """Over the limit the oldest job is removed; one that was removed already does not count."""
    ended = _ended.EndedJobs(Retention(finished=2))
    for n in range(2):
        ended.add(row(str(n)), 0.0)
        assert ended.one_too_many() is None
    ended.add(row("2"), 0.0)
    assert ended.one_too_many() == "0"
    ended.discard("0")
    assert ended.one_too_many() is None
    ended.discard("1")
    ended.add(row("3"), 0.0)
    ended.add(row("4"), 0.0)
    assert ended.one_too_many() == "2"


def test_bytes() -> None:
    """Over the limit of bytes the oldest jobs are removed; exactly the limit may stay."""
    jobs = [row(str(n), 1000) for n in range(3)]
    size = jobs[0].size()
    assert size > 1000
    ended = _ended.EndedJobs(Retention(finished_bytes=2 * size))
    for n, job in enumerate(jobs, 1):
        ended.add(job, 0.0)
        assert ended.bytes == n * size
        assert ended.one_too_many() == ("0" if n == 3 else None)
    for n in range(3):
        ended.discard(str(n))
    assert ended.bytes == 0


@pytest.mark.parametrize("bound", [1, 2])
def test_the_last_may_always_stay(bound: int) -> None:
    """The job that ended last is kept, whatever its size."""
    ended = _ended.EndedJobs(Retention(finished=bound, finished_bytes=1))
    ended.add(row("a", 5000), 0.0)
    assert ended.one_too_many() is None
    ended.add(row("b", 5000), 0.0)
    assert ended.one_too_many() == "a"


def test_before() -> None:
    """Jobs that ended before a moment are returned, and not those that ended at it."""
    ended = _ended.EndedJobs(Retention())
    for when in (1.0, 2.0, 3.0):
        ended.add(row(str(when)), when)
    assert ended.before(1.0) == []
    assert ended.before(2.5) == ["1.0", "2.0"]
    ended.discard("1.0")
    assert ended.before(3.0) == ["2.0"]
