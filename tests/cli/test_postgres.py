"""Every command takes a PostgreSQL address, and says what is wrong with one."""

from __future__ import annotations

import json
import signal
import sys

import pytest

from tests.cli.conftest import WAIT, Cli
from trio_jobs.cli import options
from trio_jobs.stores.postgres import opening

COMMANDS = [
    *(
        "list",
        "statistics",
        "check",
        "show 1",
        "stream 1",
        "cancel 1",
        "retry --all",
        "remove --all",
        "send 1 2",
    ),
    *("prune --older-than 1d", "pause add", "resume add", "limits list", "schedules list"),
]


@pytest.fixture
def there(cli: Cli, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database that all commands take, with a job that waits."""
    monkeypatch.setenv(options.STORE_VARIABLE, postgres_url)
    return cli.submit("add", "1", "2", "--tag", "user=7", "--owner", "ann")


def test_jobs_run_and_are_read(cli: Cli, there: str) -> None:
    """A worker runs what was submitted; list, show, stream, statistics and check read what it wrote."""
    worker = cli.start_worker("--log-level", "error")
    status, out, _ = cli("stream", there)
    assert (status, out) == (0, "1\n2\n")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(WAIT) == 128 + signal.SIGTERM
    shown = json.loads(cli("show", there[:8], "--json")[1])
    assert (shown["state"], shown["result"], shown["args"]) == ("completed", 3, [1, 2])
    assert [event["kind"] for event in shown["history"]] == ["submitted", "started", "completed"]
    assert cli("list")[1].splitlines()[1].split()[:3] == [there[:8], "completed", "add"]
    assert json.loads(cli("list", "--json", "--tag", "user=7")[1])["id"] == there
    found = json.loads(cli("statistics", "--json")[1])
    assert found["states"]["completed"] == found["jobs"] == 1
    assert found["bytes"] > 0
    assert cli("check") == (0, "1 jobs, no faults\n", "")


def test_jobs_are_changed(cli: Cli, there: str) -> None:
    """cancel, retry, pause, limits, remove and prune do there what they do in a file."""
    assert cli("pause", "add") == (0, "paused: add\n", "")
    assert "queued (paused)" in cli("list")[1]
    assert cli("resume", "--all") == (0, "nothing is paused\n", "")
    assert cli("cancel", there)[0] == 0
    assert cli("retry", "--state", "cancelled") == (0, "1 job submitted again\n", "")
    assert cli("cancel", "--state", "queued") == (0, "1 job told to stop\n", "")
    assert cli("limits", "set", "gpu", "--at-once", "2") == (0, "gpu\n", "")
    assert cli("limits", "list")[1].splitlines()[1].split() == ["gpu", "at_once=2", "0", "0", "pinned"]
    assert cli("remove", there) == (0, f"{there} removed\n", "")
    assert cli("prune", "--older-than", "1d") == (0, "0 jobs pruned\n", "")
    assert json.loads(cli("statistics", "--json")[1])["jobs"] == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_looks_makes_nothing(cli: Cli, postgres_url: str, command: str) -> None:
    """On a database without jobs it says so in one line, and how to begin."""
    status, out, err = cli(*command.split(), "--store", postgres_url)
    assert (status, out) == (1, "")
    assert err.startswith("trio-jobs: database test_")
    assert err.endswith("holds no jobs; name another, or start with 'trio-jobs submit'\n")


def test_a_command_that_looks_changes_no_schema(
    cli: Cli, there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a schema of an older version it says which command brings that up to date."""
    monkeypatch.setattr(opening, "VERSION", 2)
    status, out, err = cli("list")
    assert (status, out) == (1, "")
    assert err.endswith("has version 1 of the schema; 'trio-jobs migrate' brings it up to date\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://127.0.0.1:1/a?connect_timeout=2", "database a on 127.0.0.1"),
        ("postgresql://host/a?what=1", "--store: this is no address of PostgreSQL"),
        ("postgresql://host/a?schema=pg_x", "--store: schema takes a name"),
        ("postgresql://host/a?pooler=session", "--store: pooler must be one of"),
        ("postgresql://host/a?connect_timeout=x", "--store: this is no address of PostgreSQL"),
        ("postgresql://127.0.0.1:x/a", "database a on 127.0.0.1 cannot be opened: invalid integer value"),
    ],
)
def test_what_is_wrong_is_one_line(cli: Cli, url: str, says: str) -> None:
    """A server that is not there, and an address that is none, are no tracebacks."""
    status, out, err = cli("list", "--store", url)
    assert status in {1, 2}
    assert out == ""
    assert err.startswith(f"trio-jobs: {says}")
    assert err.count("\n") == 1
    assert "\\x" not in err


@pytest.mark.parametrize("command", ["list", "submit program add 1 2", "worker program", "serve program"])
def test_what_does_not_pass_is_one_line(cli: Cli, postgres_url: str, command: str) -> None:
    """A command on a database that does not exist says so, and how to make it."""
    status, out, err = cli(*command.split(), "--store", postgres_url + "_not")
    assert (status, out) == (1, "")
    assert err.startswith("trio-jobs: database test_")
    assert "does not exist; check its name, or create it with: createdb" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["list --store", "submit program add 1 2 --store", "migrate"])
def test_the_extra_is_asked_for(cli: Cli, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """Where the driver is not installed, a command says how to install it."""
    for name in [name for name in sys.modules if name.startswith("trio_jobs.stores.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    status, out, err = cli(*command.split(), "postgresql://host/a")
    assert (status, out) == (1, "")
    assert err.startswith("trio-jobs: PostgreSQL needs the extra: pip install 'trio-jobs[postgres]'")
    assert err.count("\n") == 1


def test_no_password_is_shown(cli: Cli, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker says where its jobs are, and not with which password it comes there."""
    monkeypatch.setenv(options.STORE_VARIABLE, postgres_url.replace("postgres@", "postgres:se:cret@"))
    worker = cli.start("worker", "program:handlers", "--name", "w", "--log-level", "error")
    assert worker.stderr is not None
    line = worker.stderr.readline()
    assert "se:cret" not in line
    assert "postgresql://postgres:***@127.0.0.1" in line
