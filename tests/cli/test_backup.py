"""`trio-jobs backup` copies a file of jobs while programs use it, and the copy goes on in its place."""

from __future__ import annotations

import resource
import stat
from pathlib import Path

import pytest

from tests.cli.conftest import Cli


@pytest.mark.deep
def test_a_copy_made_while_a_worker_runs_goes_on_in_place_of_the_file(cli: Cli) -> None:
    """The copy is sound, has what was written last, and is its owner's alone; put back, it is worked on."""
    cli.submit("add", "1", "2")
    cli.work()
    worker = cli.start_worker()
    running = cli.start_job("endless")
    waiting = cli.submit("add", "3", "4", "--delay", "1d")
    status, out, err = cli("backup", "copy.db")
    copy = Path("copy.db")
    assert (status, out, err) == (0, f"{copy.stat().st_size} bytes copied to copy.db\n", "")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    late = cli.submit("add", "5", "6")
    worker.kill()
    worker.wait()
    for name in ("jobs.db-wal", "jobs.db-shm"):
        Path(name).unlink()
    copy.rename("jobs.db")
    assert cli("check") == (0, "3 jobs, no faults\n", "")
    assert f'"id": "{running}"' in cli("list", "--state", "running", "--json")[1]
    assert late[:8] not in cli("list")[1]
    assert cli("cancel", waiting)[0] == 0
    again = cli.submit("add", "7", "8")
    cli.start_worker()
    assert cli("stream", again)[:2] == (0, "7\n8\n")


def test_a_file_that_is_there_is_not_written_over(cli: Cli) -> None:
    """The copy of yesterday stays as it is, and the error says what to do."""
    cli.submit("add", "1", "2")
    Path("copy.db").write_text("yesterday", encoding="utf-8")
    status, out, err = cli("backup", "copy.db")
    assert (status, out) == (1, "")
    assert "copy.db is there already; give another name" in err
    assert Path("copy.db").read_text(encoding="utf-8") == "yesterday"


def test_a_disk_that_is_full_leaves_no_half_copy(cli: Cli) -> None:
    """If the copy cannot be written to its end, one line says so and nothing is left of it."""
    cli.submit("add", "1", "2")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        status, out, err = cli("backup", "copy.db")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "copy.db: " in err
    assert [*Path().glob("copy.db*")] == []


def test_a_database_has_programs_of_its_own(cli: Cli) -> None:
    """Of PostgreSQL it names pg_dump."""
    status, _, err = cli("backup", "copy.db", "--store", "postgresql://nowhere/jobs")
    assert status == 2
    assert "pg_dump -n trio_jobs" in err
