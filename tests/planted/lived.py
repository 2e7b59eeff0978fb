"""Bugs that only lives of jobs and simulations show: hangs, orderly leaves, and the rarer verbs."""

from __future__ import annotations

from tests.planted.bug import Bug

LIVED = [
    Bug(
        "an empty page is no end for a reader",
        "a reader that has seen the last event of a job in memory waits for ever for another one",
        "stores/memory.py",
        "        while not events and row.finished is None:\n",
        "        while not events:\n",
        "lives",
    ),
    Bug(
        "only a good end is told to those who wait",
        "`wait()` of a job that fails or is cancelled never returns",
        "stores/memory.py",
        "        if row.waiters is not None and row.finished is not None:",
        "        if row.waiters is not None and kind is Kind.COMPLETED:",
        "simulation",
    ),
    Bug(
        "a child keeps its parent's cancellation to itself",
        "a cancelled job whose child was cancelled with it is COMPLETED",
        "_running/runner.py",
        "        if cancelled is not None:\n            raise cancelled",
        "        if cancelled is not None and self.parent is None:\n            raise cancelled",
        "cancel",
    ),
    Bug(
        "the rest of a batch is not asked for",
        "of several jobs that were submitted at once only the first ones run",
        "stores/memory.py",
        "        claims = self._claim(limit, worker, now)\n        if self._waiting:\n",
        "        claims = self._claim(limit, worker, now)\n        if self._waiting and len(rows) == 1:\n",
        "lives",
    ),
    Bug(
        "what is handed over has to wait",
        "at each deploy all jobs stand still for a while",
        "_running/outcome.py",
        "delay=0.0 if durable else None",
        "delay=1.0 if durable else None",
        "lives",
    ),
    Bug(
        "a result that never comes",
        "`result()` of a cancelled job hangs, and `wait()` does not",
        "_watching/handle.py",
        "        job = await self.wait()\n        if job.reason",
        "        job = await self.wait()\n        if job.state is State.CANCELLED:\n"
        "            await trio.sleep_forever()\n        if job.reason",
        "lives",
    ),
    Bug(
        "a drain waits for nothing",
        "`on_exit='drain'` of a shared store stops what it was to end",
        "_registry/opening.py",
        "        worker.pause(paused=True)\n        await worker.wait_idle()\n",
        "        worker.pause(paused=True)\n",
        "lives",
    ),
]
