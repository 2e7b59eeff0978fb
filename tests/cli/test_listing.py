"""`trio-jobs list` and `trio-jobs statistics`: which jobs exist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import apsw
import pytest


def test_jobs_are_found_by_what_they_are(cli: Any) -> None:
    """Each filter selects the jobs that match; without any, all are listed, the newest last."""
    one = cli.submit("add", "1", "2", "--tag", "of=x", "--owner", "me")
    two = cli.submit("fail", "so")
    cli.work()
    three = cli.submit("add", "3", "4")

    def ids(*arguments: str) -> list[str]:
        return [json.loads(line)["id"] for line in cli("list", "--json", *arguments)[1].splitlines()]

    assert ids() == [one, two, three]
    assert ids("--limit", "2") == [two, three]
    assert ids("--state", "queued") == [three]
    assert ids("--state", "completed", "--state", "failed") == [one, two]
    assert ids("--handler", "add") == [one, three]
    assert ids("--tag", "of=x") == ids("--owner", "me") == [one]
    assert ids("--tag", "of=y") == []
    assert ids("--args-contain", "[1,") == [one]
    assert ids("--args-contain", "so", "--state", "queued") == []
    assert ids("--older-than", "0s") == [one, two]
    assert ids("--older-than", "0s", "--handler", "add") == [one]
    assert ids("--older-than", "1d") == ids("--older-than", "0s", "--state", "queued") == []


def test_a_table_in_a_pipe_is_plain_and_whole(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are no control codes, not even forced ones, and a detail is cut to one line."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    job_id = cli.submit("fail", "\x1b[31mlong\nend " + "x" * 500)
    cli.work()
    status, out, err = cli("list")
    assert (status, err) == (0, "")
    head, row = out.splitlines()
    assert head.split() == ["ID", "STATE", "HANDLER", "TRIES", "SUBMITTED", "DETAIL"]
    assert row.startswith(f"{job_id[:8]}  failed (error)  fail     1      ")
    assert r"ValueError: \x1b[31mlong\x0aend xxx" in row
    assert row.endswith("x" * (200 - len("ValueError: .[31mlong.end ")))


def test_it_says_when_there_are_more(cli: Any) -> None:
    """Standard error says that a list was cut, and how to get all of it."""
    for _ in range(3):
        cli.submit("add", "1", "2")
    assert cli("list", "--limit", "2")[2] == "the newest 2 of 3 jobs; for more: --limit 3\n"
    assert cli("list", "--limit", "3")[2] == ""


def test_jobs_are_counted_by_state(cli: Any) -> None:
    """Each state has its number, and the last row the sum."""
    cli.submit("add", "1", "2")
    cli.work()
    cli.submit("add", "1", "2")
    said = cli("statistics")
    assert cli("stats") == said
    rows = dict(line.split() for line in said[1].splitlines())
    assert (rows["queued"], rows["completed"], rows["failed"], rows["all"]) == ("1", "1", "0", "2")
    told = json.loads(cli("statistics", "--json")[1])
    assert (told["states"]["completed"], told["jobs"]) == (1, 2)


def test_the_log_of_writes_counts(cli: Any, tmp_path: Path) -> None:
    """The size of an open file includes the files beside it."""
    cli.submit("add", "1", "2")
    path = tmp_path / "jobs.db"
    alone = json.loads(cli("statistics", "--json")[1])["bytes"]
    assert alone == path.stat().st_size
    db = apsw.Connection(str(path))
    db.execute("CREATE TABLE mine (x)")
    db.execute("INSERT INTO mine VALUES (zeroblob(100000))")
    both = json.loads(cli("statistics", "--json")[1])["bytes"]
    assert both == path.stat().st_size + path.with_name(f"{path.name}-wal").stat().st_size > alone + 100_000
    db.close()


@pytest.mark.parametrize(
    "command", ["list", "statistics", "check", "show 1", "stream 1", "cancel 1", "prune --older-than 1d"]
)
def test_looking_creates_no_file(cli: Any, command: str) -> None:
    """Each command that needs a file fails without one, says so, and creates none."""
    status, out, err = cli(*command.split())
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "there is no file" in err
    assert not (cli.folder / "jobs.db").exists()


def test_the_store_comes_from_the_environment(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRIO_JOBS_STORE names the file, unless --store does."""
    monkeypatch.setenv("TRIO_JOBS_STORE", "sqlite:///other.db")
    job_id = cli.submit("add", "1", "2")
    assert (cli.folder / "other.db").exists()
    assert job_id[:8] in cli("list", "--store", "sqlite:///other.db")[1]
    assert "jobs.db" in cli("list", "--store", "sqlite:///jobs.db")[2]


def test_bad_filters_are_refused(cli: Any) -> None:
    """An unknown state, and a limit below one, are refused."""
    cli.submit("add", "1", "2")
    for arguments in (["--state", "lost"], ["--limit", "0"], ["--limit", "many"], ["--tag", "x"]):
        status, _, err = cli("list", *arguments)
        assert (status, err.count("\n")) == (2, 1)
        assert arguments[0] in err
