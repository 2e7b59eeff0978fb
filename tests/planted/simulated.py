"""Bugs in batches, cancellations by filter, exits, graces, and jobs that return to an earlier worker."""

from __future__ import annotations

from tests.planted.bug import Bug

REGISTRY, OPENING = "_registry/registry.py", "_registry/opening.py"
RUNNER, WORKER, ATTEMPT = "_running/runner.py", "_running/worker.py", "_running/attempt.py"

SIMULATED = [
    Bug(
        "an old attempt and a new one share a place",
        "a worker crashes when it is given back a job that it still cleans up after",
        RUNNER,
        "        if self.attempts.get(job_id) is attempt:\n",
        "        if self.attempts[job_id] is attempt:\n",
        "simulation",
    ),
    Bug(
        "an attempt waits only for the one before it",
        "a job that came back twice to a worker that still cleans up after it runs there beside itself",
        RUNNER,
        "        if self._superseded:",
        "        if older is not None:",
        "simulation",
    ),
    Bug(
        "the answer to a heartbeat is for whatever attempt is there now",
        "a job that came back to its worker is stopped, and nobody runs it until its lease lapses",
        RUNNER,
        "attempt is None or attempt.claim.attempt != number:",
        "attempt is None:",
        "simulation",
    ),
    Bug(
        "a heartbeat comes once a lease",
        "jobs of healthy workers are taken away now and then",
        RUNNER,
        "trio.move_on_after(lease / 3)",
        "trio.move_on_after(lease)",
        "simulation",
    ),
    Bug(
        "what comes too late for a drain is an error",
        "a deploy spends an attempt of jobs that were never begun",
        WORKER,
        "ended=Ended(Reason.SHUTDOWN, delay=0.0)",
        "ended=Ended(Reason.ERROR, delay=0.0)",
        "simulation",
    ),
    Bug(
        "a batch is submitted one by one",
        "of several jobs that were to come at once only some are there, and nobody was told of them",
        REGISTRY,
        "ids = await self._worker.submit(batch)",
        "ids = [one for new in batch for one in await self._worker.submit([new])]",
        "simulation",
    ),
    Bug(
        "`cancel_where` passes over what is to run again",
        "a job that failed for a moment runs on after everything was cancelled",
        REGISTRY,
        "states = UNFINISHED if wanted.states is None else",
        'states = {one for one in UNFINISHED if one != "retrying"} if wanted.states is None else',
        "simulation",
    ),
    Bug(
        "`cancel_where` asks one page",
        "of very many jobs that match only the first are cancelled",
        REGISTRY,
        "if (after := page.next) is None:",
        "if True:",
        "simulation",
    ),
    Bug(
        "`cancel_where` minds no states",
        "jobs that run are cancelled with those that wait",
        REGISTRY,
        "UNFINISHED & frozenset(wanted.states)",
        "UNFINISHED",
        "simulation",
    ),
    Bug(
        "`cancel_where` minds no owner where states are given",
        "jobs of others are cancelled too",
        REGISTRY,
        "attrs.evolve(wanted, states=states), 0",
        "attrs.evolve(wanted, states=states, owner=wanted.owner if states == UNFINISHED else None), 0",
        "simulation",
    ),
    Bug(
        "a grace is not told",
        "a handler that would end well is cancelled in the middle",
        ATTEMPT,
        "        self.context.cancel_requested.set()\n        if grace > 0:\n",
        "        if grace > 0:\n",
        "simulation",
    ),
    Bug(
        "a grace is granted only where it was asked for",
        "a job that runs in another process is cancelled at once",
        RUNNER,
        "attempt.notify_cancel(Reason.USER, answer.cancels[job_id])",
        "attempt.notify_cancel(Reason.USER, 0.0)",
        "simulation",
    ),
    Bug(
        "handlers are not answered while their registry is being left",
        "a handler that waits for a child job fails when its worker is told to go",
        RUNNER,
        " and not ((self.attempts or self._superseded) and (self.store.durable or not submits)):\n",
        ":\n",
        "simulation",
    ),
]
