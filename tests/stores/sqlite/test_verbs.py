"""Verbs: their effects in a transaction, where the contract leaves them to the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from trio_jobs import (
    IllegalTransition,
    InvalidPayload,
    JobContext,
    KeyConflict,
    QueueFull,
    Reason,
    Retention,
    State,
    Timeouts,
)
from trio_jobs.stores import Claimant, Outcome, Transition, Where
from trio_jobs.stores.rows import Rows
from trio_jobs.stores.rules import Conclusion
from trio_jobs.stores.sqlite import care, ends, listing, looking, open_sqlite, verbs
from trio_jobs.stores.sqlite.group import UNLIMITED, Limits, Transaction
from trio_jobs.stores.sqlite.queries import SCHEMAS
from trio_jobs.testing.checks.kit import HOLDER, accept, completed, failed, lapse, make, start, work

HANDLERS = {"work": work}


class File:
    """A file in memory, and transactions at any time."""

    def __init__(self) -> None:
        self.db = apsw.Connection(":memory:")
        for script in SCHEMAS:
            self.db.execute(script)
        self.rows = Rows(HANDLERS)
        self.limits = Limits(3, Retention(finished=2))

    def at(self, now: float) -> Transaction:
        return Transaction(self.db, now, self.limits)

    def submit(self, now: float, *options: dict[str, Any], limit: int = 0) -> tuple[list[str], list[Any]]:
        batch = [self.rows.written(make(**one)) for one in options]
        tx = self.at(now)
        answer = verbs.submit(tx, batch, limit, HANDLERS, HOLDER)
        tx.write_log()
        return answer

    def totals(self) -> dict[str, int]:
        """Return the number of jobs by state."""
        counted = {str(state): number for state, number in listing.count(self.at(0), Where()).items()}
        found = dict(self.db.execute("SELECT state, count(*) FROM trio_jobs_job GROUP BY state"))
        assert counted == found
        return counted


@pytest.fixture
def file() -> Iterator[File]:
    one = File()
    yield one
    one.totals()
    one.db.close()


def test_a_lone_job_starts_at_once(file: File) -> None:
    """With a free slot and no waiting job it is running when it is first written, with two events."""
    (job_id,), (row,) = file.submit(1.0, {}, limit=1)
    assert row[0] == job_id
    assert file.totals() == {"running": 1}
    events, *_ = looking.page(file.at(1.0), job_id, 0, 9)
    assert [(event.seq, event.attempt, event.kind.value) for event in events] == [
        *[(1, 0, "submitted"), (2, 1, "started")]
    ]


@pytest.mark.parametrize(
    ("options", "limit"), [({"delay": 5.0}, 1), ({}, 0)], ids=["not due", "no free slot"]
)
def test_a_job_that_waits(file: File, options: dict[str, Any], limit: int) -> None:
    """A job that is not due, or has no slot, waits."""
    assert file.submit(1.0, options, limit=limit)[1] == []
    assert file.totals() == {"queued": 1}


def test_nobody_is_overtaken(file: File) -> None:
    """A job that is submitted while another waits is claimed after it, maybe in the same step."""
    (first,), _ = file.submit(1.0, {})
    _, rows = file.submit(2.0, {}, limit=1)
    assert [row[0] for row in rows] == [first]
    _, rows = file.submit(3.0, {"priority": 0}, limit=1)
    assert [row[11] for row in rows] == [2]
    assert file.totals() == {"running": 2, "queued": 1}


def test_a_key_that_is_known(file: File) -> None:
    """A used key gives its job and starts none, waiting or not, and conflicts are refused."""
    (job_id,), _ = file.submit(1.0, {"key": "k"}, limit=1)
    assert file.submit(1.0, {"key": "k"}, limit=1) == ([job_id], [])
    file.submit(1.0, {})
    assert file.submit(1.0, {"key": "k"})[0] == [job_id]
    for limit in (0, 1):
        with pytest.raises(KeyConflict):
            file.submit(1.0, {"key": "k", "priority": 0}, limit=limit)


def test_an_answer_that_was_lost(file: File) -> None:
    """A repeated submit is accepted once: the job is not started twice, and its log does not change."""
    new = file.rows.written(make())
    answers = [verbs.submit(file.at(1.0), [new], 1, HANDLERS, HOLDER) for _ in range(2)]
    assert [(ids, len(rows)) for ids, rows in answers] == [([new.submission.id], 1), ([new.submission.id], 0)]
    file.submit(1.0, {})
    assert verbs.submit(file.at(1.0), [new], 0, HANDLERS, HOLDER) == ([new.submission.id], [])
    assert file.totals() == {"running": 1, "queued": 1}


def test_a_full_queue(file: File) -> None:
    """The limit counts waiting jobs, and not those that start at once."""
    file.submit(1.0, {}, {}, {})
    assert len(file.submit(1.0, {}, {}, limit=2)[1]) == 2
    with pytest.raises(QueueFull, match="3 jobs wait already"):
        file.submit(1.0, {}, {"delay": 1.0}, limit=1)
    file.submit(1.0, limit=1)


def test_steps_that_are_not_legal(file: File) -> None:
    """A running job cannot be started, and a waiting one cannot complete; nothing is changed."""
    file.submit(1.0, {}, limit=1)
    file.submit(1.0, {})
    before = list(file.db.execute("SELECT * FROM trio_jobs_job"))
    with pytest.raises(IllegalTransition, match="a job that is running cannot be started"):
        verbs.start(file.at(2.0), 1, HOLDER)
    with pytest.raises(IllegalTransition, match="a job that is running cannot be completed"):
        ends.end(file.at(2.0), 2, State.RUNNING, Conclusion(Transition.COMPLETED, None))
    assert list(file.db.execute("SELECT * FROM trio_jobs_job")) == before


def test_the_oldest_ends_go(file: File) -> None:
    """As many ended jobs are kept as the limit says; tasks that wait for removed ones wake."""
    ended: list[str] = []
    for number in range(5):
        (job_id,), _ = file.submit(float(number), {}, limit=1)
        tx = file.at(number + 0.5)
        ends.finish(tx, job_id, 1, Outcome(Transition.FAILED, ended=failed().ended))
        tx.write_log()
        ended.append(job_id)
        if number >= 2:
            assert ended[number - 2] in tx.ended
    assert [
        row[1].decode() for row in listing.find(file.at(9.0), Where(), 9, None, newest=False)[0]
    ] == ended[3:]
    assert file.db.execute("SELECT count(DISTINCT id >> 32) FROM trio_jobs_event").get == 2


def test_a_lease_without_end(file: File) -> None:
    """A worker with infinite leases is never swept."""
    batch = [file.rows.written(make())]
    verbs.submit(file.at(1.0), batch, 1, HANDLERS, Claimant("eternal"))
    assert care.sweep(file.at(1e12)) == (0, [])
    assert looking.next_overdue(file.at(1.0)) == float("inf")


async def test_many_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep or prune of many jobs continues, transaction by transaction, until it is complete."""
    monkeypatch.setattr(ends, "BATCH", 3)
    async with open_sqlite(tmp_path / "jobs.db", handlers=[work]) as store:
        for _ in range(7):
            await start(store, worker=Claimant("doomed", 0.01))
        await accept(store, *[make(delay=60.0) for _ in range(2)])
        await lapse()
        await store.sweep()
        assert await store.count(Where()) == {State.RETRYING: 7, State.QUEUED: 2}
        claims = await store.claim(9, HOLDER)
        assert {claim.attempt for claim in claims} == {2}
        for claim in claims:
            await store.finish(claim.submission.id, 2, completed())
        await lapse()
        assert await store.prune(0.0) == 7
        assert await store.count(Where()) == {State.QUEUED: 2}


def test_an_expired_job_tells_how_long_it_waited(file: File) -> None:
    """The message has the limit as it was given, at any time of day."""
    (job_id,), _ = file.submit(1.7e9, {"timeouts": Timeouts(queue=0.1)})
    tx = file.at(1.7e9 + 1)
    assert care.sweep(tx)[0] == 1
    tx.write_log()
    events, over, _ = looking.page(file.at(0), job_id, 1, 9)
    assert over
    assert (events[0].data.reason, events[0].data.message) == (
        Reason.QUEUE_TIMEOUT,
        "Job was not started within 0.1s",
    )


class Crew:
    """A class whose methods are handlers."""

    async def work(self, job: JobContext[Any], hours: int) -> None:
        """Do nothing."""


def test_any_callable_may_be_a_child(file: File) -> None:
    """A child runs in its parent's process, so it may be a method; its arguments are checked."""
    (above,), _ = file.submit(1.0, {}, limit=1)
    tx, child = file.at(1.0), file.rows.written(make(8, target=Crew().work), child=True)
    assert verbs.spawn(tx, above, 1, child, HOLDER)
    with pytest.raises(InvalidPayload, match="Expected `int`"):
        file.rows.written(make("8", target=Crew().work), child=True)


def test_children_however_deep(file: File) -> None:
    """A chain of 1,200 nested children ends with the lost worker."""
    (above,), _ = file.submit(1.0, {}, limit=1)
    for _ in range(1200):
        tx, child = file.at(1.0), file.rows.written(make(), child=True)
        verbs.spawn(tx, above, 1, child, HOLDER)
        tx.write_log()
        above = child.submission.id
    file.limits = UNLIMITED
    tx = file.at(1e6)
    assert care.sweep(tx)[0] == 1
    tx.write_log()
    assert file.totals() == {"retrying": 1, "cancelled": 1200}


def test_no_number_is_given_twice(file: File) -> None:
    """A page starts behind the last job also if that was removed and others were submitted."""
    for number in range(3):
        (job_id,), _ = file.submit(float(number), {}, limit=1)
        assert list(file.db.execute("SELECT max(number) FROM trio_jobs_job")) == [(number + 1,)]
        ends.finish(tx := file.at(9.0), job_id, 1, failed())
        tx.write_log()
        ends.remove(file.at(9.0), job_id)
