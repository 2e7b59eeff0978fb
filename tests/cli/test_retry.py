"""`trio-jobs retry` submits what has ended again."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from typing import Any

import trio

import trio_jobs
from tests.cli.conftest import Cli


def test_retry(cli: Cli) -> None:
    """A job that has ended is submitted again, as a job that the program runs; no code of it is loaded."""
    job_id = cli.submit("fail", "no", "--tag", "user=7", "--retry", "1")
    other = cli.submit("add", "1", "2")
    assert cli("retry", job_id) == (
        1,
        "",
        "trio-jobs: a job that is queued cannot be submitted again; wait for its end, or cancel it\n",
    )
    cli.work()
    status, out, err = cli("retry", job_id[:10], other, job_id)
    assert (status, err) == (0, "")
    (first, second) = out.splitlines()
    assert first.startswith(f"{job_id} submitted again as ")
    assert second.startswith(f"{other} submitted again as ")
    cli.work()
    again = json.loads(cli("show", first.split()[-1], "--json")[1])
    assert (again["state"], again["tags"], again["args"]) == ("failed", {"user": "7"}, ["no"])
    assert again["resubmitted_from"] == job_id
    assert f"again from  {other}" in cli("show", second.split()[-1])[1]
    line = json.loads(cli("retry", other, "--json")[1])
    assert line["id"] == other
    assert json.loads(cli("show", line["resubmitted_as"], "--json")[1])["resubmitted_from"] == other


def test_what_is_kept_is_copied(cli: Cli) -> None:
    """What the file keeps of arguments and options is copied as it is, with no handler there to read it."""

    @trio_jobs.handler(retry=trio_jobs.Retry(3, initial=0.5, on=OSError))
    async def picky(job: Any, when: datetime, sizes: dict[int, float], *more: bytes) -> None: ...

    async def cancelled(**options: Any) -> str:
        async with trio_jobs.open_registry("sqlite:///jobs.db", handlers=[picky], capacity=0) as jobs:
            args = datetime(2026, 1, 1, tzinfo=UTC), {10**20: 1.0}, b"x"
            handle = await jobs.submit(picky, *args, **options)
            await handle.cancel()
            return handle.id

    for options in ({}, {"metadata": {"a": [1.0, None]}, "timeout": 5, "exclusive": "x", "on_busy": "after"}):
        first = trio.run(partial(cancelled, **options))
        again = cli("retry", first)[1].split()[-1]
        with closing(sqlite3.connect("jobs.db")) as db:
            query = (
                "SELECT handler, args, options, metadata, exclusive, attempts FROM trio_jobs_job WHERE id = ?"
            )
            before, after = (db.execute(query, [job_id]).fetchone() for job_id in (first, again))
        assert after == before


def test_an_id_that_is_none(cli: Cli) -> None:
    """An id that no job has is told."""
    cli.submit("add", "1", "2")
    assert cli("retry", "zz")[0] == 2
