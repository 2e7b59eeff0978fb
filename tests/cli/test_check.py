"""`trio-jobs check` finds each kind of damage, and none in a sound file."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest


def change(*statements: str) -> None:
    with closing(sqlite3.connect("jobs.db")) as db, db:
        for sql in statements:
            db.execute(sql)


def some_jobs(cli: Any) -> None:
    cli.submit("add", "1", "2")
    cli.submit("fail", "so", "--retry", "1")
    cli.work()
    cli.submit("add", "3", "4")


def test_a_sound_file_has_no_faults(cli: Any) -> None:
    """Waiting, failed and completed jobs agree with their logs."""
    some_jobs(cli)
    assert cli("check") == (0, "3 jobs, no faults\n", "")
    assert cli("check", "--json") == (0, "", "")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            "UPDATE trio_jobs_job SET attempt = 7 WHERE handler = 'fail'",
            "attempt is 7 in the job, 1 by its log",
        ),
        (
            "UPDATE trio_jobs_total SET jobs = 9 WHERE what = 'all' AND state = 'failed'",
            "9 jobs are said to be failed, and 1 are",
        ),
        (
            "DELETE FROM trio_jobs_total WHERE what = 'handler' AND state = 'failed'",
            "0 jobs of handler 'fail' are said to be failed, and 1 are",
        ),
        ("DELETE FROM trio_jobs_event WHERE kind = 'submitted' AND id >> 32 = 1", "is no beginning"),
        (
            "DELETE FROM trio_jobs_event WHERE kind = 'started' AND id >> 32 = 1",
            "was written by another attempt",
        ),
        ("UPDATE trio_jobs_event SET data = '[' WHERE id >> 32 = 2", "it cannot be read"),
        ("UPDATE trio_jobs_event SET id = id + (77 << 32) WHERE id >> 32 = 2", "a log of job number 79"),
        ("UPDATE trio_jobs_job SET kept = 5 WHERE number = 1", "5 tokens and progress events are said"),
        ("UPDATE trio_jobs_job SET state = 'running' WHERE number = 3", "has no lease"),
        ("UPDATE trio_jobs_job SET seq = 9 WHERE number = 3", "last_seq is 9"),
    ],
)
def test_damage_is_found(cli: Any, damage: str, said: str) -> None:
    """Each kind of damage is reported, and the status is 1."""
    some_jobs(cli)
    change(damage)
    status, out, err = cli("check")
    assert (status, err) == (1, "")
    assert said in out
    assert "no faults" not in out
    told = [json.loads(line) for line in cli("check", "--json")[1].splitlines()]
    assert any(said in flaw["text"] for flaw in told)


def test_what_retention_dropped_is_no_damage(cli: Any) -> None:
    """Tokens that retention dropped are no damage."""
    cli.submit("fail", "so", "--retry", "1")
    cli.work()
    change("DELETE FROM trio_jobs_event WHERE kind = 'token'", "UPDATE trio_jobs_job SET kept = 0")
    assert cli("check") == (0, "1 jobs, no faults\n", "")


def test_damage_of_the_file_itself_is_told(cli: Any) -> None:
    """SQLite's own message about the file is reported, or that the file is damaged."""
    some_jobs(cli)
    with closing(sqlite3.connect("jobs.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = cli.folder / "jobs.db"
    data = bytearray(path.read_bytes())
    data[4096 * 2 : 4096 * 2 + 200] = b"\xff" * 200
    path.write_bytes(data)
    status, out, err = cli("check")
    assert status == 1
    assert "file: " in out or "damaged" in err


def test_inputs_and_what_retention_dropped_of_them_are_no_damage(cli: Any) -> None:
    """A wait and its inputs agree with the log, and of consumed inputs the oldest may be gone."""
    job_id = cli.submit("ask")
    cli.work_until_waiting(job_id)
    for value in ("1", "2", "3"):
        cli("send", job_id, value)
    assert cli("check") == (0, "1 jobs, no faults\n", "")
    cli("send", job_id, "--end")
    cli.work()
    assert cli("check") == (0, "1 jobs, no faults\n", "")
    change("DELETE FROM trio_jobs_event WHERE kind = 'input' AND id & 0xffffffff = 4")
    assert "are said to be kept, and 2 are" in cli("check")[1]
    change("UPDATE trio_jobs_job SET kept = 2")
    assert cli("check") == (0, "1 jobs, no faults\n", "")
