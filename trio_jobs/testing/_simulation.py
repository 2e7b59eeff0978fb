"""Deterministic simulation: workers, front ends, clients and readers over one store, with faults, by a seed.

Everything runs in one Trio run in virtual time, so an hour of crashes takes milliseconds, and everything
that is left to chance follows from the seed, so what was found once can be had again. What happened is
written into journals by clients, readers and handlers, and judged afterwards by `check_history`.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

import attrs
import outcome
import trio

from .._model.job import Retention
from .._model.retry import Retry
from ..stores.memory import MemoryStore
from ._faults import FAULTS, PROMPT, Faults
from ._history import History
from ._host import Host, chaos
from ._journal import journalled
from ._judge import check_history
from ._load import Drawn, Load
from ._scripted import ENDS, LISTENING, STEPS, listening, scripted
from ._seeded import run_seeded
from ._trace import Trace

_STEPS: Final = [what for what in STEPS if what not in {"pipe", "tidy"}] + ["send", "shield"]
_ALL: Final = {**STEPS, **LISTENING}
_BOX: Final = 4
"""How many unconsumed inputs a job may have; this few, so that some are refused."""


def draw_job(random: Random) -> Drawn:
    """Draw a job that sends, sleeps, saves and heeds, and how it ends: what is simulated by default.

    Some are sent inputs; these also receive, wait, and run steps.
    """
    listens = random.random() < 0.4
    known = [*LISTENING, "send", "save", "sleep", "child", *["shield"] * 3] if listens else _STEPS
    steps = [
        (what, random.choice(_ALL[what]))
        for what in (random.choice(known) for _ in range(random.randint(listens, 5)))
    ]
    options: dict[str, Any] = {
        "retry": Retry(attempts=random.randint(1, 4), initial=0.5, jitter=0),
        "priority": random.randint(0, 3),
        "delay": random.choice((0.0, 0.0, 0.0, 3.0)),
        "owner": random.choice((None, None, "me", "you")),
    }
    if random.random() < 0.2:
        options["timeout"] = random.choice((0.5, 3.0))
    return listening if listens else scripted, (tuple(steps), random.choice(("return",) * 6 + ENDS)), options


@attrs.frozen
class Scenario:
    """What is simulated, but for what the seed decides.

    Attributes:
        workers: Hosts of processes that run jobs, or only one.
        fronts: Hosts of processes that only submit and watch.
        clients: Tasks that submit jobs, watch, cancel and resume.
        jobs: How many jobs each client submits, at most.
        capacity: How many attempts a worker runs at once, at most.
        seconds: How long faults happen, in virtual seconds.
        patience: Virtual seconds after that in which every job must end.
        faults: The kinds of fault that may happen, of those in `FAULTS`; each run has some of them.
        draw_job: Draws a job: a handler, its arguments, and options of `submit`.
    """

    workers: int = 2
    fronts: int = 1
    clients: int = 2
    jobs: int = 3
    capacity: int = 3
    seconds: float = 30.0
    patience: float = 3000.0
    faults: frozenset[str] = frozenset(FAULTS)
    draw_job: Callable[[Random], Drawn] = draw_job


class SimulationFailed(AssertionError):
    """A simulated run broke a promise; the text says which, and how to have the run again.

    Attributes:
        trace: What happened.
    """

    def __init__(self, scenario: Scenario, trace: Trace, error: BaseException) -> None:
        command = f"python -m trio_jobs.testing --seed {trace.seed}"
        again = command if scenario == Scenario() else f"simulate(scenario, seed={trace.seed})"
        faults = ", ".join(sorted(trace.faults)) or "none"
        super().__init__(f"{error}\n\nwith the faults {faults}; to have it again: {again}")
        self.trace = trace


def simulate(scenario: Scenario | None = None, seed: int = 0) -> Trace:
    """Simulate one run, and check what happened.

    The same scenario and seed take the same course on the same versions of Python, Trio and trio_jobs.

    Args:
        scenario: What is simulated.
        seed: What decides all the rest.

    Returns:
        What happened.

    Raises:
        SimulationFailed: A promise was broken; its cause says which.
        RuntimeError: This version of Trio cannot be made deterministic.
    """
    scenario = scenario or Scenario()
    simulation = Simulation(scenario, seed)
    try:
        run_seeded(simulation.run, seed)
    except Exception as error:
        raise SimulationFailed(scenario, simulation.trace, error) from error
    return simulation.trace


class Simulation:
    """One run.

    Attributes:
        trace: What happened, in order.
        history: The journals.
    """

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.random = Random(seed)
        kinds = frozenset(kind for kind in sorted(scenario.faults) if self.random.random() < 0.5)
        self.trace = Trace(seed, kinds)
        self._scenario = scenario
        self._faults = Faults(self.random, kinds, self.random.choice((2.0, 5.0, 10.0)))
        cut = set[str]()
        lease = self._faults.lease
        self.history = History(cut=cut, mute=cut, soon=lease, prompt=lease if kinds <= PROMPT else None)

    async def run(self) -> None:
        """Let it happen, and check it."""
        scenario, faults = self._scenario, self._faults
        store = MemoryStore(retention=Retention(inputs=_BOX))
        self.history.box = _BOX
        self.history.epoch = store._epoch  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        workers = self.random.choice((1, scenario.workers))  # what is lost comes back to one that is alone
        counts = {"worker": workers, "front": scenario.fronts}
        hosts: list[Host] = []
        for kind, count in counts.items():
            for number in range(count):
                capacity = self.random.randint(1, scenario.capacity) if kind == "worker" else 0
                name = f"{kind}{number}"
                hosts.append(Host(name, capacity, store, faults, trace=self.trace, history=self.history))
        load = Load(hosts, self.history, self.random, self._draw)
        async with trio.open_nursery() as nursery:
            for host in hosts:
                nursery.start_soon(host.run, name=host.name)
            nursery.start_soon(load.run, scenario.clients, scenario.jobs)
            with trio.move_on_after(scenario.seconds):
                await chaos(hosts, faults)
            faults.on = False
            self.trace.note("", "calm")
            with trio.move_on_after(scenario.patience):
                await load.done.wait()
            self.history.settled = True
            await self.history.collect(store)
            for job_id, log in self.history.logs.items():
                self.trace.note("store", self.trace.number(job_id), log)
            judged = outcome.capture(check_history, self.history)  # who is cancelled waits no more
            done = load.done.is_set()
            nursery.cancel_scope.cancel()
        judged.unwrap()
        assert done, "a client found nobody to ask"

    def _draw(self) -> Drawn:
        fn, args, options = self._scenario.draw_job(self.random)
        return journalled(fn, self.history), args, options
