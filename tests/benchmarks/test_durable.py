"""The benchmark of jobs in a file runs, and reports no speed of work that was not done."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from benchmarks.durable import __main__ as script
from benchmarks.durable import parts, speed, tokens
from benchmarks.durable.checks import Scale, WrongResult, against_best, in_turn
from benchmarks.durable.libraries import OURS, PEERS, install
from benchmarks.durable.programs import ProgramFailed, running
from trio_jobs import JobContext

TINY = Scale(jobs=20, singles=2, tokens=2000, queued=(10, 20), finished=10, rounds=1)
LIAR = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"right": 1, "first": 0, "settled": 1}), flush=True)
"""


async def work(job: JobContext[int], n: int) -> list[float]:
    return [n % 7, 0.0]


@pytest.mark.deep
def test_it_runs_and_measures_everything() -> None:
    """Without any peer, every section has its rows, every figure is more than 0, and no check fails."""
    rows = list(script.rows(TINY, [OURS]))
    sections = {row.section for row in rows}
    assert sections == {"submit", "run", "latency", "tokens", "queue", "opening"}
    assert [row.name for row in rows if not row.figures or min(row.figures.values()) <= 0] == []
    judged = [str(check) for row in rows for check in row.checks if check.mark != "for reference"]
    assert len(judged) == 4, judged


def test_jobs_with_wrong_results_have_no_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that returns a wrong number is found, in one process."""
    monkeypatch.setattr(speed, "work", work)
    with pytest.raises(WrongResult, match="results"):
        trio.run(speed.by_ours, tmp_path / "jobs.db", 10, 5)


def test_parts_that_finish_nothing_have_no_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The upper limit has no figure if the jobs are not completed in the file."""
    monkeypatch.setattr(parts, "FINISH", "SELECT ?, ?")
    with pytest.raises(WrongResult, match="jobs in the file: 0, and not 10"):
        trio.run(speed.by_parts, tmp_path / "jobs.db", 10, 5)


def test_a_client_that_found_too_few_results_is_not_believed() -> None:
    """A library whose client got fewer right results than it submitted jobs has no speed."""
    with running("liar", [sys.executable, "-c", LIAR]) as liar:
        assert speed.settled(liar, 1, OURS)["settled"] == 1
        with pytest.raises(WrongResult, match="right results of ours: 1, and not 2"):
            speed.settled(liar, 2, OURS)


def test_tokens_that_arrive_changed_have_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that follows a job compares each token with what it should be."""
    right = tokens.token
    monkeypatch.setattr(tokens, "token", lambda n: right(max(n, 1)))
    with pytest.raises(WrongResult, match="right tokens: 49, and not 50"):
        tokens.measure(50, 1)


def test_a_program_that_ends_or_hangs_is_an_error() -> None:
    """A program without an answer raises an error with its last output, and one that hangs is killed."""
    with (
        running("quitter", [sys.executable, "-c", "raise SystemExit('no more')"]) as quitter,
        pytest.raises(ProgramFailed, match=r"quitter did not answer (?s:.)*no more"),
    ):
        quitter.ask({"do": "settle"})
    with (
        running("sleeper", [sys.executable, "-c", "input(); input()"]) as sleeper,
        pytest.raises(ProgramFailed, match="sleeper did not answer"),
    ):
        sleeper.ask({"do": "settle"}, patience=0.01)
    assert sleeper.process.returncode is not None


def test_the_program_that_died_is_named() -> None:
    """A wait for a program that has crashed ends, and the error names the program."""
    with (
        running("the worker", [sys.executable, "-c", "raise SystemExit('locked')"]),
        running("the client", [sys.executable, "-c", "input(); input()"]) as client,
        pytest.raises(ProgramFailed, match=r"the worker had died \(exit status 1\)\nlocked"),
    ):
        client.ask({"do": "settle"}, patience=60)


def test_a_peer_that_fails_is_left_out_and_ours_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    """A peer's failure is printed and costs only its figures; a failure of ours ends the benchmark."""

    def fail() -> float:
        raise WrongResult("nothing was done")

    versions: dict[str, Callable[[], float]] = {"trio_jobs": lambda: 1.0, "arq": fail}
    assert in_turn(2, versions, PEERS) == {"trio_jobs": [1.0, 1.0]}
    assert "arq is left out here: nothing was done" in capsys.readouterr().out
    with pytest.raises(WrongResult):
        in_turn(1, {"trio_jobs": fail}, PEERS)


@pytest.mark.parametrize(
    ("at_most", "name", "value"),
    [(False, "/ quick, the best peer", 2.0), (True, "/ slow, the best peer", 6.0)],
)
def test_ours_is_compared_with_the_best_peer(at_most: bool, name: str, value: float) -> None:
    """The best peer has the most per second, or the fewest seconds; our own other figures are no peer."""
    figures = {"trio_jobs": [6.0], "trio_jobs, 2 processes": [9.0], "slow": [1.0], "quick": [3.0]}
    (check,) = against_best(figures, at_most=at_most)
    assert (check.name, check.value) == (name, value)
    assert against_best({"trio_jobs": [6.0], "trio_jobs, 2 processes": [9.0]}) == []


def test_a_peer_without_redis_is_skipped_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without redis-server, peers on Redis are not even installed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    found = [install(peer, tmp_path) for peer in PEERS.values() if peer.on_redis]
    assert len(found) == 4
    assert all(isinstance(why, str) and "redis-server" in why for why in found)
    assert list(tmp_path.iterdir()) == []
