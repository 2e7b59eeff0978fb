"""`trio-jobs schedules`, and workers that fire what their module declares."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest

DECLARING = """
from program import add, handlers
from trio_jobs import Schedule

schedules = [Schedule(add, (1, 2), name="sum", every=3600), Schedule(add, (3, 4), name="often", every=1)]
"""


def found(cli: Any) -> Mapping[str, Any]:
    """Return the schedules by name, as `list --json` prints them."""
    status, out, err = cli("schedules", "list", "--json")
    assert (status, err) == (0, "")
    return {one["name"]: one for one in map(json.loads, out.splitlines())}


def test_a_schedule_is_added_changed_and_removed(cli: Any) -> None:
    """What was added is listed, changed by adding it again, paused, resumed, triggered and removed."""
    add = ("schedules", "add", "program", "add", "1", "2", "--name", "sum")
    options = ("--priority", "low", "--exclusive", "x", "--tag", "a=b", "--owner", "me")
    assert cli(*add, "--cron", "0 7 * * 1-5", "--timezone", "Europe/Berlin", *options) == (0, "sum\n", "")
    one = found(cli)["sum"]
    assert (one["handler"], one["cron"], one["added"], one["paused"]) == ("add", "0 7 * * 1-5", True, False)
    assert cli("schedules", "pause", "sum") == (0, "", "")
    head, row = cli("schedules", "list")[1].splitlines()
    assert head.split() == ["NAME", "STATE", "HANDLER", "RULE", "NEXT"]
    assert row == "sum   added (paused)  add      0 7 * * 1-5 Europe/Berlin"
    assert cli(*add, "--every", "1.5h", "--jitter", "30s") == (0, "sum\n", "")
    assert cli("schedules", "resume", "sum") == (0, "", "")
    row = cli("schedules", "list")[1].splitlines()[1]
    assert row.startswith("sum   added  add      every 5400s  2")
    job_id = cli("schedules", "trigger", "program", "sum")[1].strip()
    job = json.loads(cli("show", job_id, "--json")[1])
    assert (job["handler"], job["tags"], job["owner"]) == ("add", {"schedule": "sum"}, None)
    assert cli("schedules", "remove", "sum") == (0, "", "")
    assert found(cli) == {}


def test_a_schedule_has_arguments_by_name(cli: Any) -> None:
    """`--kwarg` gives the jobs of a schedule an argument by name."""
    add = ("schedules", "add", "program", "styled", "a", "--every", "1h")
    assert "it needs the keyword argument 'bold'" in cli(*add)[2]
    assert cli(*add, "--kwarg", "bold=true") == (0, "styled\n", "")
    job_id = cli("schedules", "trigger", "program", "styled")[1].strip()
    job = json.loads(cli("show", job_id, "--json")[1])
    assert (job["args"], job["kwargs"]) == (["a"], {"bold": True})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["add", "program", "add", "1", "2"],
            "a schedule takes cron='0 7 * * 1-5' or every=3600.0; got neither",
        ),
        (["add", "program", "add", "1", "2", "--cron", "0 0 30 2 *"], "cron is wrong, or never fires"),
        (["add", "program", "add", "1", "2", "--cron", "0 0 * *"], "cron takes five fields"),
        (
            ["add", "program", "add", "1", "2", "--cron", "* * * * *", "--timezone", "Nix"],
            "no time zone 'Nix'",
        ),
        (["add", "program", "add", "1", "2", "--every", "0.5"], "every must be at least 1; got 0.5"),
        (["add", "program", "add", "1", "2", "--every", "5", "--jitter", "-3"], "Invalid value for --jitter"),
        (
            ["add", "program", "add", "1", "2", "--every", "5", "--on-busy", "after"],
            "on_busy needs exclusive=",
        ),
        (["add", "program", "add", "1", "2", "--every", "5", "--limit-key", "k"], "add has no keyed limit"),
        (
            ["add", "program", "add", "1", "--every", "5"],
            "add takes 2 arguments after the job context; got 1",
        ),
        (["add", "program", "add", "1", "x", "--every", "5"], "the arguments of add do not fit"),
        (["add", "program", "nope", "--every", "5"], "program has no handler 'nope'"),
        (["remove", "nope"], "no schedule has the name 'nope'"),
        (["pause", "nope"], "no schedule has the name 'nope'"),
        (["resume", "nope"], "no schedule has the name 'nope'"),
        (["trigger", "program", "nope"], "no schedule has the name 'nope'"),
        (["nope"], 'Unknown command "nope"'),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_is_wrong_is_one_line(cli: Any, arguments: list[str], said: str) -> None:
    """Each wrong value is told on one line, with status 2."""
    cli.submit("add", "1", "2")
    status, out, err = cli("schedules", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_without_the_extra_it_says_which(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without cronsim a cron rule is refused on one line that says what to install."""
    monkeypatch.setitem(sys.modules, "cronsim", None)
    status, _, err = cli("schedules", "add", "program", "add", "1", "2", "--cron", "* * * * *")
    assert (status, err.count("\n")) == (1, 1)
    assert "pip install 'trio-jobs[cron]'" in err


def test_what_lists_creates_no_file(cli: Any) -> None:
    """Commands about schedules that there may be do not make a file."""
    for arguments in (["list"], ["pause", "x"], ["remove", "x"], ["trigger", "program", "x"]):
        status, _, err = cli("schedules", *arguments)
        assert (status, err.count("\n")) == (1, 1)
    assert not (cli.folder / "jobs.db").exists()


@pytest.mark.deep
def test_two_workers_fire_what_their_module_declares(cli: Any) -> None:
    """Of two processes that declare a schedule, one fires each tick, also if the other one is killed."""
    (cli.folder / "declaring.py").write_text(DECLARING, encoding="utf-8")
    workers = [cli.start("worker", "declaring:handlers", "--name", name) for name in ("a", "b")]
    for worker in workers:
        assert worker.stderr.readline().strip().endswith("100 at once; schedules sum, often; Ctrl-C stops it")
    said = found(cli)
    assert [(name, one["declared"], one["added"]) for name, one in said.items()] == [
        ("often", True, False),
        ("sum", True, False),
    ]
    assert cli("schedules", "remove", "sum")[0] == 2
    number = 0
    while number < 6:
        number = len(cli("list", "--tag", "schedule=often", "--json")[1].splitlines())
        if number > 2:
            workers[0].kill()
    workers[1].kill()
    workers[1].wait()
    said = found(cli)
    anchor, last = (datetime.fromisoformat(said[name]["last_tick"]) for name in ("sum", "often"))
    number = len(cli("list", "--tag", "schedule=often", "--json")[1].splitlines())
    assert number == round((last - anchor).total_seconds())
