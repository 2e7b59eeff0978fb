"""Bugs in what a process keeps about a file that others write to: tails, counts of rings, and hints."""

from __future__ import annotations

from tests.planted.bug import Bug

TAILS, FILE_SIGNALS, SIGNALS, WAITS = (
    f"stores/{name}.py" for name in ("sqlite/tails", "sqlite/signals", "signals", "waits")
)

SHARED = [
    Bug(
        "an event that one reader has found wakes no other",
        "a reader waits on, although another one in its process goes on",
        WAITS,
        "                seen += grown.note(seq)\n",
        "                grown.seq = max(grown.seq, seq)\n",
        "file",
    ),
    Bug(
        "a tail is kept when another process has written",
        "a reader does not see that its job's cancellation was requested elsewhere",
        FILE_SIGNALS,
        "        self.tails.forget()\n",
        "",
        "file-streams",
    ),
    Bug(
        "a tail is used for events before it",
        "a reader that begins early gets a gap although no event is missing",
        TAILS,
        "not tail.first <= after <= tail.seq",
        "not after <= tail.seq",
        "file-streams",
    ),
    Bug(
        "a log that has ended keeps its tail",
        "a reader that has all of a log waits for ever for its end",
        TAILS,
        "        if over:\n            del self._tails[job_id]\n        elif",
        "        if",
        "file-streams",
    ),
    Bug(
        "an event written during a read is waited for",
        "a reader misses an event that is written just after its read",
        WAITS,
        "                await grown.wait_past(seen)\n",
        "                await grown.wait_past(grown.count)\n",
        "file-streams",
    ),
    Bug(
        "ends in other processes wake no waiter",
        "`wait` never returns if another process ends the job",
        SIGNALS,
        "        self._ended(dict.fromkeys(job for job in self._ends if news.get(job, gone)[1]))\n",
        "",
        "file-streams",
    ),
]
