"""`trio-jobs show`: one job, its history as a timeline, and its error."""

from __future__ import annotations

import json
from typing import Any


def test_a_failed_job_is_told_whole(cli: Any) -> None:
    """The output has the job's fields, each lifecycle event with its cursor, and the traceback, escaped."""
    job_id = cli.submit("fail", "a\x1b[0m b", "--tag", "of=x")
    cli.work()
    status, out, err = cli("show", job_id[:10])
    assert (status, err) == (0, "")
    assert out.startswith(f"job {job_id}\n")
    for part in (
        r"state       failed (error): ValueError: a\x1b[0m b",
        r'arguments   "a\u001b[0m b"',
        "tags        of=x",
        "attempt 1 at worker",
        "error: ValueError: ",
        "\nTraceback (most recent call last):\n",
        "raise ValueError(text)",
    ):
        assert part in out
    assert "\x1b" not in out
    events = [line.split()[0] for line in out.splitlines() if line[:1].isdigit()]
    assert events == ["1", "2", "4"]  # 3 is a token


def test_json_has_the_history(cli: Any) -> None:
    """The record has every field of the job, its arguments and its history."""
    job_id = cli.submit("add", "1", "2")
    cli.work()
    job = json.loads(cli("show", job_id, "--json")[1])
    assert (job["state"], job["result"], job["args"]) == ("completed", 3, [1, 2])
    assert [event["kind"] for event in job["history"]] == ["submitted", "started", "completed"]


def test_unknown_and_empty_ids_are_bad_input(cli: Any) -> None:
    """The error for an unknown id says how to list the ids."""
    cli.submit("add", "1", "2")
    for job_id in ("zz", "", "ü", "%"):
        status, out, err = cli("show", job_id)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "trio-jobs list" in err


def test_why_a_job_does_not_run_is_explained(cli: Any) -> None:
    """`explain` says what a job waits for and what helps, and how one ended, with its texts escaped."""
    job_id = cli.submit("fail", "a\x1b[0m b")
    status, out, err = cli("explain", job_id[:10])
    assert (status, err) == (0, "")
    assert out.startswith(f"job {job_id} (fail): queued, waits for worker\n")
    assert "with fail among its handlers?\n" in out
    assert cli("pause", "fail")[0] == 0
    assert "jobs.resume_handlers('fail'), or trio-jobs resume\n" in cli("explain", job_id)[1]
    assert cli("resume", "fail")[0] == 0
    cli.work()
    first, reason = cli("explain", job_id)[1].splitlines()
    assert first == f"job {job_id} (fail): failed"
    assert reason == r"  reason: error: ValueError: a\x1b[0m b"
