"""The benchmark of jobs on PostgreSQL runs, and reports no speed of work that was not done."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from benchmarks.distributed import __main__ as script
from benchmarks.distributed import claims, speed
from benchmarks.distributed.libraries import OURS, PEERS
from benchmarks.distributed.peers import ours, protocol
from benchmarks.distributed.peers.protocol import MOST_JOBS, Client, Marks, Result
from benchmarks.distributed.servers import Server
from benchmarks.distributed.speed import Scale
from benchmarks.durable import growth
from benchmarks.durable.checks import WrongResult
from benchmarks.durable.peers.on_trio import TrioClient
from benchmarks.durable.peers.ours import work
from benchmarks.durable.programs import running
from tests import postgres
from trio_jobs import open_registry

TINY = Scale(jobs=20, batch=10, singles=2, tokens=2000, queued=(10, 20), rounds=1)
LIAR = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"right": 1, "first": 0, "settled": 1}), flush=True)
"""


class Pretender(TrioClient, Client):
    """A library that runs each job when it is submitted, and can take batches or not."""

    def __init__(self, *, has_batches: bool = True) -> None:
        self.has_batches = has_batches
        self.looks: list[float] = []
        self.batches: list[int] = []

    async def submit(self, n: int) -> int:
        return n

    async def submit_many(self, numbers: range) -> list[Any] | None:
        self.batches.append(len(numbers))
        return [*numbers] if self.has_batches else None

    async def unfinished(self) -> int:
        return len(self.looks) < 2

    async def result(self, handle: Any) -> Result:
        return [handle, 1.0]

    async def sleep(self, seconds: float) -> None:
        self.looks.append(seconds)


@pytest.fixture
def place(postgres_server: postgres.Server) -> Server:
    """The server of the tests, as the benchmark sees it."""
    return Server(postgres_server.url("").rstrip("/"))


@pytest.fixture
def answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Callable[[], Awaitable[None]], Sequence[dict[str, Any]]], list[Any]]:
    """Return a function that gives orders to a client in this process, and returns its answers."""

    def ask(take: Callable[[], Awaitable[None]], orders: Sequence[dict[str, Any]]) -> list[Any]:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(json.dumps(one) + "\n" for one in orders)))
        capsys.readouterr()
        trio.run(take)
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return ask


@pytest.mark.deep
def test_it_runs_and_measures_everything(place: Server) -> None:
    """Without any peer, every section has its rows, and every figure is more than 0."""
    rows = [row for section in script.SECTIONS.values() for row in section(TINY, place, [OURS])]
    assert {row.section for row in rows} == {"submit", "run", "latency", "tokens", "queue", "cost"}
    assert [row.name for row in rows if not row.figures or min(row.figures.values()) <= 0] == []
    assert len([row for row in rows if row.section == "run"]) == len(speed.WORKERS)


def test_jobs_are_submitted_run_and_read_back(postgres_url: str, answers: Any) -> None:
    """Our client, with a worker beside it, gets each job's own number: one by one, in batches and alone."""

    async def take() -> None:
        async with (
            open_registry(postgres_url, handlers=[work], capacity=10),
            open_registry(postgres_url, handlers=[work], capacity=0) as jobs,
        ):
            await protocol.take_orders(ours.Ours(jobs))

    submitted, settled, batched, again, alone = answers(
        take,
        [
            {"do": "submit", "jobs": 7, "at_once": 3},
            {"do": "settle"},
            {"do": "batches", "jobs": 25, "size": 10},
            {"do": "settle"},
            {"do": "latency", "jobs": 2},
        ],
    )
    assert (settled["right"], again["right"], alone["right"]) == (7, 25, 2)
    assert submitted["seconds"] > 0 < batched["seconds"]
    assert settled["began"] <= settled["first"] <= settled["settled"] <= again["began"]


def test_a_library_without_batches_says_so(answers: Any) -> None:
    """It is asked once, and has no speed of batches; one that has them gets all jobs, the rest last."""
    for has_batches, sizes in (True, [10, 10, 5]), (False, [10]):
        client = Pretender(has_batches=has_batches)
        (answer,) = answers(
            lambda client=client: protocol.take_orders(client), [{"do": "batches", "jobs": 25, "size": 10}]
        )
        assert (answer["seconds"] is not None) is has_batches
        assert client.batches == sizes


def test_the_looks_are_those_of_this_benchmark(answers: Any) -> None:
    """Our client asks a server less often than a file whether all have ended."""
    client = Pretender()
    answers(
        lambda: protocol.take_orders(client),
        [{"do": "submit", "jobs": 3, "at_once": 2}, {"do": "settle"}],
    )
    assert client.looks == [Client.look, Client.look] == [ours.Ours.look] * 2
    assert Client.look > TrioClient.look


def test_a_job_that_ran_twice_or_never_is_wrong(tmp_path: Path) -> None:
    """Where results are not kept, the mark of a job is right only if it was set once."""
    file = tmp_path / "marks"
    file.touch()
    with file.open("r+b") as opened:
        opened.truncate(8 * MOST_JOBS)
    ran, seen = Marks(str(file)), Marks(str(file))
    for n in 1, 2, 2:
        ran.started(n)
    assert [seen.result(n)[0] for n in range(3)] == [-1, 1, -1]
    ran.clear(2)
    ran.started(2)
    assert seen.result(2)[0] == 2


def test_a_client_that_found_too_few_results_is_not_believed() -> None:
    """A library whose client got fewer right results than it submitted jobs has no speed."""
    with running("liar", [sys.executable, "-c", LIAR]) as liar:
        assert speed.settled(liar, 1, PEERS["saq"])["settled"] == 1
        with pytest.raises(WrongResult, match="right results of saq: 1, and not 2"):
            speed.settled(liar, 2, PEERS["saq"])


def test_claims_are_timed_with_as_many_jobs_queued(
    place: Server, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each size has a figure for submits and claims per round, and the queue is as long as it says."""
    for module in growth, claims:
        monkeypatch.setattr(module, "STEP", 10)
    submits, found = trio.run(claims.measure, place, postgres_url, (0, 30), 2)
    for figures in submits, found:
        assert [(name, len(each)) for name, each in figures.items()] == [("0 queued", 2), ("30 queued", 2)]
        assert min(map(min, figures.values())) > 0
    assert place.ask(postgres_url, "SELECT count(*) FROM trio_jobs.job WHERE state = 'queued'") == 30


def test_a_database_is_gone_after_its_measurement(place: Server) -> None:
    """Each measurement has a database that is empty, and that nobody finds afterwards."""
    with place.database() as address:
        assert place.ask(address, "SELECT count(*) FROM pg_namespace WHERE nspname = 'trio_jobs'") == 0
    there = place.run("SELECT datname FROM pg_database")
    assert (address.rpartition("/")[2],) not in there
