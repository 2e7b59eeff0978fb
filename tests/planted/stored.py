"""Bugs of our own stores that only a race, very many jobs or a fraction of a second reveals."""

from __future__ import annotations

from tests.planted.bug import Bug

MEMORY, QUEUE, ROLL = "stores/memory.py", "stores/_queue.py", "stores/_roll.py"
LOOKING = "stores/_looking.py"
SCHEDULES, SCHEDULING = "stores/schedules.py", "stores/_scheduling.py"
STORE = "stores/sqlite/store.py"

_WAIT = "        import trio\n\n        await trio.lowlevel.checkpoint()\n"

STORED = [
    Bug(
        "request_cancel reads, waits, and writes later",
        "a job that completed meanwhile is CANCELLED, or its request is in the log behind its end",
        MEMORY,
        "            return answer\n        self._mark(",
        f"            return answer\n{_WAIT}        self._mark(",
        "store",
    ),
    Bug(
        "append reads, waits, and writes later",
        "a token is in the log behind the end of its job",
        MEMORY,
        "        row = self._running(job_id, attempt)\n        if offset",
        f"        row = self._running(job_id, attempt)\n{_WAIT}        if offset",
        "store",
    ),
    Bug(
        "finish reads, waits, and writes later",
        "an attempt ends after it was reclaimed",
        MEMORY,
        "        row = self._running(job_id, attempt)\n        self._conclude",
        f"        row = self._running(job_id, attempt)\n{_WAIT}        self._conclude",
        "store",
    ),
    Bug(
        "spawn reads, waits, and writes later",
        "a child runs on whose parent has ended",
        MEMORY,
        "        above = self._running(parent, attempt)\n",
        f"        above = self._running(parent, attempt)\n{_WAIT}",
        "store",
    ),
    Bug(
        "remove reads, waits, and deletes later",
        "of two callers that remove a job at once one gets an error outside the contract",
        MEMORY,
        "rules.check_removable(row.state)\n        self._forget(job_id)",
        f"rules.check_removable(row.state)\n{_WAIT}        self._forget(job_id)",
        "store",
    ),
    Bug(
        "a wait for the end of a job reads first, and subscribes later",
        "`result()` hangs although the job has ended",
        LOOKING,
        "            row.waiters = row.waiters or Bell()\n",
        "            await trio.lowlevel.checkpoint()\n            row.waiters = row.waiters or Bell()\n",
        "store",
    ),
    Bug(
        "a worker reads the requests to cancel, and subscribes later",
        "a job is cancelled seconds late, by the next heartbeat",
        LOOKING,
        "            await self._requests.wait()\n",
        "            await trio.lowlevel.checkpoint()\n            await self._requests.wait()\n",
        "store",
    ),
    Bug(
        "a lease is cut to whole seconds",
        "with leases below a second every attempt is reclaimed at once",
        MEMORY,
        "self._leases.add(row.submission.id, now + lease, 0)",
        "self._leases.add(row.submission.id, now + lease // 1, 0)",
        "store",
    ),
    Bug(
        "what was handed over ranks anew",
        "a job that was running when its worker stopped waits behind all that came meanwhile",
        MEMORY,
        "row.due = row.first_due if done.keeps_rank else now + done.delay",
        "row.due = now + done.delay",
        "store",
    ),
    Bug(
        "what failed keeps its rank",
        "a job that fails over and over is tried before all that came meanwhile",
        MEMORY,
        "row.due = row.first_due if done.keeps_rank else now + done.delay",
        "row.due = now + done.delay if done.delay else row.first_due",
        "store",
    ),
    Bug(
        "losses are never forgotten",
        "a job that snoozes for years fails with the third worker that is lost in all",
        MEMORY,
        "row.losses + 1 if done.ended.reason is Reason.WORKER_LOST else 0",
        "row.losses + (done.ended.reason is Reason.WORKER_LOST)",
        "store",
    ),
    Bug(
        "losses are counted with the budget",
        "a job that failed twice, and may three times, fails with the first worker that is lost",
        MEMORY,
        "rules.worker_lost(row.losses + 1, attempts",
        "rules.worker_lost(row.spent, attempts",
        "store",
    ),
    Bug(
        "a heartbeat for a child gives it a lease",
        "a child is reclaimed while its parent runs",
        MEMORY,
        "            if row.parent is None:\n                self._lease(row, lease, now)\n",
        "            self._lease(row, lease, now)\n",
        "store",
    ),
    Bug(
        "the queue is no heap after its cleanup",
        "after many cancellations the other jobs start in the wrong order",
        QUEUE,
        "            heapq.heapify(self._later)\n            heapq.heapify(self._ready)\n",
        "            self._later.reverse()\n            self._ready.reverse()\n",
        "store",
    ),
    Bug(
        "an owner's waiting jobs are counted without retries",
        "an owner whose jobs fail fills the queue",
        ROLL,
        "for state in WAITING)",
        "for state in {State.QUEUED})",
        "store",
    ),
    Bug(
        "a sweep stops after one batch",
        "after an hour without a sweep hundreds of jobs stay RUNNING until the next one, and more after that",
        STORE,
        "        while swept >= ends.BATCH:\n            swept",
        "        if swept >= ends.BATCH:\n            swept",
        "file",
    ),
    Bug(
        "a prune stops after one batch",
        "the file grows although it is pruned each night",
        STORE,
        "        while batch >= ends.BATCH:\n",
        "        while batch > pruned >= 0:\n",
        "file",
    ),
    Bug(
        "a follower of a file reads before it subscribes",
        "a reader misses the event in between, and waits",
        STORE,
        "                await grown.wait_past(seen)\n                waited",
        "                await grown.wait_past(grown.count)\n                waited",
        "file",
    ),
    Bug(
        "a worker on a file counts the rings after it has read the requests",
        "a job is cancelled seconds late, by the next heartbeat",
        STORE,
        "            found = await self._read(looking.cancelling)\n",
        "            found = await self._read(looking.cancelling)\n"
        "            seen = self._signals.requests.count\n",
        "file",
    ),
    Bug(
        "finish checks the attempt, and writes in a second transaction without a check",
        "a job whose cancellation was requested in between is retried",
        STORE,
        "        state = await self._write_to(job_id, ends.finish, attempt, outcome, result)\n",
        "        running = await self._write_to(job_id, ends.running, attempt)\n"
        "        state = await self._write(lambda tx: ends.settle(tx, running, outcome, result))\n",
        "file",
    ),
    Bug(
        "a tick is fired by the row that was seen",
        "two processes submit a job for the same tick",
        SCHEDULES,
        "        return same and not self.paused and tick > self.last_tick\n",
        "        return not self.paused and tick > seen.last_tick\n",
        "store",
    ),
    Bug(
        "fire looks at the row, waits, and submits later",
        "two processes submit a job for the same tick, now and then",
        SCHEDULING,
        "            return False\n        await self.submit",
        f"            return False\n{_WAIT}        await self.submit",
        "store",
    ),
    Bug(
        "a tick is written down before its job is accepted",
        "a report never comes because the queue was full at its time",
        SCHEDULING,
        "        await self.submit([job], 0, _NOBODY)  # without a checkpoint, so this is one step\n"
        "        self._schedules[seen.schedule.name] = row.fired(tick)\n",
        "        self._schedules[seen.schedule.name] = row.fired(tick)\n"
        "        await self.submit([job], 0, _NOBODY)\n",
        "store",
    ),
    Bug(
        "a schedule is declared anew at each opening",
        "what an operator has paused fires again after the next deploy",
        SCHEDULING,
        "            if old is None:\n",
        "            if old is None or old.paused:\n",
        "store",
    ),
    Bug(
        "a schedule that was resumed counts from its last tick",
        "whoever resumes a schedule gets all that it was paused for",
        SCHEDULES,
        "        last = self.last_tick if paused else max(self.last_tick, now)\n",
        "        last = self.last_tick\n",
        "store",
    ),
]
