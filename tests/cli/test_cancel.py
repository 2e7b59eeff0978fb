"""`trio-jobs cancel` and `trio-jobs prune`: which jobs are cancelled, and which removed."""

from __future__ import annotations

import json
from typing import Any

import pytest


def test_jobs_that_wait_are_cancelled_at_once(cli: Any) -> None:
    """Each id has a line with its outcome, and the reason is in the history."""
    one, two = cli.submit("add", "1", "2"), cli.submit("add", "1", "2")
    status, out, err = cli("cancel", one[:12], two, two, "--reason", "changed my mind")
    assert (status, err) == (0, "")
    assert out.splitlines() == [f"{one} cancelled", f"{two} cancelled"]
    assert "changed my mind" in cli("show", one)[1]
    status, out, _ = cli("cancel", one, "--json")
    assert (status, json.loads(out)["outcome"]) == (0, "already_over")


def test_one_unknown_id_cancels_none(cli: Any) -> None:
    """Every id is looked up before any job is cancelled."""
    one = cli.submit("add", "1", "2")
    assert cli("cancel", one, "zz")[0] == 2
    assert cli("cancel")[0] == 2
    assert "queued" in cli("list")[1]


def test_a_job_elsewhere_is_cancelled(cli: Any) -> None:
    """A handler in another process is cancelled, and the command confirms it."""
    cli.start_worker()
    job_id = cli.start_job("endless")
    assert cli("cancel", job_id) == (0, f"{job_id} cancelled\n", "")


@pytest.mark.deep
def test_a_grace_lets_a_job_end_by_itself(cli: Any) -> None:
    """With --grace, a handler that waits for the request ends by itself."""
    cli.start_worker()
    job_id = cli.start_job("polite")
    status, out, _ = cli("cancel", job_id, "--grace", "60")
    assert (status, out) == (0, f"{job_id} ended by itself before it could be cancelled\n")


@pytest.mark.deep
def test_what_is_not_confirmed_is_told(cli: Any) -> None:
    """If a handler does not stop within the patience, the command fails."""
    cli.start_worker()
    job_id = cli.start_job("stubborn")
    status, out, _ = cli("cancel", job_id, "--patience", "0.1")
    assert status == 1
    assert "has not confirmed it" in out


def test_pruning_forgets_what_ended_long_ago(cli: Any) -> None:
    """Only jobs that ended before the given time are removed."""
    cli.submit("add", "1", "2")
    cli.work()
    cli.submit("add", "1", "2")
    assert cli("prune", "--older-than", "1d") == (0, "0 jobs pruned\n", "")
    assert cli("prune", "--older-than", "0s") == (0, "1 job pruned\n", "")
    assert json.loads(cli("prune", "--older-than", "0", "--json")[1]) == {"pruned": 0}
    assert json.loads(cli("statistics", "--json")[1])["jobs"] == 1
    assert cli("prune")[0] == 2
