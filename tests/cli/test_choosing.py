"""Jobs that commands choose by what they have, in place of ids: counted first, then changed."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
import trio

import trio_jobs
from tests.cli.conftest import Cli


def states(cli: Cli) -> dict[str, int]:
    found: dict[str, int] = json.loads(cli("statistics", "--json")[1])["states"]
    return {state: count for state, count in found.items() if count}


def test_counted_then_cancelled(cli: Cli) -> None:
    """With --dry-run nothing is changed; without, those that match are told to stop, and no others."""
    for user in ("7", "7", "8"):
        cli.submit("add", user, "2", "--tag", f"user={user}")
    assert cli("cancel", "--args-contain", "[8,", "--dry-run") == (0, "1 job would be told to stop\n", "")
    assert cli("cancel", "--tag", "user=7", "--dry-run") == (0, "2 jobs would be told to stop\n", "")
    assert json.loads(cli("cancel", "--all", "--dry-run", "--json")[1]) == {
        "told to stop": 3,
        "dry_run": True,
    }
    assert states(cli) == {"queued": 3}
    assert cli("cancel", "--tag", "user=7", "--reason", "enough") == (0, "2 jobs told to stop\n", "")
    assert states(cli) == {"queued": 1, "cancelled": 2}
    assert "enough" in cli("list", "--state", "cancelled")[1]
    assert cli("cancel", "--state", "queued", "--handler", "add") == (0, "1 job told to stop\n", "")
    assert cli("cancel", "--all", "--grace", "5") == (
        2,
        "",
        "trio-jobs: --grace is for jobs that are named by their ids\n",
    )


def test_retried_and_removed(cli: Cli) -> None:
    """What failed is submitted again once, what has ended is removed or pruned, as far as it matches."""
    cli.submit("fail", "no", "--owner", "ann")
    cli.submit("fail", "no", "--owner", "bob")
    cli.submit("add", "1", "2")
    cli.work()
    assert cli("retry", "--owner", "ann", "--dry-run") == (0, "1 job would be submitted again\n", "")
    assert cli("retry", "--owner", "ann") == (0, "1 job submitted again\n", "")
    assert cli("retry", "--all") == (0, "1 job submitted again\n", "")
    assert cli("retry", "--all") == (0, "0 jobs submitted again\n", "")
    assert states(cli) == {"queued": 2, "completed": 1, "failed": 2}
    assert cli("remove", "--state", "completed", "--state", "queued") == (0, "1 job removed\n", "")
    assert cli("prune", "--older-than", "1d", "--state", "failed") == (0, "0 jobs pruned\n", "")
    assert json.loads(cli("remove", "--owner", "ann", "--json")[1]) == {"removed": 1}
    (job_id,) = [json.loads(one)["id"] for one in cli("list", "--state", "failed", "--json")[1].splitlines()]
    assert cli("prune", "--older-than", "0s", "--dry-run") == (0, "1 job would be pruned\n", "")
    assert cli("remove", job_id) == (0, f"{job_id} removed\n", "")
    assert states(cli) == {"queued": 2}
    waits = json.loads(cli("list", "--json")[1].splitlines()[0])["id"]
    assert cli("remove", waits)[0] == 1
    cli("cancel", waits)
    assert json.loads(cli("remove", waits, "--json")[1]) == {"id": waits, "removed": True}


def test_what_is_refused_is_told(cli: Cli) -> None:
    """If some cannot be submitted again the others are, the status is 1, and it is said why."""

    @trio_jobs.handler
    async def chat(job: Any) -> None: ...

    async def cancelled() -> None:
        async with trio_jobs.open_registry("sqlite:///jobs.db", handlers=[chat], capacity=0) as jobs:
            for _ in range(2):
                await (await jobs.submit(chat, exclusive="a")).cancel()

    trio.run(partial(cancelled))
    status, out, err = cli("retry", "--state", "cancelled")
    assert (status, out) == (1, "1 job submitted again\n")
    assert err.startswith("trio-jobs: 1 could not be submitted again: job ")


@pytest.mark.parametrize("command", ["cancel", "retry", "remove"])
def test_which_jobs_has_to_be_said(cli: Cli, command: str) -> None:
    """Without ids a filter or --all is needed, ids and a filter do not go together, and states are named."""
    job_id = cli.submit("add", "1", "2")
    less: list[list[str]] = [[], ["--dry-run"]]
    for arguments in less:
        status, out, err = cli(command, *arguments)
        assert (status, out) == (2, "")
        assert err.startswith(f"trio-jobs: {command} takes the id of at least one job")
        assert "--all" in err
    for arguments in ([job_id, "--all"], [job_id, "--dry-run"], [job_id, "--state", "failed"]):
        assert cli(command, *arguments) == (
            2,
            "",
            f"trio-jobs: {command} takes ids of jobs, or options that choose them; not both\n",
        )
    assert '"queued", "running"' in cli(command, "--state", "nope")[2]
    assert states(cli) == {"queued": 1}
