"""Submitting in a transaction of the program's own: the job exists exactly if that commits."""

from __future__ import annotations

import asyncio  # noqa: TID251  # for programs that use it
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
import trio
from psycopg.rows import dict_row

from trio_jobs import (
    Busy,
    Debounce,
    InvalidPayload,
    JobContext,
    KeyConflict,
    Retry,
    SchemaTooNew,
    State,
    Timeouts,
    handler,
    open_registry,
)
from trio_jobs.stores.postgres import submit_within, submit_within_async
from trio_jobs.stores.rows import Rows
from trio_jobs.stores.submission import submission

SUBMIT = "SELECT trio_jobs.submit(%s, %s, %s)"


@handler
async def ship(job: JobContext[str], order: int) -> str:
    return f"order {order} is on its way"


@handler
async def take(job: JobContext[str], *things: Any, **named: Any) -> None: ...


@handler
async def hold(job: JobContext[str]) -> None:
    await trio.sleep_forever()


@pytest.fixture
async def url(postgres_url: str) -> str:
    """A database with jobs, and a table of the program's."""
    async with open_registry(postgres_url, handlers=[ship]):
        pass
    with psycopg.connect(postgres_url) as db:
        db.execute("CREATE TABLE orders (number INTEGER)")
    return postgres_url


@pytest.fixture
def db(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the program's."""
    with psycopg.connect(url) as connection:
        yield connection
        connection.rollback()


def put(db: psycopg.Connection[Any], name: str, args: str = "[]", **options: Any) -> str:
    """Submit by the function for other languages."""
    row = db.execute(SUBMIT, [name, args, json.dumps(options)]).fetchone()
    return str(row[0]) if row else ""


# ------------------------------------------------------------ all or nothing


async def test_what_is_committed_runs(url: str, db: psycopg.Connection[Any]) -> None:
    """A worker that already waits claims the job, and the program's row is there too."""
    async with open_registry(url, handlers=[ship]) as jobs:
        db.execute("INSERT INTO orders VALUES (7)")
        job_id = submit_within(db, ship, 7, tags={"order": "7"})
        assert await jobs.count() == 0
        db.commit()
        with trio.fail_after(30):
            assert await (await jobs.get(job_id)).result() == "order 7 is on its way"
        assert db.execute("SELECT number FROM orders").fetchall() == [(7,)]
        assert [job.id for job in await jobs.find(tags={"order": "7"})] == [job_id]


async def test_another_language_submits(url: str, db: psycopg.Connection[Any]) -> None:
    """What is submitted by SQL alone runs, with its options; its types are checked when it starts."""
    async with open_registry(url, handlers=[ship]) as jobs:
        job_id = put(db, "ship", "[7]", tags={"order": "7"}, priority=1, owner="me", timeouts={"run": 60})
        unfit = put(db, "ship", '["seven"]', retry={"attempts": 1})
        db.commit()
        with trio.fail_after(30):
            handle = await jobs.get(job_id)
            assert await handle.result() == "order 7 is on its way"
            found = await handle.snapshot()
            assert (found.tags, found.priority, found.owner) == ({"order": "7"}, 1, "me")
            assert found.timeouts == Timeouts(run=60)
            end = await (await jobs.get(unfit)).wait()
            assert end.state is State.FAILED
            assert "do not fit" in str(end.error)


async def test_what_is_rolled_back_never_was(url: str, db: psycopg.Connection[Any]) -> None:
    """After a rollback neither the job nor its key exists, nor does what a savepoint undid."""
    first = submit_within(db, ship, 7, key="k")
    assert submit_within(db, ship, 7, key="k") == first
    assert put(db, "ship", "[7]", key="k") == first
    with pytest.raises(KeyConflict):
        submit_within(db, ship, 8, key="k")  # which leaves the transaction as it was
    db.rollback()
    with pytest.raises(ZeroDivisionError), db.transaction():
        submit_within(db, ship, 9)
        raise ZeroDivisionError
    db.commit()
    async with open_registry(url, handlers=[ship], capacity=0) as jobs:
        assert not await jobs.find()
        handle = await jobs.submit(ship, 8, key="k")
        assert (await handle.snapshot()).state is State.QUEUED


DIES = """
import os, signal, sys
import psycopg
from tests.stores.postgres.test_within import ship
from trio_jobs.stores.postgres import submit_within
db = psycopg.connect(sys.argv[1])
db.execute("INSERT INTO orders VALUES (7)")
submit_within(db, ship, 7, key="k")
if sys.argv[2] == "committed":
    db.commit()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("when", ["open", "committed"])
async def test_a_process_may_die_at_any_time(url: str, db: psycopg.Connection[Any], when: str) -> None:
    """If a process is killed, its row and its job are both there or neither is, and no lock stays."""
    done = subprocess.run([sys.executable, "-c", DIES, url, when], check=False, timeout=60)  # noqa: ASYNC221
    assert done.returncode == -9
    db.execute("SET lock_timeout = '10s'")
    row = db.execute("SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM trio_jobs.job)").fetchone()
    assert row == ((1, 1) if when == "committed" else (0, 0))
    if when == "open":
        assert submit_within(db, ship, 8, key="k")


# ------------------------------------------------------------ others


async def test_one_waits_for_the_key_of_another(url: str, db: psycopg.Connection[Any]) -> None:
    """Of two transactions with one key the second waits, as long as its `lock_timeout` says."""
    submit_within(db, ship, 7, key="k")
    with psycopg.connect(url) as other:
        other.execute("SET lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable), other.transaction():
            submit_within(other, ship, 7, key="k")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            put(other, "ship", "[7]", key="k")


async def test_it_does_not_lock_what_runs(url: str, db: psycopg.Connection[Any]) -> None:
    """A job stands behind one that runs, which ends meanwhile; then it starts all the same."""
    async with open_registry(url, handlers=[hold, ship]) as jobs:
        holder = await jobs.submit(hold, exclusive="x")
        with trio.fail_after(30):
            while (await holder.snapshot()).state is not State.RUNNING:
                await trio.sleep(0.01)
            with pytest.raises(Busy) as busy:
                submit_within(db, ship, 7, exclusive="x")
            assert busy.value.job_id == holder.id
            assert submit_within(db, ship, 7, exclusive="x", on_busy="attach") == holder.id
            job_id = submit_within(db, ship, 7, exclusive="x", on_busy="after")
            await holder.cancel()
            assert (await holder.wait()).state is State.CANCELLED
            db.commit()
            assert await (await jobs.get(job_id)).result() == "order 7 is on its way"


async def test_it_replaces_and_cancels(url: str, db: psycopg.Connection[Any]) -> None:
    """By SQL, too, a job takes the place of those that wait, and has the one cancelled that runs."""
    async with open_registry(url, handlers=[hold, ship], capacity=1) as jobs:
        holder = await jobs.submit(hold, exclusive="x")
        with trio.fail_after(30):
            while (await holder.snapshot()).state is not State.RUNNING:
                await trio.sleep(0.01)
            waits = await jobs.submit(ship, 1, exclusive="x", on_busy="after")
            job_id = put(db, "ship", "[7]", exclusive="x", on_busy="cancel")
            db.commit()
            assert (await waits.wait()).state is State.CANCELLED
            assert (await waits.snapshot()).replaced_by == job_id
            assert (await holder.wait()).state is State.CANCELLED
            assert await (await jobs.get(job_id)).result() == "order 7 is on its way"


# ------------------------------------------------------------ the same as in Python

ZONE = timezone(timedelta(hours=1))
SAME: list[tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]] = [
    ((), {}, {}),
    ((1, 'é\n\x01"\\', [1.5, None, True], {"b": 1, "a": {"z": 2, "Z": 0.1}}, 10**20, -0.5, 1.0), {}, {}),
    ((1,), {"timeout": 5}, {"timeout": 5}),
    ((1,), {"timeouts": {"run": 1, "idle": 0.25}}, {"timeouts": Timeouts(run=1, idle=0.25)}),
    ((1,), {"retry": {"attempts": 3}}, {"retry": Retry(attempts=3)}),
    (
        (1,),
        {"retry": {"attempts": None, "initial": 0.5, "factor": 1, "maximum": 7, "jitter": 0}},
        {"retry": Retry(attempts=None, initial=0.5, factor=1, maximum=7, jitter=0)},
    ),
    (
        (1,),
        {"priority": 0, "delay": 3.5, "owner": "me", "tags": {"b": "é", "a": "x"}, "linger": 1},
        {"priority": 0, "delay": 3.5, "owner": "me", "tags": {"b": "é", "a": "x"}, "linger": 1},
    ),
    (
        (1,),
        {"metadata": {"n": [1, {"y": 1, "x": None}]}, "when_unread": "pause"},
        {"metadata": {"n": [1, {"y": 1, "x": None}]}, "when_unread": "pause"},
    ),
    (
        (1,),
        {"run_at": "2030-01-01T12:00:00.5+01:00"},
        {"run_at": datetime(2030, 1, 1, 12, 0, 0, 500000, tzinfo=ZONE)},
    ),
    ((1,), {"run_at": "2030-01-01 12:00Z"}, {"run_at": datetime(2030, 1, 1, 12, tzinfo=UTC)}),
    ((1,), {"exclusive": 'a"b', "on_busy": "after"}, {"exclusive": 'a"b', "on_busy": "after"}),
    (
        (1,),
        {"exclusive": "c", "on_busy": {"seconds": 1, "at_most": 2.5}},
        {"exclusive": "c", "on_busy": Debounce(1, 2.5)},
    ),
    ((1,), {"timeout": None, "key": None, "owner": None}, {}),
    (
        (1,),
        {"kwargs": {"b": [1.0, {"y": 1, "x": None}], "é a": ""}},
        {"kwargs": {"é a": "", "b": [1.0, {"x": None, "y": 1}]}},
    ),
    ((), {"kwargs": {}}, {}),
]


@pytest.mark.parametrize("case", range(len(SAME)))
async def test_sql_writes_what_python_writes(db: psycopg.Connection[Any], case: int) -> None:
    """A job that is submitted by SQL is stored as one by Python, and is the same under a key."""
    args, in_sql, in_python = SAME[case]
    job_id = put(db, "take", json.dumps(args), **{**in_sql, "key": "k"})
    found = db.cursor(row_factory=dict_row).execute("SELECT * FROM trio_jobs.job").fetchone() or {}
    new = Rows({"take": take}).written(submission(take, args, {**in_python, "key": "k"}))
    wanted = {name: value for name, value in new.values.items() if name != "id"}
    assert {name: found[name] for name in wanted} == wanted
    assert submit_within(db, take, *args, key="k", **in_python) == job_id


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"colour": 1}, "there is no option 'colour'"),
        ({"retry": {"often": 1}}, "there is no option 'retry.often'"),
        ({"delay": -1}, "delay takes a number of at least 0; got -1"),
        ({"delay": "soon"}, 'delay takes a number of at least 0; got "soon"'),
        ({"retry": {"attempts": 1.5}}, "retry.attempts takes a whole number"),
        ({"retry": {"initial": None}}, "retry.initial takes a number"),
        ({"retry": {"jitter": 2}}, "retry.jitter takes a number from 0 to 1; got 2"),
        ({"priority": 7}, "priority takes a whole number from 0 to 3; got 7"),
        ({"timeouts": 5}, "timeouts takes a object; got 5"),
        ({"kwargs": [1]}, "kwargs takes a object; got [1]"),
        ({"timeout": 1, "timeouts": {}}, "timeout or timeouts, not both"),
        ({"delay": 1, "run_at": "2030-01-01T00:00Z"}, "delay or run_at, not both"),
        ({"run_at": "2030-01-01T00:00:00"}, "with its time zone"),
        ({"tags": {"a": 1}}, "tags are at most 64 texts"),
        ({"tags": {"a" * 101: ""}}, "tags are at most 64 texts"),
        ({"tags": {str(number): "" for number in range(65)}}, "tags are at most 64 texts"),
        ({"exclusive": ""}, "exclusive takes a name"),
        ({"exclusive": "service:x"}, "exclusive takes a name"),
        ({"on_busy": "after"}, "on_busy needs exclusive"),
        ({"exclusive": "x", "on_busy": "wait"}, "on_busy is one of"),
        ({"exclusive": "x", "on_busy": {"seconds": 2, "at_most": 1}}, "seconds and at_most"),
        ({"exclusive": "x", "on_busy": {"seconds": 2}}, "seconds and at_most"),
        ({"exclusive": "x", "on_busy": {"seconds": 1, "at_most": 2}, "delay": 1}, "delay and run_at do not"),
        ({"when_unread": "stop"}, "when_unread is one of"),
        ({"limit_key": ""}, "a limit_key has 1 to 256 characters"),
    ],
)
async def test_options_that_do_not_fit_are_refused(
    db: psycopg.Connection[Any], options: dict[str, Any], said: str
) -> None:
    """SQL refuses an option that Python refuses, with a text that names it and a hint."""
    with pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
        put(db, "ship", "[7]", **options)
    assert said in str(refused.value)
    assert "options are" in str(refused.value.diag.message_hint)


@pytest.mark.parametrize("args", ["{}", "null", "7", "[" * 201 + "]" * 201])
async def test_arguments_that_do_not_fit_are_refused(db: psycopg.Connection[Any], args: str) -> None:
    """SQL takes arguments as an array that is not nested too deep, and a handler that has a name."""
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        put(db, "ship", args)
    db.rollback()
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        put(db, "")
    db.rollback()
    assert put(db, "ship", "[" * 200 + "]" * 200)


async def test_refusals_have_codes(db: psycopg.Connection[Any]) -> None:
    """SQL raises errors that a program can tell apart: the code of a taken name, and what it is in detail."""
    holder = put(db, "ship", "[7]", key="k", exclusive="x")
    db.commit()
    for wrong, name in (({"key": "k"}, "KeyConflict"), ({"exclusive": "x"}, "Busy")):
        with pytest.raises(psycopg.errors.UniqueViolation) as refused, db.transaction():
            put(db, "ship", "[8]", **wrong)
        detail = json.loads(refused.value.diag.message_detail or "{}")
        assert (detail["error"], detail["values"][-1]) == (name, holder)
        assert refused.value.diag.message_hint


# ------------------------------------------------------------ what cannot be


async def test_what_cannot_be_is_refused(url: str, db: psycopg.Connection[Any]) -> None:
    """Without a transaction, with wrong arguments, or in a newer schema, nothing is written."""
    with psycopg.connect(url, autocommit=True) as alone:
        with pytest.raises(ValueError, match=r"with connection\.transaction"):
            submit_within(alone, ship, 7)
        with alone.transaction(force_rollback=True):
            submit_within(alone, ship, 7)
    with pytest.raises(TypeError, match="takes a psycopg.Connection"):
        submit_within(url, ship, 7)  # type: ignore[call-overload]
    with pytest.raises(InvalidPayload, match="arguments of ship do not fit"):
        submit_within(db, ship, "seven")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes 1 arguments"):
        submit_within(db, ship)  # type: ignore[arg-type, call-arg]
    with pytest.raises(ValueError, match="keeps no jobs yet"):
        submit_within(db, ship, 7, schema="others")
    db.execute("UPDATE trio_jobs.meta SET value = 99")
    with pytest.raises(SchemaTooNew):
        submit_within(db, ship, 7)
    assert db.execute("SELECT count(*) FROM trio_jobs.job").fetchone() == (0,)


async def test_a_schema_of_another_name(postgres_url: str) -> None:
    """Jobs are in the schema that is named, and its workers hear of them."""
    async with open_registry(f"{postgres_url}?schema=my%20jobs", handlers=[ship]) as jobs:
        with psycopg.connect(postgres_url) as db:
            job_id = submit_within(db, ship, 7, schema="my jobs")
            db.commit()
        with trio.fail_after(30):
            assert await (await jobs.get(job_id)).result() == "order 7 is on its way"


def test_with_asyncio(postgres_url: str) -> None:
    """A program that uses asyncio has the same, whatever rows its connection makes."""

    async def make() -> None:
        async with open_registry(postgres_url, handlers=[ship]):
            pass

    async def both() -> bool:
        connect: Any = psycopg.AsyncConnection.connect  # types of row factories are not told apart
        async with await connect(postgres_url, row_factory=dict_row) as db:
            with pytest.raises(TypeError, match="takes a psycopg.Connection"):
                submit_within(db, ship, 7)
            kept = await submit_within_async(db, ship, 7, key="k")
            await db.commit()
            await submit_within_async(db, ship, 8)
            await db.rollback()
            cursor = await db.execute("SELECT id FROM trio_jobs.job")
            return bool(await cursor.fetchall() == [{"id": kept}])

    trio.run(make)
    assert asyncio.run(both())
