"""`trio-jobs send` and `trio-jobs list --waiting`: what a job is told, and which ones wait for it."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest


def test_a_job_that_waits_is_listed_and_answered(cli: Any) -> None:
    """A job that awaits an input is found by that, says what for, and goes on with what it is sent."""
    other, job_id = cli.submit("add", "1", "2"), cli.submit("ask")
    assert cli("list", "--waiting")[1].count("\n") == 1
    cli.work_until_waiting(job_id)
    _, out, _ = cli("list", "--waiting")
    (row,) = out.splitlines()[1:]
    assert row.startswith(job_id[:8])
    assert "retrying (awaiting_input)" in row
    assert "Deploy?" in row
    assert other not in cli("list", "--waiting", "--json")[1]
    assert json.loads(cli("show", job_id, "--json")[1])["next_attempt_at"] is None
    assert cli("send", job_id[:12], '{"deploy": true}') == (0, "4\n", "")
    assert cli("send", job_id, "--end") == (0, "5\n", "")
    assert "1 not consumed" in cli("show", job_id)[1]
    cli.work()
    shown = json.loads(cli("show", job_id, "--json")[1])
    assert shown["result"] == [{"deploy": True}]
    assert cli("list", "--waiting")[1].count("\n") == 1


def test_values_are_json_or_text(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is JSON is that, unless it is called text; a hyphen reads standard input, however many lines."""
    job_id = cli.submit("ask")
    for number, (arguments, stdin) in enumerate(
        [
            (["7"], ""),
            (["7", "--text"], ""),
            (["-7"], ""),
            (["seven words"], ""),
            (["-"], '{"a":\n 1}\n'),
            (["-", "--text"], "two\nlines\n"),
            (["null", "--key", "k"], ""),
        ],
        2,
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        assert cli("send", job_id, *arguments) == (0, f"{number}\n", "")
    assert json.loads(cli("send", job_id, "null", "--key", "k", "--json")[1]) == {"id": job_id, "seq": 8}
    assert cli("send", job_id, "last", "--end") == (0, "9\n10\n", "")
    cli.work()
    values = [7, "7", -7, "seven words", {"a": 1}, "two\nlines", None, "last"]
    assert json.loads(cli("show", job_id, "--json")[1])["result"] == values


def test_what_cannot_be_sent_is_said_on_one_line(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to send, a job that is not there, and one that takes no more are told, by the status too."""
    job_id = cli.submit("ask", "--key", "x")
    assert cli("send", job_id)[0] == 2
    assert cli("send", "zz", "1")[0] == 2
    assert cli("send", job_id, "1", "--key", "k")[0] == 0
    status, _, err = cli("send", job_id, "2", "--key", "k")
    assert (status, err.count("\n")) == (2, 1)
    for stdin in (io.StringIO(""), io.TextIOWrapper(io.BytesIO(b"\xff"), "utf-8"), None):
        monkeypatch.setattr("sys.stdin", stdin)
        status, _, err = cli("send", job_id, "-")
        assert (status, err.count("\n"), "standard input" in err) == (2, 1, True)
    assert cli("send", job_id, "")[0] == 0
    cli("cancel", job_id)
    status, _, err = cli("send", job_id, "1")
    assert (status, err) == (1, "trio-jobs: a job that is cancelled cannot be sent an input\n")
