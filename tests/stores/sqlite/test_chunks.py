"""Logs in chunks, compared with a plain list that is cut at the bounds."""

from __future__ import annotations

from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_jobs import Ended, Event, Kind, Progress, Reason, Retention
from trio_jobs._json.stored import encode_event
from trio_jobs.stores.sqlite import chunks, verbs
from trio_jobs.stores.sqlite.group import Limits, Transaction
from trio_jobs.stores.sqlite.queries import SCHEMAS

JOB = 7
SNOOZES = 100  # see `Retention`

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9)
tokens = (
    st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts | st.lists(texts)
)
bursts = st.one_of(
    st.tuples(st.just(Kind.TOKEN), st.lists(tokens, min_size=1, max_size=12)),
    st.tuples(st.just(Kind.PROGRESS), st.builds(Progress, st.integers(0, 9)).map(lambda one: [one])),
    st.tuples(st.just(Kind.SAVED), st.lists(tokens, min_size=1, max_size=3)),
)


class Log:
    """A log in a file of its own, and its expected contents; another job's log is on either side."""

    def __init__(self, keep: Retention) -> None:
        db = apsw.Connection(":memory:")
        db.execute("".join(SCHEMAS))
        self.tx = Transaction(db, 1.0, Limits(9, keep))
        for number in (JOB - 1, JOB, JOB + 1):
            db.execute(
                "INSERT INTO trio_jobs_job (number, id, handler, args, options, priority, state, attempts, "
                "created, due) VALUES (?, ?, 'h', '[]', '{}', 2, 'running', 1, 0, 0)",
                (number, str(number)),
            )
        for number in (JOB - 1, JOB + 1):
            chunks.add(self.tx, number, 3, 1, Kind.TOKEN, b"1", b"2", b"3")
        self.tx.write_log()
        self.all: list[Event] = []

    def append(self, kind: Kind, values: list[Any]) -> None:
        encoded = [encode_event(kind, value) for value in values]
        for value in values:
            self.all.append(Event(len(self.all) + 1, 0, kind, 1.0, value))
        offset = len(self.all) - len(values)
        assert verbs.append(self.tx, str(JOB), 0, kind, encoded, offset=offset) == len(self.all)
        self.tx.write_log()

    def there(self) -> tuple[int, int]:
        """Return the counts in the rows: events that may be dropped, and bytes."""
        row = self.tx.db.execute(
            "SELECT coalesce(sum(count), 0), coalesce(sum(octet_length(data)), 0) FROM trio_jobs_event "
            "WHERE id >> 32 = ? AND kind IN ('token', 'progress', 'saved')",
            (JOB,),
        ).fetchone()
        assert row is not None
        return int(row[0]), int(row[1])

    def read(self) -> list[Event]:
        return chunks.read(self.tx, JOB, 0, 10**6)


limits = st.builds(Retention, events=st.integers(1, 40), bytes=st.integers(1, 400))


@given(limits, st.lists(bursts, max_size=30), st.data())
def test_any_log(keep: Retention, appended: list[tuple[Kind, list[Any]]], data: st.DataObject) -> None:
    """A log holds the end of what was appended, as much as the bounds allow, and the last saved value; it is
    read from any cursor, in pages of any size; and the neighbours' logs are unchanged."""
    log = Log(keep)
    for kind, values in appended:
        log.append(kind, values)
        found = log.read()
        saved = [event for event in log.all if event.kind is Kind.SAVED][-1:]
        last = saved[0].seq if saved else 0
        others = [event for event in log.all if event.kind is not Kind.SAVED]
        kept_others = [event for event in found if event.kind is not Kind.SAVED]
        assert kept_others == others[len(others) - len(kept_others) :]
        first = kept_others[0].seq if kept_others else last
        assert (
            [event for event in found if event.seq >= first] == log.all[first - 1 :] if first else not found
        )
        assert [event for event in found if event.seq == last] == saved
        present = [event for event in found if event.seq != last]
        assert [event.seq for event in found] == sorted(event.seq for event in found)
        kept, size = log.there()
        assert kept == len(found)
        stays = len(encode_event(Kind.SAVED, saved[0].data)) + 2 if saved else 0
        assert (len(present) <= keep.events and size - stays <= keep.bytes) or len(present) == 1
        row = log.tx.one("running", id=str(JOB), attempt=0, claim=None)
        assert row is not None
        assert row[3:5] == (kept, size)
    after, limit = data.draw(st.integers(0, len(log.all) + 1)), data.draw(st.integers(1, 9))
    behind = [event for event in log.read() if event.seq > after]
    assert chunks.read(log.tx, JOB, after, limit) == behind[:limit]
    assert chunks.history(log.tx, JOB) == [event for event in log.read() if event.kind is Kind.SAVED]
    for number in (JOB - 1, JOB + 1):
        assert [event.data for event in chunks.read(log.tx, number, 0, 9)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("keep", "burst", "total", "left"),
    [
        (Retention(events=80), 10, 200, range(70, 81)),
        (Retention(events=80), 1, 200, range(70, 81)),
        (Retention(bytes=800), 10, 400, range(70, 400)),
        (Retention(events=3), 10, 10, range(3, 4)),
        (Retention(bytes=1), 10, 10, range(1, 2)),
        (Retention(bytes=10), 1, 2000, range(1, 2)),
    ],
)
def test_an_eighth_goes_at_a_time(keep: Retention, burst: int, total: int, left: range) -> None:
    """After trimming at least seven eighths of a bound are left, and never more than the bound."""
    log = Log(keep)
    for start in range(0, total, burst):
        log.append(Kind.TOKEN, list(range(start, start + burst)))
        kept, size = log.there()
        assert kept <= keep.events
        assert size <= keep.bytes or kept == 1
    assert log.there()[0] in left
    assert log.read()[-1].data == total - 1


def test_a_count_that_is_wrong() -> None:
    """A count in a row that is too high costs tokens, and nothing else."""
    log = Log(Retention(events=8))
    log.append(Kind.TOKEN, [1, 2])
    log.append(Kind.SAVED, ["saved"])
    log.append(Kind.TOKEN, [3])
    chunks.trim(log.tx, JOB, 1000, 1000)
    assert [event.data for event in log.read()] == ["saved"]


@given(st.integers(0, 2**31 - 2), st.integers(0, 2**32 - 2))
def test_logs_do_not_meet(number: int, after: int) -> None:
    """The ids of one job's rows are between those of its neighbours, and SQLite can hold all of them."""
    first, last = chunks.log_ids(number, after).values()
    assert first - after - 1 == number << 32
    assert first <= last < chunks.log_ids(number + 1)["first"] <= 2**63 - 1


def test_old_snoozes_go() -> None:
    """Of a job that snoozes without end the newest snoozes are kept, each with the start that follows it; its
    first start, other ends of attempts, and its tokens stay. So does the neighbours' log."""
    log = Log(Retention())
    seq = 0

    def add(attempt: int, kind: Kind, data: Any) -> None:
        nonlocal seq
        seq += 1
        chunks.add(log.tx, JOB, seq, attempt, kind, encode_event(kind, data))

    for attempt in range(1, 501):
        add(attempt, Kind.STARTED, "w")
        if attempt == 30:
            add(attempt, Kind.TOKEN, "sent")
        reason = Reason.ERROR if attempt == 40 else Reason.SNOOZED
        add(attempt, Kind.RETRIED, Ended(reason, delay=1.0))
    log.tx.write_log()
    found = log.read()
    assert [(event.seq, event.attempt, event.kind) for event in found[:4]] == [
        (1, 1, Kind.STARTED),
        (60, 30, Kind.TOKEN),
        (81, 40, Kind.RETRIED),
        (82, 41, Kind.STARTED),
    ]
    snoozed = [event.attempt for event in found if event.kind is Kind.RETRIED][1:]
    assert snoozed == [*range(501 - len(snoozed), 501)]
    assert SNOOZES <= len(snoozed) <= SNOOZES + 25
    assert len(found) <= 2 * len(snoozed) + 4
    for number in (JOB - 1, JOB + 1):
        assert [event.data for event in chunks.read(log.tx, number, 0, 9)] == [1, 2, 3]
