"""`trio-jobs limits`, and jobs with a limit_key on the command line."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
import trio

import trio_jobs
from trio_jobs.cli.working import DEFAULTS, working

LIMITED = """
import trio_jobs
from trio_jobs import Limit


@trio_jobs.handler(limits=["gpu", Limit(at_once=1, waiting=3, keyed=True)])
async def report(job: trio_jobs.JobContext[None]) -> None:
    pass


handlers = [report]
"""


@pytest.fixture
def limited(cli: Any) -> Any:
    """Return the command line in a folder with a program that has limits, which a worker has opened."""
    (cli.folder / "limited.py").write_text(LIMITED, encoding="utf-8")
    import limited  # type: ignore[import-not-found]  # written just now

    async def work() -> None:
        shared = {"gpu": trio_jobs.Limit(at_once=4)}
        async with trio_jobs.open_registry("sqlite:///jobs.db", handlers=limited.handlers, limits=shared):
            pass

    trio.run(work)
    yield cli, work
    del sys.modules["limited"]


def listed(cli: Any) -> list[tuple[str, ...]]:
    """Return the rows that `list` prints."""
    status, out, err = cli("limits", "list")
    assert (status, err) == (0, "")
    return [tuple(row.split()) for row in out.splitlines()[1:]]


def test_limits_are_listed_set_and_unset(limited: Any) -> None:
    """A limit that is set stays when a worker starts, until it is unset and another worker starts."""
    cli, work = limited
    own = ("report[1]", "at_once=1", "waiting=3", "keyed", "0", "0")
    assert listed(cli) == [("gpu", "at_once=4", "0", "0"), own]
    assert cli("limits", "set", "gpu", "--at-once", "2", "--per-second", "0.5") == (0, "gpu\n", "")
    pinned = ("gpu", "at_once=2", "per_second=0.5", "0", "0", "pinned")
    trio.run(work)
    assert listed(cli) == [pinned, own]
    assert cli("limits", "unset", "gpu") == (0, "", "")
    assert listed(cli) == [pinned[:-1], own]
    trio.run(work)
    assert listed(cli) == [("gpu", "at_once=4", "0", "0"), own]
    assert cli("limits", "set", "report[1]", "--at-once", "7")[0] == 0
    (_, one) = map(json.loads, cli("limits", "list", "--json")[1].splitlines())
    assert (one["name"], one["limit"]["at_once"], one["limit"]["keyed"]) == ("report[1]", 7, True)
    assert (one["pinned"], one["running"], one["waiting"]) == (True, 0, 0)


def test_a_job_is_submitted_for_a_key(limited: Any) -> None:
    """`--limit-key` goes with a keyed limit, needs no definition of those that are shared, and is shown."""
    cli, _ = limited
    job_id = cli("submit", "limited", "report", "--limit-key", "tenant-7")[1].strip()
    job = json.loads(cli("show", job_id, "--json")[1])
    assert (job["limit_key"], job["waiting_for"]) == ("tenant-7", "worker")
    cli("limits", "set", "report[1]", "--waiting", "1")
    assert listed(cli)[1] == ("report[1]", "waiting=1", "keyed", "0", "1", "pinned")
    status, _, said = cli("submit", "limited", "report", "--limit-key", "tenant-7")
    assert (status, "as many as the limit 'report[1]' allows for 'tenant-7'" in said) == (1, True)
    status, _, said = cli("submit", "limited", "report")
    assert (status, "report has a keyed limit" in said) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["set", "gpu"], "a Limit needs at_once, per_second or waiting"),
        (["set", "gpu", "--at-once", "0"], "at_once must be at least 1; got 0"),
        (["set", "gpu", "--burst", "3"], "burst needs per_second"),
        (["set", "", "--at-once", "3"], "the name of a limit has 1 to 100 characters"),
        (["set", "nothing[0]", "--at-once", "3"], "does not end with ']'"),
        (["unset", "gpu"], "no limit is pinned whose name is 'gpu'"),
    ],
)
def test_what_is_typed_wrong_is_told_on_one_line(limited: Any, arguments: list[str], said: str) -> None:
    """Wrong input is one line that says what to do, and status 2."""
    status, out, err = limited[0]("limits", *arguments)
    assert (status, out, err.count("\n"), said in err) == (2, "", 1, True)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ("limits = {'gpu': Limit(at_once=4)}", None),
        ("from trio_jobs.cli import limits  # a module", "which is not defined"),
        ("", "or in limits of the module of a worker"),
        ("limits = {}", "handler 'report' has the limit 'gpu', which is not defined"),
        ("limits = [Limit(at_once=4)]", "limited: limits takes Limit records by name"),
        ("limits = {'gpu': 4}", "limited: limits['gpu'] takes a Limit record; got 4"),
        ("limits = {'gpu': Limit(at_once=4, keyed=True)}", "limited: limits['gpu'] is keyed"),
    ],
)
def test_a_worker_takes_the_limits_of_its_module(cli: Any, limits: str, said: str | None) -> None:
    """What handlers share is defined by `limits` of the module; one line says what is wrong with it."""
    (cli.folder / "limited.py").write_text(f"{LIMITED}\n{limits}\n", encoding="utf-8")

    async def work() -> None:
        async with working("limited:handlers", DEFAULTS):
            pass

    try:
        if said is None:
            trio.run(work)
            assert listed(cli)[0] == ("gpu", "at_once=4", "0", "0")
        for command in ("worker", "serve") if said else ():
            status, out, err = cli(command, "limited")
            assert (status, out, err.count("\n"), said in err) == (2, "", 1, True)
    finally:
        del sys.modules["limited"]
