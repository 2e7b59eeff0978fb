"""A file is read, and not changed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any, cast

import pytest

from trio_jobs import SchemaTooNew, StoreCorrupt
from trio_jobs.cli.faults import Fault
from trio_jobs.cli.opening import open_readonly
from trio_jobs.stores import Where

STORE = "sqlite:///jobs.db"


def change(sql: str, *values: Any) -> None:
    with closing(sqlite3.connect("jobs.db")) as db, db:
        db.execute(sql, values)


def with_ids(cli: Any, *ids: str) -> None:
    for job_id in ids:
        change("UPDATE trio_jobs_job SET id = ? WHERE id = ?", job_id, cli.submit("add", "1", "2"))


def test_an_id_may_be_cut_short_while_it_is_clear(cli: Any) -> None:
    """The beginning of one id stands for it; the beginning of several is refused with their names."""
    with_ids(cli, "abc1" + "0" * 28, "abc2" + "0" * 28, "b" + "0" * 31)
    with open_readonly(STORE) as seen:
        assert seen.resolve("b") == "b" + "0" * 31
        assert seen.resolve("abc1") == "abc1" + "0" * 28
        with pytest.raises(Fault, match=r"several jobs .*: abc10000, abc20000; write more"):
            seen.resolve("abc")


def test_an_id_that_another_begins_with_is_itself(cli: Any) -> None:
    """A whole id is never ambiguous."""
    with_ids(cli, "abc", "abcd")
    with open_readonly(STORE) as seen:
        assert seen.resolve("abc") == "abc"


def test_short_ids_are_long_enough(cli: Any) -> None:
    """The id in a table identifies its job, and has at least eight characters."""
    with_ids(cli, "a" * 20 + "b", "a" * 20 + "c", "d" * 32)
    with open_readonly(STORE) as seen:
        assert seen.short("a" * 20 + "b") == "a" * 20 + "b"
        assert seen.short("d" * 32) == "d" * 8
        for job in seen.newest(Where(), 10):
            assert seen.resolve(seen.short(job.id)) == job.id


def test_nothing_can_be_written(cli: Any) -> None:
    """The connection refuses to write."""
    cli.submit("add", "1", "2")
    with pytest.raises(Exception, match=r"readonly|read-only|attempt to write"), open_readonly(STORE) as seen:
        cast("Any", seen).ask("DELETE FROM trio_jobs_job")


def test_other_files_are_told_apart(cli: Any) -> None:
    """A newer schema, a file without jobs and a file that is not SQLite's have different errors."""
    cli.submit("add", "1", "2")
    change("UPDATE trio_jobs_meta SET value = 99 WHERE name = 'version'")
    with pytest.raises(SchemaTooNew), open_readonly(STORE):
        pass
    with closing(sqlite3.connect("empty.db")) as db, db:
        db.execute("CREATE TABLE other (x)")
    with pytest.raises(Fault, match="holds no jobs"), open_readonly("sqlite:///empty.db"):
        pass
    with pytest.raises(StoreCorrupt), open_readonly("sqlite:///program.py"):
        pass
