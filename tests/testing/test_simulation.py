"""The simulation: the same seed gives the same run, faults have their effects, broken promises are found."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections import Counter
from random import Random
from typing import Any

import pytest
import trio

from trio_jobs import Job, JobContext, Limit, Schedule, handler
from trio_jobs._common.error_text import leaves
from trio_jobs._running.worker import Worker
from trio_jobs.stores.memory import MemoryStore
from trio_jobs.testing import BadHistory, Scenario, SimulationFailed, simulate
from trio_jobs.testing.__main__ import hunt, main
from trio_jobs.testing._faults import FAULTS

FOUND = {
    24: "a worker that was given a job back for the third time did not wait for its first attempt",
    23: "a claim was answered after the registry was left",
}
"""The seeds that found something wrong in the package, and what."""


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)  # what workers say of faults is no news here


@pytest.mark.parametrize("seed", FOUND, ids=str)
def test_what_was_found_stays_mended(seed: int) -> None:
    """Each seed that once found a bug passes."""
    simulate(seed=seed)


@pytest.mark.parametrize(
    "hash_seed", ["0", *(pytest.param(seed, marks=pytest.mark.deep) for seed in ("1", "42"))]
)
def test_the_same_seed_takes_the_same_course(hash_seed: str) -> None:
    """In every process, whatever its hash seed, a seed gives the same trace, step by step."""
    code = "from trio_jobs.testing import simulate; print(*[simulate(seed=n).digest for n in range(25)])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert done.stdout.split() == [simulate(seed=seed).digest for seed in range(25)]


@pytest.mark.deep
def test_seeds_take_different_courses() -> None:
    """Nearly every seed gives a new run, and every kind of fault happens."""
    traces = [simulate(seed=seed) for seed in range(100)]
    assert len({trace.digest for trace in traces}) >= 99
    assert {kind for trace in traces for kind in trace.faults} == set(FAULTS)
    told = Counter(what for trace in traces for _, _, what, _ in trace.steps)
    for what in (
        "crash",
        "freeze",
        "restart",
        "drain",
        "find",
        "request_cancel",
        "claim",
        "heartbeat",
        "sweep",
        "append",
        "finish",
    ):
        assert told[what] > 5, what
    assert any("LeaseLost" in outcome for trace in traces for *_, outcome in trace.steps)


def test_a_run_without_faults() -> None:
    """Without faults, no process crashes, pauses or restarts."""
    for seed in range(20):
        trace = simulate(Scenario(faults=frozenset()), seed)
        assert trace.faults == frozenset()
        assert not {"crash", "freeze", "restart", "drain", "interrupt"} & {
            what for _, _, what, _ in trace.steps
        }


def test_a_worker_that_takes_what_it_claimed_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where workers only start and leave in order, a job that one of them left behind is found."""
    comings_and_goings = Scenario(workers=3, clients=3, faults=frozenset({"restart"}))
    for seed in range(12):
        simulate(comings_and_goings, seed)

    async def forget(worker: Worker, *_: Any) -> None:
        pass

    monkeypatch.setattr(Worker, "_give_back", forget)
    monkeypatch.setattr("trio_jobs._running.runner.Runner._finish", forget)
    with pytest.raises(SimulationFailed, match="leaving_costs_nothing"):
        for seed in range(12):
            simulate(comings_and_goings, seed)


def test_a_trace_can_be_read() -> None:
    """A trace has its seed, its faults, and a line for each step, with numbers in place of ids."""
    trace = simulate(seed=7)
    first, *lines = str(trace).splitlines()
    assert first.startswith("seed 7, faults: ")
    assert len(lines) == len(trace.steps)
    assert "job1" in str(trace)


class Forgetful(MemoryStore):
    """A store whose sweep reclaims nothing."""

    def _lease(self, row: Any, lease: float, now: float) -> None:
        pass


class Unfenced(MemoryStore):
    """A store that lets any attempt write, as long as the job runs."""

    def _running(self, job_id: str, attempt: int, claim: str | None = None) -> Any:
        row = self._rows[job_id]
        return super()._running(job_id, row.attempt, row.claim)


class Silent(MemoryStore):
    """A store in which the end of a job wakes no waiting task."""

    async def ended(self, job_id: str) -> Job:
        if not (await self.get(job_id)).state.over:
            await trio.sleep_forever()
        return await super().ended(job_id)


SEEDS = range(290, 390)  # a zombie that writes is found by few seeds in a hundred


@pytest.mark.parametrize("store", [Forgetful, pytest.param(Unfenced, marks=pytest.mark.deep), Silent])
def test_a_broken_store_is_found(store: type[MemoryStore], monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that are not reclaimed, writes of old attempts, and endless waits are found within 100 seeds; the
    same seed finds them again, and the message says how."""
    monkeypatch.setattr("trio_jobs.testing._simulation.MemoryStore", store)
    seed = next((seed for seed in SEEDS if _breaks(seed)), None)
    assert seed is not None
    with pytest.raises(SimulationFailed, match=f"python -m trio_jobs.testing --seed {seed}") as failed:
        simulate(seed=seed)
    assert failed.value.trace.steps
    assert failed.value.__cause__ is not None
    assert all(isinstance(one, BadHistory | AssertionError) for one in leaves(failed.value.__cause__))


def _breaks(seed: int) -> bool:
    try:
        simulate(seed=seed)
    except SimulationFailed:
        return True
    return False


def test_ones_own_jobs() -> None:
    """A scenario may draw jobs of its own, and the message of a failure says how to repeat it."""
    paid: list[str] = []

    async def pay(job: JobContext[str]) -> None:
        paid.append(job.id)
        await trio.sleep(1)

    scenario = Scenario(draw_job=lambda random: (pay, (), {"delay": random.random()}))
    simulate(scenario, 3)
    assert paid

    def draw(random: Random) -> Any:
        raise LookupError("no job")

    with pytest.raises(SimulationFailed, match=r"simulate\(scenario, seed=3\)"):
        simulate(Scenario(draw_job=draw), 3)


def test_ones_own_limits_and_schedules() -> None:
    """A scenario may have limits and schedules of its own, which are kept and fire."""
    running, paid = 0, list[bool]()

    @handler(limits=["till"])
    async def pay(job: JobContext[str], scheduled: bool) -> None:
        nonlocal running
        running += 1
        paid.append(scheduled)
        assert running == 1
        await trio.sleep(1)
        running -= 1

    scenario = Scenario(
        draw_job=lambda random: (pay, (False,), {}),
        faults=frozenset({"slow"}),
        handlers=[pay],
        limits={"till": Limit(at_once=1)},
        schedules=[Schedule(pay, (True,), every=5)],
    )
    assert "fire" in {what for _, _, what, _ in simulate(scenario, 3).steps}
    assert {*paid} == {True, False}


def test_the_command_replays_a_seed(capsys: pytest.CaptureFixture[str]) -> None:
    """`--seed` prints every step of one run, and exits with 0 if it is good."""
    assert main(["--seed", "7"]) == 0
    assert capsys.readouterr().out.strip() == str(simulate(seed=7))


def test_the_command_shows_what_a_seed_broke(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--seed` of a bad run prints its steps and the broken promise, and exits with 1."""
    monkeypatch.setattr("trio_jobs.testing._simulation.MemoryStore", Unfenced)
    seed = next(seed for seed in SEEDS if _breaks(seed))
    assert main(["--seed", str(seed)]) == 1
    shown = capsys.readouterr().out
    assert "  claim  " in shown
    assert f"--seed {seed}" in shown


@pytest.mark.deep
def test_the_command_hunts(capsys: pytest.CaptureFixture[str]) -> None:
    """`--seeds` simulates that many in several processes, and prints how many different runs there were."""
    assert main(["--seeds", "60", "--first", "1000", "--processes", "2"]) == 0
    assert "60 seeds from 1000 on, 60 different courses, 0 broken" in capsys.readouterr().out


@pytest.mark.deep
def test_a_hunt_reports_what_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hunt continues after a failure, and returns each with its seed."""
    monkeypatch.setattr("trio_jobs.testing._simulation.MemoryStore", Unfenced)
    digests, broken = hunt(SEEDS)
    assert len(digests) + len(broken) == 100
    assert broken
    assert all(f"--seed {seed}" in text for seed, text in broken)


@pytest.mark.parametrize("arguments", [["--seeds", "0"], ["--processes", "0"], ["--seed", "x"]])
def test_the_command_refuses_nonsense(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong or too small number is named."""
    with pytest.raises(SystemExit):
        main(arguments)
    assert "error" in capsys.readouterr().err


def test_a_worker_that_forgets_its_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in the package itself is raised with its traceback, of whatever class."""

    def end(self: Worker, attempt: object) -> None:
        raise KeyError(attempt)

    monkeypatch.setattr(Worker, "_end", end)
    with pytest.raises(SimulationFailed) as failed:
        simulate(seed=0)
    assert isinstance(failed.value.__cause__, ExceptionGroup)
