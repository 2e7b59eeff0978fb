"""Bugs in batches, cancellations by filter, exits, graces, and jobs that return to an earlier worker."""

from __future__ import annotations

from tests.planted.bug import Bug

REGISTRY, OPENING = "_registry/registry.py", "_registry/opening.py"
RUNNER, WORKER, ATTEMPT = "_running/runner.py", "_running/worker.py", "_running/attempt.py"

SIMULATED = [
    Bug(
        "an old attempt and a new one share an entry",
        "a worker crashes when it claims a job again whose cleanup still runs there",
        RUNNER,
        "        if self.attempts.get(job_id) is attempt:\n",
        "        if self.attempts[job_id] is attempt:\n",
        "simulation",
    ),
    Bug(
        "an attempt waits only for the one before it",
        "a job that a worker claimed twice again during its cleanup runs twice at once",
        RUNNER,
        "        if self._superseded:",
        "        if older is not None:",
        "simulation",
    ),
    Bug(
        "the answer to a heartbeat is applied to any attempt of the job",
        "a job that its worker claimed again is stopped, and runs nowhere until its lease lapses",
        RUNNER,
        "attempt is None or attempt.claim.attempt != number:",
        "attempt is None:",
        "simulation",
    ),
    Bug(
        "a heartbeat is sent once a lease",
        "jobs of healthy workers are sometimes reclaimed",
        RUNNER,
        "trio.move_on_after(lease / 3)",
        "trio.move_on_after(lease)",
        "simulation",
    ),
    Bug(
        "a job claimed too late for a drain is an error",
        "a deploy spends an attempt of jobs that never ran",
        WORKER,
        "ended = Ended(Reason.SHUTDOWN, delay=0.0)",
        "ended = Ended(Reason.ERROR, delay=0.0)",
        "simulation",
    ),
    Bug(
        "a batch is submitted one by one",
        "of several jobs submitted at once only some are stored, and the caller gets no handles",
        REGISTRY,
        "ids = await self._worker.submit(batch)",
        "ids = [one for new in batch for one in await self._worker.submit([new])]",
        "simulation",
    ),
    Bug(
        "`cancel_where` skips jobs that wait to retry",
        "a job between two attempts runs again after all jobs were cancelled",
        REGISTRY,
        "states = UNFINISHED if wanted.states is None else",
        'states = {one for one in UNFINISHED if one != "retrying"} if wanted.states is None else',
        "simulation",
    ),
    Bug(
        "`cancel_where` reads one page",
        "of very many jobs that match only the first are cancelled",
        REGISTRY,
        "if (after := page.next) is None:",
        "if True:",
        "simulation",
    ),
    Bug(
        "`cancel_where` ignores states",
        "jobs that run are cancelled with those that wait",
        REGISTRY,
        "UNFINISHED & frozenset(wanted.states)",
        "UNFINISHED",
        "simulation",
    ),
    Bug(
        "`cancel_where` ignores the owner if states are given",
        "jobs of others are cancelled too",
        REGISTRY,
        "wanted._replace(states=states), 0",
        "wanted._replace(states=states, owner=wanted.owner if states == UNFINISHED else None), 0",
        "simulation",
    ),
    Bug(
        "a handler gets no grace",
        "a handler that would complete within the grace is cancelled",
        ATTEMPT,
        "        self.context.cancel_requested.set()\n        if grace > 0:\n",
        "        if grace > 0:\n",
        "simulation",
    ),
    Bug(
        "a grace counts only in the process of the request",
        "a job that runs in another process is cancelled at once",
        RUNNER,
        "attempt.notify_cancel(Reason.USER, answer.cancels[job_id])",
        "attempt.notify_cancel(Reason.USER, 0.0)",
        "simulation",
    ),
    Bug(
        "handlers cannot use their registry while it is being left",
        "a handler that waits for a child job fails when its worker stops",
        RUNNER,
        " and not ((self.attempts or self._superseded) and (self.store.durable or not submits)):\n",
        ":\n",
        "simulation",
    ),
]
