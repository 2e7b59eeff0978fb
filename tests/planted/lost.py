"""Bugs of stores that have lost their last writes, as after a fail-over to a standby that lacked them."""

from __future__ import annotations

from tests.planted.bug import Bug

LOST = [
    Bug(
        "a database that lost tokens takes those behind them",
        "a stream has a hole that nothing tells of",
        "stores/postgres/sql/append.sql",
        "AND call.begin <= job.appended AND",
        "AND",
        "postgres",
    ),
    Bug(
        "a database that lost tokens lets their attempt complete",
        "a job completes without its last tokens",
        "stores/postgres/sql/finish.sql",
        "(outcome ->> 'appended')::bigint > job.appended OR",
        "",
        "postgres",
    ),
    Bug(
        "a database that lost an input lets it be consumed",
        "the input that came in its place is never received",
        "stores/postgres/sql/append.sql",
        " AND coalesce(call.received, 0) <= job.last_input",
        "",
        "postgres",
    ),
    Bug(
        "a file that lost tokens takes those behind them",
        "a stream has a hole that nothing tells of",
        "stores/sqlite/looking.py",
        "if job is None or appended > job.appended or",
        "if job is None or",
        "file",
    ),
    Bug(
        "who follows a log that was cut off waits for it to grow again",
        "a reader stands still, and then gets what does not follow on",
        "stores/waits.py",
        "                check_cursor(job_id, after, seq)\n",
        "",
        "file",
    ),
]
