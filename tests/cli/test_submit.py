"""`trio-jobs submit`: submit a job, and wait for its end if asked."""

from __future__ import annotations

import json
import signal
from datetime import datetime
from typing import Any

import pytest


def test_it_prints_the_id_of_a_job_that_is_kept(cli: Any) -> None:
    """Only the id is printed, and the job with it has the arguments and options."""
    options = [
        "--tag",
        "a=b",
        "--tag",
        "c=d",
        "--priority",
        "high",
        "--owner",
        "me",
        "--key",
        "k",
        "--delay",
        "1h",
    ]
    limits = ["--retry", "3", "--timeout", "5m", "--idle-timeout", "3"]
    job_id = cli.submit("add", "1", "2", *options, *limits)
    status, out, _ = cli("show", job_id, "--json")
    job = json.loads(out)
    assert (status, job["id"], job["args"]) == (0, job_id, [1, 2])
    assert (job["tags"], job["priority"], job["owner"]) == ({"a": "b", "c": "d"}, "high", "me")
    assert (job["retry"]["attempts"], job["timeouts"]["run"], job["timeouts"]["idle"]) == (3, 300, 3)
    assert cli.submit("add", "1", "2", *options, *limits) == job_id  # the same key


def test_arguments_by_name(cli: Any) -> None:
    """`--kwarg NAME=VALUE` gives an argument by name, as JSON or text; `show` tells it, `retry` keeps it."""
    job_id = cli.submit("styled", "a=b", "--kwarg", "bold=true", "--kwarg", "size=2")
    shown = cli("show", job_id)[1]
    assert 'arguments   "a=b" bold=true size=2' in shown
    cli("cancel", job_id)
    again = cli("retry", job_id)[1].split()[-1]
    job = json.loads(cli("show", again, "--json")[1])
    assert (job["args"], job["kwargs"]) == (["a=b"], {"bold": True, "size": 2})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--kwarg", "bold=true", "--kwarg", "bold=false"], "--kwarg gives 'bold' twice; leave one out"),
        (["--tag", "a=1", "--tag", "a=2"], "--tag gives 'a' twice; leave one out"),
        (["--kwarg", "bold"], "--kwarg takes name=value, as in --kwarg loud=true; got 'bold'"),
        ([], "styled does not take these arguments: it needs the keyword argument 'bold'"),
        (
            ["--kwarg", "bald=true"],
            "styled does not take these arguments: it needs the keyword argument 'bold'",
        ),
        (["--kwarg", "bold=1.5"], "the keyword argument 'bold' of styled does not fit"),
    ],
)
def test_arguments_by_name_that_do_not_fit(cli: Any, given: list[str], said: str) -> None:
    """A name that is missing, wrong or there twice, or a wrong value, is one line, and makes no job."""
    status, out, err = cli("submit", "program", "styled", "a", *given)
    assert (status != 0, out) == (True, "")
    assert said in err


def test_one_at_a_time(cli: Any) -> None:
    """Names and what is done while one is held are taken, shown, and a name that is held is status 1."""
    first = cli.submit("add", "1", "2", "--exclusive", "a")
    status, _, said = cli("submit", "program", "add", "1", "2", "--exclusive", "a")
    assert (status, first in said) == (1, True)
    assert cli.submit("add", "1", "2", "--exclusive", "a", "--on-busy", "attach") == first
    behind = cli.submit("add", "1", "2", "--exclusive", "a", "--on-busy", "after")
    shown = cli("show", behind)[1].split()
    assert shown[shown.index("exclusive") + 1] == "a"
    assert shown[shown.index("behind") + 1] == first
    assert json.loads(cli("show", behind, "--json")[1])["waiting_for"] == f"behind {first}"
    assert "waits for   worker" in cli("show", first)[1]
    last = cli.submit("add", "1", "2", "--exclusive", "a", "--on-busy", "replace")
    assert f"replaced: by {last}" in cli("show", behind)[1]


def test_a_debounce_is_written_in_one_word(cli: Any) -> None:
    """`--on-busy debounce=SECONDS,AT_MOST` puts a job off, and the next one takes its place."""
    written = ["--exclusive", "a", "--on-busy", "debounce=90s,1h"]
    first = json.loads(cli("show", cli.submit("add", "1", "2", *written), "--json")[1])
    created, due = (datetime.fromisoformat(first[name]) for name in ("created_at", "next_attempt_at"))
    assert (due - created).total_seconds() == 90.0
    last = cli.submit("add", "1", "2", *written)
    assert f"replaced: by {last}" in cli("show", first["id"])[1]


def test_text_and_negative_numbers_are_arguments(cli: Any) -> None:
    """An argument that is no JSON is text, and a negative number is no option."""
    assert json.loads(cli("show", cli.submit("fail", "no json"), "--json")[1])["args"] == ["no json"]
    assert json.loads(cli("show", cli.submit("add", "-1", "2"), "--json")[1])["args"] == [-1, 2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["program", "nothing"], "has no handler 'nothing'; there is add, fail"),
        (["program", "add", "1"], "add takes 2 arguments"),
        (["program", "add", "one", "2"], "the arguments of add do not fit"),
        (["program", "add", "1", "2", "--retry", "0"], "--retry"),
        (["program", "add", "1", "2", "--on-busy", "after"], "on_busy needs exclusive="),
        (["program", "add", "1", "2", "--exclusive", "a", "--on-busy", "wait"], "--on-busy"),
        (["program", "add", "1", "2", "--exclusive", "a", "--on-busy", "debounce=5"], "debounce=5s,1m"),
        (["program", "add", "1", "2", "--exclusive", "a", "--on-busy", "debounce=5,soon"], "'soon'"),
        (["program", "add", "1", "2", "--exclusive", "a", "--on-busy", "debounce=5,1"], "at least seconds"),
        (["program", "add", "1", "2", "--exclusive", "a", "--on-busy", "after=5"], "'after=5'"),
        (
            ["program", "add", "1", "2", "--exclusive", "a", "--on-busy", "debounce=5,9", "--delay", "1"],
            "give neither delay nor run_at",
        ),
        (["program", "add", "1", "2", "--limit-key", "a"], "add has no keyed limit"),
        (["program", "add", "1", "2", "--timeout", "soon"], "--timeout"),
        (["program", "add", "1", "2", "--tag", "x"], "name=value"),
        (["program", "add", "1", "2", "--wat"], "--wat"),
        (["program"], "the name of a handler comes next, as in: program add; program has add, fail, "),
        (
            ["program:fail"],
            "as in: program:fail fail; program:fail has fail",
        ),
        ([], "submit needs HANDLERS: module:attribute"),
        (["elsewhere", "add"], "no module 'elsewhere'"),
        (["program", "add", "1", "2", "--store", "memory://"], "name a file"),
    ],
)
def test_what_is_typed_wrong_is_told_on_one_line(cli: Any, arguments: list[str], said: str) -> None:
    """One line on standard error names the fault, the status is 2, and no job is submitted."""
    status, out, err = cli("submit", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("trio-jobs: ")
    assert said in err
    assert "; - stands" not in err


def test_a_folder_that_is_not_there_is_told(cli: Any) -> None:
    """If the file cannot be created, the command fails with a line that names it."""
    status, _, err = cli("submit", "program", "add", "1", "2", "--store", "sqlite:///no/where.db")
    assert (status, err.count("\n")) == (1, 1)
    assert "there is no folder" in err


def test_waiting_ends_with_the_job(cli: Any) -> None:
    """With --wait, the result is printed, and the status is that of the job's end."""
    cli.start_worker()
    status, out, err = cli("submit", "program", "add", "1", "2", "--wait")
    assert (status, out.splitlines()[1:], err) == (0, ["3"], "")
    status, out, err = cli("submit", "program", "fail", "so", "--wait")
    assert (status, err.partition(" ")[2]) == (1, "failed (error): ValueError: so\n")
    status, out, err = cli("submit", "program", "add", "1", "2", "--wait", "--json")
    assert (status, json.loads(out)["result"]) == (0, 3)


def test_ctrl_c_ends_the_waiting_and_not_the_job(cli: Any) -> None:
    """The status is 130, the output says how to watch the job, and the job still waits."""
    waiting = cli.start("submit", "program", "add", "1", "2", "--wait")
    job_id = waiting.stdout.readline().strip()
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=60)
    assert (waiting.returncode, err) == (
        130,
        f"job {job_id} goes on; watch it with: trio-jobs stream {job_id}\n",
    )
    assert cli("list", "--state", "queued")[1].splitlines()[1].startswith(job_id[:8])
