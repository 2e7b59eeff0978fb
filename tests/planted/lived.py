"""Bugs that only lives of jobs and simulations reveal: hangs, orderly exits, and rare verbs."""

from __future__ import annotations

from tests.planted.bug import Bug

LIVED = [
    Bug(
        "a reader does not take an empty page for the end",
        "a reader that has seen the last event of a job in memory waits for ever for another one",
        "stores/_looking.py",
        "        while not events and row.finished is None:\n",
        "        while not events:\n",
        "lives",
    ),
    Bug(
        "only a completed job wakes its waiters",
        "`wait()` of a job that fails or is cancelled never returns",
        "stores/memory.py",
        "            if row.waiters is not None:",
        "            if row.waiters is not None and row.reason is None:",
        "simulation",
    ),
    Bug(
        "a child swallows its parent's cancellation",
        "a cancelled job whose child was cancelled with it is COMPLETED",
        "_running/runner.py",
        "        if cancelled is not None:\n            raise cancelled",
        "        if cancelled is not None and attempt.parent is None:\n            raise cancelled",
        "cancel",
    ),
    Bug(
        "a handler does not get the request to cancel",
        "a cancellation with a grace waits for all of it, as the handler gets no request",
        "_running/attempt.py",
        "        self.context.cancel_requested.set()\n",
        "        if grace > 1:\n            self.context.cancel_requested.set()\n",
        "lives",
    ),
    Bug(
        "leases lapse while a cancelled registry cleans up",
        "a job runs twice at once, as its first worker takes long to stop",
        "_registry/opening.py",
        "last = trio.CancelScope(shield=True), trio.CancelScope(shield=True)",
        "last = trio.CancelScope(), trio.CancelScope()",
        "lives",
    ),
    Bug(
        "an attempt that stops keeps no lease",
        "a job with a long cleanup is reclaimed meanwhile, and runs twice at once",
        "_running/runner.py",
        "held = {job_id: attempt.claim.attempt for job_id, attempt in self.attempts.items()}",
        "held = {\n                    job_id: attempt.claim.attempt\n"
        "                    for job_id, attempt in self.attempts.items()\n"
        "                    if not attempt.deadlines.scope.cancel_called\n                }",
        "lives",
    ),
    Bug(
        "a drain goes on claiming",
        "a deploy never ends, as long as there is work",
        "_registry/opening.py",
        "        worker.pause(paused=True)\n        await worker.wait_idle()\n",
        "        await worker.wait_idle()\n",
        "lives",
    ),
    Bug(
        "room in the queue is checked, and taken later",
        "of several jobs that an owner submits at once more wait than the limit",
        "stores/memory.py",
        "        for row in [self._accept(new, now) for new in coming]:",
        "        import trio\n\n        await trio.lowlevel.checkpoint()\n"
        "        for row in [self._accept(new, now) for new in coming]:",
        "lives",
    ),
    Bug(
        "a job between two attempts is not counted in the queue",
        "an owner whose jobs fail has more of them waiting than the limit",
        "stores/_roll.py",
        "for state in WAITING)",
        "for state in {State.QUEUED})",
        "lives",
    ),
    Bug(
        "a spawn is not repeated",
        "a job fails because the store was unavailable when it started a child",
        "_running/worker.py",
        "await retry_until_answered(self.store.spawn, job_id, above.attempt, child, worker)",
        "await self.store.spawn(job_id, above.attempt, child, worker)",
        "lives",
    ),
    Bug(
        "a handler's wait for a child is not repeated",
        "a job fails because the store was unavailable while it waited for its child",
        "_running/worker.py",
        "return JobHandle(self._patient, child.id)",
        "return JobHandle(self, child.id)",
        "lives",
    ),
    Bug(
        "the rest of a batch is not claimed",
        "of several jobs that were submitted at once only the first ones run",
        "stores/memory.py",
        "        claims = self._claim(limit, worker, now)\n"
        "        if self._waiting or self._lanes or self._services:\n",
        "        claims = self._claim(limit, worker, now)\n        if self._waiting and len(coming) == 1:\n",
        "simulation",
    ),
    Bug(
        "a job that is handed over has to wait",
        "at each deploy all jobs pause for a while",
        "_running/outcome.py",
        "delay=0.0 if durable else None",
        "delay=1.0 if durable else None",
        "lives",
    ),
    Bug(
        "a result that never returns",
        "`result()` of a cancelled job hangs, and `wait()` does not",
        "_watching/handle.py",
        "        end = await self._access.end(self.id)\n        if end.reason",
        "        end = await self._access.end(self.id)\n        while end.state == 'cancelled':\n"
        "            await __import__('trio').sleep_forever()\n        if end.reason",
        "lives",
    ),
    Bug(
        "a drain waits for nothing",
        "`on_exit='drain'` of a shared store stops attempts that should run to their ends",
        "_registry/opening.py",
        "        worker.pause(paused=True)\n        await worker.wait_idle()\n",
        "        worker.pause(paused=True)\n",
        "lives",
    ),
    Bug(
        "who gives back a slot keeps it",
        "after a few snoozes and waits for answers a worker runs nothing any more",
        "_running/runner.py",
        "        if attempt.slot:\n            self.running -= 1\n        self._changed.ring()\n",
        "        ended = attempt.outcome and attempt.outcome.ended\n"
        "        if attempt.slot and (ended is None or ended.reason not in REPEATED):\n"
        "            self.running -= 1\n        self._changed.ring()\n",
        "lives",
    ),
    Bug(
        "a step that raised is kept",
        "a payment that failed is not tried again",
        "_running/steps.py",
        "            self._used.discard(name)\n            raise\n",
        "            await self._keep(Step(name, digest, None))\n            raise\n",
        "lives",
    ),
]
