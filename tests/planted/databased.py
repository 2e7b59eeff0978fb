"""Bugs of the store in a PostgreSQL database."""

from __future__ import annotations

from tests.planted.bug import Bug

SQL = "stores/postgres/sql/"

DATABASED = [
    Bug(
        "any attempt may append in a database",
        "a worker whose attempt was reclaimed writes into the next attempt's log",
        f"{SQL}append.sql",
        "AND job.state = 'running' AND job.attempt = call.attempt\n",
        "AND job.state = 'running'\n",
        "postgres",
    ),
    Bug(
        "a heartbeat in a database renews all of its worker",
        "a job whose worker has lost it without knowing is never taken back",
        f"{SQL}leases.sql",
        "AND job.leased_by = mine AND job.number <> ALL (leased);",
        "AND false;",
        "postgres",
    ),
    Bug(
        "a heartbeat in a database renews nothing",
        "jobs of healthy workers are reclaimed and run twice",
        f"{SQL}leases.sql",
        "SET until = lapses WHERE one.number = mine",
        "SET until = before WHERE one.number = mine",
        "postgres",
    ),
]
