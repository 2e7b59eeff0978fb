"""What claims, heartbeats and sweeps of several connections do to each other, and what they cost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeAlias

import msgspec
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.errors import LockNotAvailable

from tests.stores.postgres.in_sql import schema_in
from trio_jobs.stores.postgres.writing import outcome_of
from trio_jobs.stores.rules import not_started, worker_lost

Connection: TypeAlias = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def schema(postgres_server: Any) -> Iterator[tuple[Connection, Connection]]:
    """Return two connections to a schema. The second one never waits long for a lock."""
    with schema_in(postgres_server) as one, psycopg.connect(one.info.dsn) as other:
        other.execute("SET lock_timeout = '50ms'")
        other.commit()
        yield one, other


@pytest.fixture
def one(schema: tuple[Connection, Connection]) -> Iterator[Connection]:
    """Return a connection to an empty schema."""
    for db in schema:
        db.rollback()
    schema[0].execute("DELETE FROM trio_jobs.job; DELETE FROM trio_jobs.event; DELETE FROM trio_jobs.lease")
    schema[0].commit()
    yield schema[0]
    for db in schema:
        db.rollback()


@pytest.fixture
def other(one: Connection, schema: tuple[Connection, Connection]) -> Connection:
    """Return another one."""
    return schema[1]


def call(db: Connection, verb: str, **values: Any) -> Any:
    """Call a verb, and return its value."""
    query = f"SELECT answer FROM trio_jobs.{verb}(%s)"  # noqa: S608  # ours
    row = db.execute(query.encode(), [json.dumps([values])]).fetchone()
    assert row is not None
    return row[0]["value"]


def sweep(db: Connection) -> int:
    """Sweep, and return how many jobs were ended or reclaimed."""
    return int(call(db, "sweep")[0])


def claim(db: Connection, limit: int, lease: float | None = 60, claim: str | None = None) -> list[str]:
    """Claim jobs, and return their ids."""
    found = call(db, "claim_jobs", limit=limit, handlers=["work"], worker="w", lease=lease, claim=claim)
    return [row[0] for row in found["rows"]]


def beat(db: Connection, mine: int | None, *ids: str, lease: float = 60) -> Any:
    """Send a heartbeat for the first attempts of jobs."""
    return call(db, "heartbeat", held={job_id: [1, None] for job_id in ids}, lease=lease, mine=mine)


def add(db: Connection, count: int, options: str = "{}") -> list[str]:
    """Add jobs that are due, the first one first, and return their ids."""
    db.execute(
        "INSERT INTO trio_jobs.job"
        " (id, handler, args, options, priority, state, attempts, created, due, first_due)"
        " SELECT 'job ' || place, 'work', '[]', %s, 2, 'queued', 1, 0, place, place"
        " FROM generate_series(1, %s) AS place",
        [options, count],
    )
    db.commit()
    return [f"job {place}" for place in range(1, count + 1)]


def columns(db: Connection, names: str) -> dict[str, tuple[Any, ...]]:
    """Return columns of all jobs, by their ids."""
    query = f"SELECT id, {names} FROM trio_jobs.job"  # noqa: S608  # ours
    return {row[0]: row[1:] for row in db.execute(query.encode())}


def test_a_claim_passes_over_what_another_takes(one: Connection, other: Connection) -> None:
    """A claim does not wait for one that has not been committed: it takes the next jobs, by rank."""
    ids = add(one, 8)
    assert claim(one, 5) == ids[:5]
    assert claim(other, 2) == ids[5:7]
    assert claim(other, 9) == ids[7:]
    one.commit()
    assert claim(other, 9) == []


def test_a_claim_asked_again_waits_for_the_first_one(one: Connection, other: Connection) -> None:
    """A claim that comes again while the first call is at it gets what that starts, and nothing else."""
    ids = add(one, 4)
    assert claim(one, 2, claim="a") == ids[:2]
    with pytest.raises(LockNotAvailable):
        claim(other, 2, claim="a")
    other.rollback()
    one.commit()
    assert claim(other, 2, claim="a") == ids[:2]
    assert claim(other, 2, claim="b") == ids[2:]


CALLS: dict[str, Any] = {
    "claim_jobs": {"limit": 5, "handlers": ["work", "other"], "worker": "w", "lease": 60, "claim": None},
    "heartbeat": {"held": {f"job {place}": [1, None] for place in range(1, 6)}, "lease": 60, "mine": 1},
    "sweep": {"keep": {"finished": 1000}},
    "prune": {"older_than": 100},
    "request_cancels": {"job": "job 9", "message": None, "grace": 0},
}


@pytest.mark.parametrize("verb", CALLS)
def test_what_waits_costs_others_nothing(one: Connection, verb: str) -> None:
    """A verb looks at no more pages when 20,000 jobs wait, of which statistics know nothing, than when a
    hundred do."""
    query = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM trio_jobs.{verb}(%s)"  # noqa: S608  # ours

    def pages() -> int:
        plan = one.execute(query.encode(), [json.dumps([CALLS[verb]])]).fetchone()
        assert plan is not None
        found = plan[0][0]["Plan"]
        return int(found["Shared Hit Blocks"] + found["Shared Read Blocks"])

    one.execute("ALTER TABLE trio_jobs.job SET (autovacuum_enabled = off)")
    add(one, 100)
    claim(one, 5)
    few = [pages() for _ in range(8)]  # the plans are cached by then
    one.execute("DELETE FROM trio_jobs.job")
    add(one, 20_000)
    claim(one, 5)
    many = [pages() for _ in range(8)]
    assert min(many) < 2 * min(few) + 50, (few, many)


def test_a_heartbeat_writes_one_row(one: Connection) -> None:
    """From the second one on a heartbeat writes only the lease of the worker, to which all the jobs point."""
    ids = add(one, 3)
    claim(one, 3)
    mine = beat(one, None, *ids)["mine"]
    before = columns(one, "ctid, leased_by"), one.execute("SELECT ctid FROM trio_jobs.lease").fetchall()
    answer = beat(one, mine, *ids)
    assert (answer["mine"], sorted(answer["alive"])) == (mine, ids)
    after = columns(one, "ctid, leased_by"), one.execute("SELECT ctid FROM trio_jobs.lease").fetchall()
    assert after[0] == before[0]
    assert {leased_by for _, leased_by in after[0].values()} == {mine}
    assert len(after[1]) == 1
    assert after[1] != before[1]


def test_what_a_heartbeat_does_not_name_is_not_renewed(one: Connection) -> None:
    """A job that is left out of a heartbeat keeps the lease that it had."""
    ids = add(one, 2)
    claim(one, 2)
    mine = beat(one, None, *ids, lease=30)["mine"]
    (until,) = one.execute("SELECT until FROM trio_jobs.lease").fetchall()[0]
    beat(one, mine, ids[0], lease=90)
    found = columns(one, "lease, leased_by")
    assert found[ids[0]][1] == mine
    assert found[ids[1]] == (until, None)


def test_a_lease_that_is_gone_is_made_anew(one: Connection) -> None:
    """A sweep deletes the lease of a worker that runs nothing; its next heartbeat makes another one."""
    ids = add(one, 2)
    claim(one, 1)
    mine = beat(one, None, ids[0], lease=-1)["mine"]
    assert sweep(one) == 1
    assert one.execute("SELECT count(*) FROM trio_jobs.lease").fetchone() == (1,)
    assert sweep(one) == 0
    assert one.execute("SELECT count(*) FROM trio_jobs.lease").fetchone() == (0,)
    claim(one, 2)
    answer = beat(one, mine, ids[1])
    assert (answer["alive"], answer["mine"] != mine) == ([ids[1]], True)


def test_a_heartbeat_waits_for_a_sweep(one: Connection, other: Connection) -> None:
    """What a sweep is taking back no heartbeat renews: it is answered when the sweep is done."""
    ids = add(one, 1)
    claim(one, 1)
    mine = beat(one, None, *ids, lease=-1)["mine"]
    one.commit()
    assert sweep(one) == 1
    with pytest.raises(LockNotAvailable):
        beat(other, mine, *ids)
    other.rollback()
    one.commit()
    assert beat(other, mine, *ids)["alive"] == []


def test_a_sweep_leaves_what_a_heartbeat_renews(one: Connection, other: Connection) -> None:
    """A sweep takes back no job for which a heartbeat is on its way, be it the first one or a later one."""
    ids = add(one, 1)
    claim(one, 1, lease=-1)
    one.commit()
    mine = beat(one, None, *ids, lease=-1)["mine"]
    assert sweep(other) == 0
    one.commit()
    beat(one, mine, *ids)
    assert sweep(other) == 0
    one.commit()
    assert sweep(other) == 0


def test_a_broken_job_does_not_stop_a_sweep(one: Connection) -> None:
    """A job that cannot be reclaimed, as its row is damaged, fails; the others are reclaimed."""
    add(one, 2)
    one.execute("UPDATE trio_jobs.job SET options = 'no JSON' WHERE id = 'job 1'")
    claim(one, 2, lease=-1)
    assert sweep(one) == 2
    found = columns(one, "state, message")
    assert found["job 1"][0] == "failed"
    assert found["job 1"][1].startswith("what is stored of it is damaged: ")
    assert found["job 2"][0] == "retrying"


def test_a_sweep_hands_names_on(one: Connection) -> None:
    """Where nobody holds a name any more, the first of those that stand behind it holds it after a sweep."""
    add(one, 3)
    one.execute("UPDATE trio_jobs.job SET exclusive = 'name', behind = true")
    sweep(one)
    assert columns(one, "behind") == {"job 1": (False,), "job 2": (True,), "job 3": (True,)}


@given(st.integers(0, 999_999_000))
def test_the_message_of_a_queue_timeout(schema: tuple[Connection, Connection], milliseconds: int) -> None:
    """`not_started` says in the database what it says in Python."""
    wanted = not_started(milliseconds / 1000)
    row = schema[0].execute("SELECT trio_jobs.not_started(%s)", [milliseconds / 1000]).fetchone()
    assert row == ({"reason": wanted.reason, "message": wanted.message},)


@given(st.integers(0, 9), st.integers(0, 9), st.booleans(), st.booleans())
def test_how_a_lost_worker_ends_an_attempt(
    schema: tuple[Connection, Connection], losses: int, attempts: int, asked: bool, service: bool
) -> None:
    """`worker_lost` decides in the database as it does in Python."""
    job: dict[str, Any] = {
        "losses": losses,
        "attempts": attempts,
        "options": '{"restart": {}}' if service else "{}",
    }
    job |= {"cancel_requested": 1.0} if asked else {}
    query = "SELECT trio_jobs.worker_lost(json_populate_record(NULL::trio_jobs.job, %s))"
    row = schema[0].execute(query, [json.dumps(job)]).fetchone()
    assert row is not None
    wanted = msgspec.to_builtins(outcome_of(worker_lost(losses + 1, attempts, asked=asked, service=service)))
    for name in ("transition", "received"):
        assert row[0].get(name) == wanted.get(name)
    for name in ("reason", "message", "delay"):
        assert row[0]["ended"].get(name) == wanted["ended"].get(name)
