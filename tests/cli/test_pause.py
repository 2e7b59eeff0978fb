"""`trio-jobs pause` and `trio-jobs resume`: which handlers are held, and how that is shown."""

from __future__ import annotations

import json
from typing import Any

import pytest


def test_handlers_are_held_until_they_are_resumed(cli: Any) -> None:
    """The list shows which jobs are held, and `statistics` what is paused; resumed, they run."""
    held = cli.submit("add", "1", "2")
    assert cli("pause", "fail", "add") == (0, "paused: add, fail\n", "")
    other = cli.submit("endless")
    assert f"{held[:8]}  queued (paused)  add" in cli("list")[1]
    assert f"{other[:8]}  queued           endless" in cli("list")[1]
    assert cli("statistics")[2] == "paused: add, fail\n"
    assert cli("resume", "fail", "--json")[1] == '{"all_paused": false, "paused_handlers": ["add"]}\n'
    cli("cancel", other)
    assert cli("resume", "add") == (0, "nothing is paused\n", "")
    cli.work()
    assert json.loads(cli("show", held, "--json")[1])["state"] == "completed"
    assert cli("statistics")[2] == ""


def test_all_are_held(cli: Any) -> None:
    """`--all` pauses all handlers, and resumes whatever is paused, also by name."""
    cli.submit("add", "1", "2")
    cli("pause", "add")
    assert cli("pause", "--all") == (0, "all handlers are paused\n", "")
    found = json.loads(cli("statistics", "--json")[1])
    assert (found["all_paused"], found["paused_handlers"]) == (True, ["add"])
    assert cli("statistics")[2] == cli("resume", "add")[1] == "all handlers are paused\n"
    assert cli("resume", "--all") == (0, "nothing is paused\n", "")


@pytest.mark.parametrize("arguments", [[], ["add", "--all"], [""]])
def test_what_is_wrong_is_said(cli: Any, arguments: list[str]) -> None:
    """Neither names nor `--all`, both, or a name that is empty, is an error that changes nothing."""
    cli.submit("add", "1", "2")
    for word in ("pause", "resume"):
        status, _, err = cli(word, *arguments)
        assert status == 2
        assert "takes the names of handlers" in err
    assert cli("statistics")[2] == ""


def test_there_must_be_a_file(cli: Any) -> None:
    """Where no jobs are kept, nothing is paused, and no file is made."""
    for word in ("pause", "resume"):
        status, _, err = cli(word, "--all")
        assert status == 1
        assert "there is no file" in err
