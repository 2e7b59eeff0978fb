"""Jobs of a file come into a PostgreSQL database as they are, all or none."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from typing import Any

import psycopg
import pytest

from tests.cli.conftest import WAIT, Cli


def query(url: str, sql: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as db:
        done = db.execute(sql.encode())
        return done.fetchall() if done.description else []


def change(sql: str, *values: str) -> None:
    with closing(sqlite3.connect("jobs.db")) as db, db:
        db.execute(sql, values)


@pytest.fixture
def full(cli: Cli) -> list[str]:
    """A file with jobs that wait, have ended, wait for an input and are due later, limits and pauses."""
    ids = [cli.submit("add", "1", "2", "--tag", "user=7", "--owner", "ann", "--key", "k")]
    ids += [cli.submit("fail", "näh\u2028"), cli.submit("ask")]
    cli.work_until_waiting(ids[2])
    ids += [cli.submit("add", "3", "4", "--delay", "1h", "--priority", "high", "--exclusive", "x")]
    assert cli("send", ids[2], "7")[0] == 0
    assert cli("limits", "set", "report", "--at-once", "3", "--per-second", "0.5")[0] == 0
    assert cli("pause", "fail")[0] == 0
    assert cli("schedules", "add", "program", "add", "1", "1", "--every", "1d", "--name", "daily")[0] == 0
    return ids


def told(cli: Cli, job_id: str, store: str) -> dict[str, Any]:
    status, out, err = cli("show", job_id, "--json", "--store", store)
    assert (status, err) == (0, "")
    return dict(json.loads(out))


def test_all_that_a_file_holds_is_copied(cli: Cli, full: list[str], postgres_url: str) -> None:
    """Each job with its arguments, options and history, limits, pauses and schedules are the same there."""
    status, out, err = cli("copy", "sqlite:///jobs.db", postgres_url)
    assert (status, err) == (0, "")
    assert out.startswith("4 jobs with ")
    for job_id in full:
        assert told(cli, job_id, postgres_url) == told(cli, job_id, "sqlite:///jobs.db")
    for command in (("limits", "list"), ("schedules", "list"), ("statistics",), ("list", "--tag", "user=7")):
        here, there = (cli(*command, "--json", "--store", one) for one in ("sqlite:///jobs.db", postgres_url))
        assert sizeless(here) == sizeless(there)
    assert cli("check", "--store", postgres_url) == (0, "4 jobs, no faults\n", "")


def sizeless(ran: tuple[int, str, str]) -> list[Any]:
    assert ran[0] == 0
    return [{**json.loads(one), "bytes": 0} for one in ran[1].splitlines()]


def test_jobs_go_on_in_the_database(cli: Cli, full: list[str], postgres_url: str) -> None:
    """New jobs get numbers behind those that were copied, and a key that was used there is known here."""
    cli("copy", "sqlite:///jobs.db", postgres_url)
    again = cli("submit", "program", "add", "1", "2", "--owner", "ann", "--key", "k", "--tag", "user=7",
                "--store", postgres_url)  # fmt: skip
    assert again == (0, full[0] + "\n", "")
    assert cli("submit", "program", "add", "5", "6", "--store", postgres_url)[0] == 0
    assert [*query(postgres_url, "SELECT number FROM trio_jobs.job ORDER BY 1")][-1] == (5,)


def test_only_into_an_empty_database(cli: Cli, full: list[str], postgres_url: str) -> None:
    """A database that has jobs is refused, and has none of the file's then."""
    cli("submit", "program", "add", "1", "2", "--store", postgres_url)
    status, out, err = cli("copy", "sqlite:///jobs.db", postgres_url)
    assert (status, out) == (1, "")
    assert err == "trio-jobs: the database has a job already; copy into one that holds nothing\n"
    assert query(postgres_url, "SELECT count(*) FROM trio_jobs.job") == [(1,)]


def test_not_while_a_program_has_the_file_open(cli: Cli, postgres_url: str) -> None:
    """An idle worker is enough to refuse it, and a file that nobody has open may hold no live lease."""
    cli.submit("add", "1", "2")
    worker = cli.start_worker()
    status, _, err = cli("copy", "sqlite:///jobs.db", postgres_url)
    assert status == 1
    assert "jobs.db is open elsewhere; stop the workers and servers that use it first" in err
    worker.kill()
    worker.wait()
    change("UPDATE trio_jobs_job SET state = 'running', finished = NULL, lease = 9e9")
    status, _, err = cli("copy", "sqlite:///jobs.db", postgres_url)
    assert (status, err) == (
        2,
        "trio-jobs: 1 jobs run, or their workers died just now; wait until their leases are over\n",
    )


def test_what_cannot_be_held_leaves_nothing_behind(cli: Cli, full: list[str], postgres_url: str) -> None:
    """A text with U+0000, which a damaged file may hold, is named, and no job is copied."""
    change("UPDATE trio_jobs_job SET message = 'a' || char(0) WHERE id = ?", full[1])
    status, out, err = cli("copy", "sqlite:///jobs.db", postgres_url)
    assert (status, out) == (1, "")
    assert err.startswith("trio-jobs: job 2 has what PostgreSQL cannot hold: ")
    assert query(postgres_url, "SELECT count(*) FROM trio_jobs.job") == [(0,)]


def test_a_copy_that_was_killed_leaves_nothing_behind(cli: Cli, full: list[str], postgres_url: str) -> None:
    """Killed when jobs and logs were written, it has copied none of them, and the next one copies all."""
    assert cli("migrate", postgres_url)[0] == 0
    midway = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'COPY%tag%'"
    with psycopg.connect(postgres_url) as other:
        other.execute("LOCK TABLE trio_jobs.tag IN EXCLUSIVE MODE")
        killed = cli.start("copy", "sqlite:///jobs.db", postgres_url)
        until = time.monotonic() + WAIT
        while query(postgres_url, f"{midway} AND datname = current_database()") != [(1,)]:
            assert killed.poll() is None, killed.communicate()
            assert time.monotonic() < until
        killed.kill()
        killed.wait(WAIT)
    assert cli("list", "--json", "--store", postgres_url) == (0, "", "")
    assert cli("check", "--store", postgres_url) == (0, "0 jobs, no faults\n", "")
    status, out, err = cli("copy", "sqlite:///jobs.db", postgres_url)
    assert (status, err) == (0, "")
    assert out.startswith("4 jobs with ")
    assert [told(cli, one, postgres_url) for one in full] == [
        told(cli, one, "sqlite:///jobs.db") for one in full
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("sqlite:///jobs.db", "sqlite:///b.db"),
        ("postgresql:///a", "postgresql:///b"),
        ("memory://", "memory://"),
    ],
)
def test_only_from_a_file_to_a_database(cli: Cli, arguments: tuple[str, str]) -> None:
    """Other pairs are refused with the form that is right."""
    status, _, err = cli("copy", *arguments)
    assert status == 2
    assert "copy takes a file and a database: copy sqlite:///jobs.db postgresql://host/database" in err


def test_what_runs_gets_a_new_claim(cli: Cli, full: list[str], postgres_url: str) -> None:
    """A running job whose lease is over is copied as running, under a claim id that no worker knows."""
    change(
        "UPDATE trio_jobs_job SET state = 'running', started = created, attempt = 1, lease = 1, "
        "claim = 'old' WHERE id = ?",
        full[3],
    )
    assert cli("copy", "sqlite:///jobs.db", postgres_url)[0] == 0
    ((state, claim),) = query(postgres_url, "SELECT state, claim FROM trio_jobs.job WHERE number = 4")
    assert state == "running"
    assert claim != "old"
    assert len(claim) == 32


def test_a_plan_is_printed_and_followed(cli: Cli, postgres_url: str) -> None:
    """What --plan prints is SQL that makes the schema; then there is nothing to do."""
    status, sql, _ = cli("migrate", postgres_url, "--plan")
    assert status == 0
    assert query(postgres_url, "SELECT to_regclass('trio_jobs.job')") == [(None,)]
    query(postgres_url, sql)
    assert cli("migrate", postgres_url) == (0, "it has this version already\n", "")
    assert cli("submit", "program", "add", "1", "2", "--store", postgres_url)[0] == 0


def test_migrate_makes_the_schema(cli: Cli, postgres_url: str) -> None:
    """Without --plan it is made, once."""
    assert cli("list", "--store", postgres_url)[0] == 1
    assert cli("migrate", postgres_url) == (0, "it has this version now\n", "")
    assert cli("migrate", postgres_url) == (0, "it has this version already\n", "")
    assert cli("list", "--store", postgres_url)[0] == 0
    assert cli("migrate", "sqlite:///jobs.db")[0] == 2


@pytest.mark.parametrize("plan", [[], ["--plan"]])
def test_migrate_leaves_a_newer_schema_alone(cli: Cli, postgres_url: str, plan: list[str]) -> None:
    """A schema of a newer version, with which this one may not work, is told as such."""
    cli("migrate", postgres_url)
    query(postgres_url, "UPDATE trio_jobs.meta SET value = 99")
    status, out, err = cli("migrate", postgres_url, *plan)
    assert (status, out) == (1, "")
    assert err.endswith("has version 99 of the schema, and this trio_jobs knows 1; upgrade trio_jobs\n")


@pytest.mark.parametrize("plan", [[], ["--plan"]])
def test_migrate_plans_nothing_that_cannot_be_done(cli: Cli, postgres_url: str, plan: list[str]) -> None:
    """A database that can hold no store gets neither a schema nor a plan, but a line on what to change."""
    name = postgres_url.rpartition("/")[2]
    query(postgres_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    status, out, err = cli("migrate", postgres_url, *plan)
    assert (status, out) == (1, "")
    assert err.endswith("switch default_transaction_read_only off for this role or database\n")
    assert err.count("\n") == 1
