"""Bugs of our own stores that only a race, very many jobs or a fraction of a second reveals."""

from __future__ import annotations

from tests.planted.bug import Bug

MEMORY, QUEUE, ROLL = "stores/memory.py", "stores/_queue.py", "stores/_roll.py"
STORE = "stores/sqlite/store.py"

_WAIT = "        await trio.lowlevel.checkpoint()\n"

STORED = [
    Bug(
        "request_cancel looks, waits, and writes later",
        "a job that completed meanwhile is CANCELLED, or its request is in the log behind its end",
        MEMORY,
        "            return answer\n        if row.cancel_requested is None:\n",
        f"            return answer\n{_WAIT}        if row.cancel_requested is None:\n",
        "store",
    ),
    Bug(
        "append looks, waits, and writes later",
        "a token is in the log behind the end of its job",
        MEMORY,
        "        row = self._running(job_id, attempt)\n        if offset",
        f"        row = self._running(job_id, attempt)\n{_WAIT}        if offset",
        "store",
    ),
    Bug(
        "finish looks, waits, and writes later",
        "an attempt ends after it was taken back",
        MEMORY,
        "        row = self._running(job_id, attempt)\n        self._conclude",
        f"        row = self._running(job_id, attempt)\n{_WAIT}        self._conclude",
        "store",
    ),
    Bug(
        "spawn looks, waits, and writes later",
        "a child runs on whose parent has ended",
        MEMORY,
        "        above = self._running(parent, attempt)\n",
        f"        above = self._running(parent, attempt)\n{_WAIT}",
        "store",
    ),
    Bug(
        "remove looks, waits, and forgets later",
        "of two who remove a job at once one gets an error that is none of the contract",
        MEMORY,
        "rules.check_removable(row.state)\n        self._forget(job_id)",
        f"rules.check_removable(row.state)\n{_WAIT}        self._forget(job_id)",
        "store",
    ),
    Bug(
        "who waits for the end of a job looks, and listens later",
        "`result()` hangs although the job has ended",
        MEMORY,
        "            row.waiters = row.waiters or Bell()\n",
        "            await trio.lowlevel.checkpoint()\n            row.waiters = row.waiters or Bell()\n",
        "store",
    ),
    Bug(
        "a worker looks for requests to cancel, and listens later",
        "a job is cancelled seconds late, by the next heartbeat",
        MEMORY,
        "            await self._requests.wait()\n",
        "            await trio.lowlevel.checkpoint()\n            await self._requests.wait()\n",
        "store",
    ),
    Bug(
        "a lease is cut to whole seconds",
        "with leases below a second every attempt is taken back at once",
        MEMORY,
        "self._leases.add(row.submission.id, now + lease, 0)",
        "self._leases.add(row.submission.id, now + lease // 1, 0)",
        "store",
    ),
    Bug(
        "a heartbeat for a child gives it a lease",
        "a child is taken back from under its parent",
        MEMORY,
        "            if row.parent is None:\n                self._lease(row, lease, now)\n",
        "            self._lease(row, lease, now)\n",
        "store",
    ),
    Bug(
        "the queue is no heap after it was tidied up",
        "when many jobs were cancelled the others start in any order",
        QUEUE,
        "            heapq.heapify(self._later)\n            heapq.heapify(self._ready)\n",
        "            self._later.reverse()\n            self._ready.reverse()\n",
        "store",
    ),
    Bug(
        "what an owner has waiting is counted without retries",
        "an owner whose jobs fail fills the queue",
        ROLL,
        "for state in WAITING)",
        "for state in {State.QUEUED})",
        "store",
    ),
    Bug(
        "a sweep stops after one batch",
        "after an hour away hundreds of jobs stay RUNNING until the next sweep, and more after that",
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
        "a follower of a file looks away before it listens",
        "a reader misses the event that came in between, and waits",
        STORE,
        "                await grown.wait_past(seen)\n                waited",
        "                await grown.wait_past(grown.count)\n                waited",
        "file",
    ),
    Bug(
        "a worker on a file counts the requests after it has looked",
        "a job is cancelled seconds late, by the next heartbeat",
        STORE,
        "            found = await self._read(looking.cancelling)\n",
        "            found = await self._read(looking.cancelling)\n"
        "            seen = self._signals.requests.count\n",
        "file",
    ),
    Bug(
        "finish asks whether the attempt runs, and writes in a second transaction without asking",
        "a job whose cancellation was requested in between is retried",
        STORE,
        "        state = await self._write_to(job_id, ends.finish, attempt, outcome, result)\n",
        "        running = await self._write_to(job_id, ends.running, attempt)\n"
        "        state = await self._write(lambda tx: ends.settle(tx, running, outcome, result))\n",
        "file",
    ),
]
