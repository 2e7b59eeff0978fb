"""`--url`: the commands speak to a server as they do to a file, and say what a server does not do."""

from __future__ import annotations

import json
import re
import socket
from contextlib import closing
from typing import Any

import pytest


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.deep
def test_every_command_about_jobs_speaks_to_a_server(cli: Any) -> None:
    """What is submitted, listed, shown, read, sent, cancelled, retried and removed is the server's.

    Each answer is beside that of the same command on the server's file, so a difference is a fault.
    """
    _, url = cli.start_server()
    at = ("--url", url)
    assert cli("submit", "-", "add", "1", "2", "--wait", *at)[1].splitlines()[1:] == ["3"]
    status, out, _ = cli("submit", "program", "fail", "no", *at)
    failed = out.strip()
    assert (status, len(failed)) == (0, 32)
    assert cli("stream", failed, *at)[:2] == (1, "no\n")
    listed = [cli("list", "--json", *where) for where in (at, ())]
    assert listed[0] == listed[1]
    tables = [cli("list", "--state", "failed", *where)[1] for where in (at, ())]
    # An age is another at each look, and so is the width of its column.
    here, there = (re.sub(r" +", " ", re.sub(r"\S+ ago", "", table)) for table in tables)
    assert here == there
    chosen = [json.loads(cli("list", "--args-contain", '"no"', "--json", *where)[1]) for where in (at, ())]
    assert [one["id"] for one in chosen] == [failed, failed]
    assert "the newest 1 of 2 jobs" in cli("list", "--limit", "1", *at)[2]

    shown = cli("show", failed[:10], *at)[1]
    assert "ValueError: no" in shown
    ours, theirs = (json.loads(cli("show", failed, "--json", *where)[1]) for where in (at, ()))
    assert ours["args"] == ["no"]
    for one in (ours, theirs):  # this server does not tell tracebacks
        one["error"].pop("traceback")
        kinds = [event["kind"] for event in one.pop("history")]
        assert kinds == ["submitted", "started", "failed"]
    assert ours == theirs

    assert cli("retry", "--handler", "fail", "--dry-run", *at)[1] == "1 job would be submitted again\n"
    again = cli("retry", failed, "--json", *at)[1]
    assert cli("stream", json.loads(again)["resubmitted_as"], *at)[:2] == (1, "no\n")

    asks = cli("submit", "-", "ask", *at)[1].strip()
    assert cli("send", asks, "true", *at)[0] == cli("send", asks, "--end", *at)[0] == 0
    assert cli("stream", asks, *at)[0] == 0
    endless = cli("submit", "-", "endless", *at)[1].strip()
    assert cli("cancel", endless, *at) == (0, f"{endless} cancelled\n", "")

    counts = [json.loads(cli("statistics", "--json", *where)[1]) for where in (at, ())]
    assert counts[0].pop("bytes") is None
    assert counts[1].pop("bytes") > 0
    assert counts[0] == counts[1]
    assert cli("prune", "--older-than", "0", *at)[1] == f"{counts[0]['jobs']} jobs pruned\n"
    assert cli("list", "--json", *at)[1] == ""


@pytest.mark.deep
@pytest.mark.parametrize("address", ["sqlite:///jobs.db", "postgresql"])
def test_what_a_job_does_elsewhere_is_explained(
    cli: Any, address: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`explain --url` shows the stacks of a job that runs in the server's process, but of one that runs in
    another worker's, or without `--tracebacks`, none; the store itself knows of no stacks."""
    store = request.getfixturevalue("postgres_url") if address == "postgresql" else address
    monkeypatch.setenv("TRIO_JOBS_STORE", store)
    cli.submit("add", "1", "2")  # which makes the database, before others open it
    _, url = cli.start_server("--tracebacks", "--capacity", "1", "--log-level", "error")
    job_id = cli.start_job("endless")
    out = cli("explain", job_id[:10], "--url", url)[1]
    assert out.startswith(f"job {job_id} (endless): running\n  worker: w\n  attempt 1 runs in this process")
    assert "await trio.sleep_forever()\n" in out
    waits = cli.submit("endless")
    out = cli("explain", waits, "--url", url)[1]
    assert f"all slots of this registry are taken, 1, by\n    endless {job_id}\n" in out
    assert f"  the newest of endless that has started is {job_id}, at 20" in out

    _, other = cli.start_server("--capacity", "0", "--log-level", "error")
    out = cli("explain", job_id, "--url", other)[1]
    assert out.splitlines()[1:] == [
        "  worker: w",
        "  it does not run in this process, w, which cannot look into it",
    ]
    assert "sleep_forever" not in cli("explain", job_id)[1]
    spare = cli.submit("stubborn")
    assert "  none of stubborn that is kept has ever started" in cli("explain", spare)[1]


@pytest.mark.deep
def test_pauses_and_schedules_of_a_server(cli: Any) -> None:
    """A handler is paused and resumed over a server; its schedules are listed, paused and triggered."""
    _, url = cli.start_server()
    at = ("--url", url)
    assert cli("pause", "add", *at) == (0, "paused: add\n", "")
    held = cli("submit", "-", "add", "1", "2", *at)[1].strip()
    assert f"{held[:8]}  queued (paused)  add" in cli("list", *at)[1]
    assert cli("resume", "--all", *at) == (0, "nothing is paused\n", "")
    assert cli("stream", held, *at)[0] == 0
    cli("schedules", "add", "program", "add", "1", "2", "--every", "1h")
    listed = [cli("schedules", "list", *where)[1] for where in (at, ())]
    assert listed[0] == listed[1]
    assert cli("schedules", "pause", "add", *at)[0] == 0
    assert "(paused)" in cli("schedules", "list")[1]
    job = cli("schedules", "trigger", "-", "add", *at)[1].strip()
    assert cli("stream", job, *at)[:2] == (0, "1\n2\n")


@pytest.mark.deep
def test_a_schedule_is_added_and_removed_at_a_server(cli: Any) -> None:
    """`add` with the handlers of the server, or with those here, keeps what it keeps in a file."""
    _, url = cli.start_server()
    at = ("--url", url)
    given = ("add", "1", "2", "--priority", "low", "--exclusive", "x", "--tag", "a=b", "--owner", "me")
    assert cli("schedules", "add", "program", *given, "--name", "a", "--every", "1h") == (0, "a\n", "")
    assert cli("schedules", "add", "-", *given, "--name", "b", "--every", "1h", *at) == (0, "b\n", "")
    assert cli("schedules", "add", "program", *given, "--name", "c", "--every", "1h", *at) == (0, "c\n", "")
    jobs = list[Any]()
    for name in "abc":
        job_id = cli("schedules", "trigger", "-", name, *at)[1].strip()
        assert f"submitted by schedule '{name}', as its tag says" in cli("explain", job_id, *at)[1]
        jobs.append(json.loads(cli("show", job_id, "--json")[1]))
        cli("stream", job_id)
    told = ("args", "handler", "priority", "exclusive", "owner", "retry", "timeouts")
    assert len({json.dumps([job[name] for name in told]) for job in jobs}) == 1
    assert [job["tags"] for job in jobs] == [{"schedule": name, "a": "b"} for name in "abc"]
    assert cli("schedules", "remove", "b", *at) == (0, "", "")
    assert [row.split()[0] for row in cli("schedules", "list", *at)[1].splitlines()[1:]] == ["a", "c"]
    for told_, *command in (
        ("no schedule has the name 'b'", "remove", "b"),
        ("no handler 'nobody'", "add", "-", "nobody", "--every", "1h"),
        ("it takes 2 to 2 now, and was given 1", "add", "-", "add", "1", "--every", "1h"),
        ("add has no keyed limit", "add", "-", "add", "1", "2", "--every", "1h", "--limit-key", "x"),
        ("got neither", "add", "-", "add", "1", "2"),
        ("has no handler 'nobody'", "add", "program", "nobody", "--every", "1h"),
    ):
        status, out, err = cli("schedules", *command, *at)
        assert (status, out, err.count("\n")) == (2, "", 1), err
        assert told_ in err


@pytest.mark.deep
def test_limits_of_a_server(cli: Any) -> None:
    """Limits of a server are listed, set and unset, also keyed ones, as those of its file."""
    with (cli.folder / "program.py").open("a") as program:
        program.write("one_each = trio_jobs.Limit(at_once=1, keyed=True)\n")
        program.write("alone = trio_jobs.handler(name='alone', limits=['gpu', one_each])(endless)\n")
        program.write("handlers.append(alone)\nlimits = {'gpu': trio_jobs.Limit(at_once=4)}\n")
    _, url = cli.start_server()
    at = ("--url", url)
    for changes, said in (
        (("set", "gpu", "--at-once", "2", "--per-second", "0.5"), "gpu\n"),
        (("set", "alone[1]", "--at-once", "3", "--waiting", "7"), "alone[1]\n"),
        (("unset", "gpu"), ""),
    ):
        assert cli("limits", *changes, *at) == (0, said, "")
        listed = [
            cli("limits", "list", *options, *where) for options in ((), ("--json",)) for where in (at, ())
        ]
        assert listed[0] == listed[1]
        assert listed[2] == listed[3]
    rows = [row.split() for row in listed[0][1].splitlines()[1:]]
    assert rows == [
        ["alone[1]", "at_once=3", "waiting=7", "keyed", "0", "0", "pinned"],
        ["gpu", "at_once=2", "per_second=0.5", "0", "0"],
    ]
    for told, *command in (
        ("no limit is pinned whose name is 'gpu'", "unset", "gpu"),
        ("a Limit needs at_once, per_second or waiting", "set", "gpu"),
        ("'x]'", "set", "x]", "--at-once", "1"),
    ):
        status, out, err = cli("limits", *command, *at)
        assert (status, out, err.count("\n")) == (2, "", 1), err
        assert told in err


def test_the_variable_names_a_server_too(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`TRIO_JOBS_STORE` may be a server, and Ctrl-C's hint in `stream` is of the address that is used."""
    _, url = cli.start_server()
    monkeypatch.setenv("TRIO_JOBS_STORE", url)
    assert cli("submit", "-", "add", "1", "2", "--wait")[1].endswith("\n3\n")
    assert "a server does not do this" in cli("check")[2]


def test_a_token_is_taken_from_the_environment(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that asks for a token gets the variable's; without one, the error names the variable.

    An owner sees its own jobs, in `list` and `statistics`, and is told that pauses are not for it.
    """
    tokens = cli.folder / "tokens"
    tokens.write_text("alice alice-0123456789abcdef\n* root-0123456789abcdef\n")
    tokens.chmod(0o600)
    _, url = cli.start_server("--token-file", str(tokens))
    at = ("--url", url)
    status, out, err = cli("list", *at)
    assert (status, out) == (1, "")
    assert "TRIO_JOBS_TOKEN" in err
    assert err.count("\n") == 1
    monkeypatch.setenv("TRIO_JOBS_TOKEN", "root-0123456789abcdef")
    assert cli("submit", "-", "add", "3", "4", "--wait", *at)[1].endswith("\n7\n")
    monkeypatch.setenv("TRIO_JOBS_TOKEN", "alice-0123456789abcdef")
    assert cli("submit", "-", "add", "1", "2", "--wait", *at)[1].endswith("\n3\n")
    assert len(cli("list", "--json", *at)[1].splitlines()) == 1
    assert json.loads(cli("statistics", "--json", *at)[1])["states"]["completed"] == 1
    assert json.loads(cli("top", "--json", "--count", "1", *at)[1])["states"]["completed"] == 1
    status, _, err = cli("pause", "add", *at)
    assert status == 1
    assert "forbidden" in err


def test_what_a_server_does_not_do_is_said(cli: Any) -> None:
    """It is one line, and names what to do; the status is that of what was typed wrong."""
    url = cli.start_server()[1]
    for told, *command in (
        ("works on the store itself; name that with --store, as sqlite:///jobs.db", "check", "--store"),
        ("works on the store itself; name that with --store, as sqlite:///jobs.db", "check", "--url"),
        ("works on the store itself; name that with --store", "worker", "program", "--store"),
        ("as in: trio-jobs migrate postgresql://host/database", "migrate", "--url"),
        ("as in: trio-jobs copy sqlite:///jobs.db postgresql://host/database", "copy", "--url"),
        ("leave --owner out", "list", "--owner", "alice", "--url"),
        ("leave --owner out", "cancel", "--owner", "alice", "--url"),
        ("none by its id", "remove", "3f0c", "--url"),
        ("no job has an id", "show", "3f0c", "--url"),
        ("no handler", "submit", "-", "nobody", "--url"),
        ("no module 'add', neither", "submit", "add", "1", "2", "--url"),
        ("; - stands for the handlers of the server", "submit", "add", "1", "2", "--url"),
        ("; - stands for the handlers of the server", "schedules", "trigger", "program:no", "x", "--url"),
        ("name it as module:attribute", "submit", "-", "add", "1", "2", "--retry", "3", "--url"),
        ("name it as module:attribute", "submit", "-", "add", "1", "2", "--idle-timeout", "3", "--url"),
    ):
        status, out, err = cli(*command, url)
        assert (status, out) == (2, ""), command
        assert told in err
        assert err.count("\n") == 1


def test_the_options_of_a_handler_of_a_server_are_kept(cli: Any) -> None:
    """With `-`, a time limit of the job leaves in force what else the handler says of limits."""
    with (cli.folder / "program.py").open("a") as program:
        program.write(
            "still = trio_jobs.handler(name='still', timeouts=trio_jobs.Timeouts(idle=0.05))(endless)\n"
        )
        program.write("handlers.append(still)\n")
    url = cli.start_server()[1]
    status, _, err = cli("submit", "-", "still", "--timeout", "55", "--wait", "--url", url)
    assert status == 1
    assert "idle" in err


def test_handlers_of_a_server_need_one(cli: Any) -> None:
    """`-` stands for nothing where jobs are in a store, and no file is made."""
    for command in (
        ["submit", "-", "add", "1", "2"],
        ["schedules", "trigger", "-", "add"],
        ["schedules", "add", "-", "add"],
    ):
        status, _, err = cli(*command)
        assert status == 2
        assert "name it with --url" in err
    assert not (cli.folder / "jobs.db").exists()


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (["--url", "http://127.0.0.1:{port}"], 1, "cannot be reached"),
        (["--url", "http://"], 2, "--url: connect takes a URL"),
        (["--url", "127.0.0.1:8000"], 2, "that of a server begins with http://"),
        (["--url", "http://127.0.0.1:1", "--store", "sqlite:///jobs.db"], 2, "--store"),
    ],
)
def test_where_no_server_is(
    cli: Any, monkeypatch: pytest.MonkeyPatch, options: list[str], status: int, told: str
) -> None:
    """An address that nobody answers at, or that is none, is one line."""
    monkeypatch.setattr("trio_jobs.cli.server.PATIENCE", 0.01)
    found, out, err = cli("list", *(option.format(port=free_port()) for option in options))
    assert (found, out) == (status, "")
    assert told in err
    assert err.count("\n") == 1
