"""Deterministic simulation: workers, front ends, clients and readers over one store, with faults, by a seed.

Everything runs in one Trio run in virtual time, so an hour of crashes takes milliseconds, and everything
that is left to chance follows from the seed, so what was found once can be had again. What happened is
written into journals by clients, readers and handlers, and judged afterwards by `check_history`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Final

import attrs
import outcome
import trio

from .._common.states import UNFINISHED
from .._model.exclusive import Debounce
from .._model.handler import mark_of
from .._model.job import Retention
from .._model.limits import Limit, limits_of
from .._model.retry import Retry
from .._model.schedule import Schedule
from .._registry.filter import every
from ..stores.contract import Where
from ..stores.memory import MemoryStore
from ._faults import FAULTS, PROMPT, Faults
from ._history import History
from ._host import Host, chaos
from ._journal import Handler, journalled
from ._judge import check_history
from ._load import Drawn, Load
from ._scripted import ENDS, LIMITED, LISTENING, SHARED, STEPS, listening, scripted
from ._seeded import run_seeded
from ._trace import Trace

_STEPS: Final = [what for what in STEPS if what not in {"pipe", "tidy"}] + ["send", "shield"]
_ALL: Final = {**STEPS, **LISTENING}
_ON_BUSY: Final = (*("reject", "attach", "replace", "cancel"), *("after",) * 3, Debounce(2.0, 5.0))
_FLOWS: Final = 0.3  # of the runs have jobs that are exclusive, or under limits
_EPOCH: Final = 1_800_000_000.0
_BOX: Final = 4
"""How many unconsumed inputs a job may have; this few, so that some are refused."""


def draw_job(random: Random) -> Drawn:
    """Draw a job that sends, sleeps, saves and heeds, and how it ends.

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


def draw_flow(random: Random) -> Drawn:
    """Draw a job as `draw_job` does, which may have an exclusive name, or a handler with limits."""
    fn, args, drawn = draw_job(random)
    options = dict(drawn)
    if random.random() < 0.6:
        on_busy = random.choice(_ON_BUSY)
        options |= {"exclusive": random.choice("aaab"), "on_busy": on_busy}
        options["owner"] = random.choice((*(None,) * 5, "me"))
        if isinstance(on_busy, Debounce):
            del options["delay"]  # it is one
    if fn is scripted and random.random() < 0.9:
        fn = random.choice(LIMITED)
        if any(isinstance(limit, Limit) and limit.keyed for limit in mark_of(fn).limits):
            options["limit_key"] = random.choice("kkl")
    return fn, args, options


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
        draw_job: Draws a job: a handler, its arguments, and options of `submit`. By default these are jobs
            that send, sleep, save, heed and are sent inputs; in some runs also exclusive and limited
            ones, and those of a schedule.
        handlers: Those of your handlers that have limits: who runs jobs tells the store of them at first.
        limits: The limits that handlers share, by name, as for `open_registry`.
        schedules: What each process declares, until the faults stop.
    """

    workers: int = 2
    fronts: int = 1
    clients: int = 2
    jobs: int = 3
    capacity: int = 3
    seconds: float = 30.0
    patience: float = 3000.0
    faults: frozenset[str] = frozenset(FAULTS)
    draw_job: Callable[[Random], Drawn] | None = None
    handlers: Sequence[Handler] = ()
    limits: Mapping[str, Limit] = attrs.field(factory=dict[str, Limit])
    schedules: Sequence[Schedule] = ()


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
        dice = Random(f"the flow of {seed}")  # its own, so that it changes nothing in other runs
        flows = scenario.draw_job is None and dice.random() < _FLOWS
        self._draw_job = scenario.draw_job or (draw_flow if flows else draw_job)
        self._faults = Faults(self.random, kinds, self.random.choice((2.0, 5.0, 10.0)))
        cut = set[str]()
        lease = self._faults.lease
        self.history = History(cut=cut, mute=cut, soon=lease, prompt=lease if kinds <= PROMPT else None)
        self._schedules = [
            attrs.evolve(one, handler=journalled(one.handler, self.history)) for one in scenario.schedules
        ]
        self._limits = {**(SHARED if flows else {}), **scenario.limits}
        handlers = [*scenario.handlers, *(LIMITED if flows else ())]
        self._handlers = [journalled(fn, self.history) for fn in handlers]
        if flows and dice.random() < 0.5:
            self._schedules.append(self._drawn_schedule(dice))

    async def run(self) -> None:
        """Let it happen, and check it."""
        scenario, faults = self._scenario, self._faults
        store = MemoryStore(retention=Retention(inputs=_BOX))
        self.history.box = _BOX
        # Ticks are on the wall clock: where that begins would else decide how their moments are rounded.
        store._epoch = self.history.epoch = _EPOCH  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        workers = self.random.choice((1, scenario.workers))  # what is lost comes back to one that is alone
        counts = {"worker": workers, "front": scenario.fronts}
        hosts: list[Host] = []
        for kind, count in counts.items():
            for number in range(count):
                capacity = self.random.randint(1, scenario.capacity) if kind == "worker" else 0
                name = f"{kind}{number}"
                host = Host(name, capacity, store, faults, trace=self.trace, history=self.history)
                host.options = {
                    "handlers": self._handlers,
                    "limits": self._limits,
                    "schedules": self._schedules,
                }
                hosts.append(host)
        load = Load(hosts, self.history, self.random, self._draw)
        async with trio.open_nursery() as nursery:
            for host in hosts:
                nursery.start_soon(host.run, name=host.name)
            nursery.start_soon(load.run, scenario.clients, scenario.jobs)
            with trio.move_on_after(scenario.seconds):
                await chaos(hosts, faults)
            faults.on = False
            self.trace.note("", "calm")
            for schedule in self._schedules:
                await store.pause_schedule(schedule.name, paused=True)
            with trio.move_on_after(scenario.patience):
                await load.done.wait()
                for job in await every(store, Where(UNFINISHED)):  # that schedules submitted
                    await store.ended(job.id)
            self.history.settled = True
            await self.history.collect(store)
            for job_id, log in self.history.logs.items():
                self.trace.note("store", self.trace.number(job_id), log)
            judged = outcome.capture(check_history, self.history)  # who is cancelled waits no more
            done = load.done.is_set()
            nursery.cancel_scope.cancel()
        judged.unwrap()
        assert done, "a client found nobody to ask"

    def _drawn_schedule(self, dice: Random) -> Schedule:
        """Draw a schedule, whose jobs take a while and may meet the one before."""
        on_busy = dice.choice(("reject", "after", "replace"))
        return Schedule(
            journalled(scripted, self.history),
            ((("sleep", dice.choice((0.5, 3.0))),), "return"),
            every=dice.choice((2.0, 7.0)),
            missed=dice.choice(("skip", "latest")),
            late=dice.choice((1.0, 60.0)),
            jitter=dice.choice((0.0, 1.0)),
            options=dice.choice(({}, {"exclusive": "a", "on_busy": on_busy})),
        )

    def _draw(self) -> Drawn:
        fn, args, options = self._draw_job(self.random)
        if (mark := mark_of(fn)).limits:
            self.history.limits[mark.name] = limits_of(mark.name, mark.limits, self._limits)
        return journalled(fn, self.history), args, options
