"""Bugs of exclusive jobs and of limits that random lives find, from what several workers did alone."""

from __future__ import annotations

from tests.planted.bug import Bug

MEMORY, LINES, LANES = "stores/memory.py", "stores/_lines.py", "stores/_lanes.py"
QUEUEING, TABLE, RATES = "stores/_queueing.py", "stores/exclusion.py", "stores/rates.py"


def _bug(name: str, seen: str, file: str, before: str, after: str) -> Bug:
    return Bug(f"{name}, simulated", seen, file, before, after, "simulation")


FLOWING = [
    _bug(
        "a tick that another process has fired fires again",
        "each process submits a job of its own for a tick",
        "stores/schedules.py",
        "        same = (self.revision, self.last_tick) == (seen.revision, seen.last_tick)\n"
        "        return same and not self.paused and tick > self.last_tick\n",
        "        return self.revision == seen.revision and not self.paused\n",
    ),
    _bug(
        "the end of one that stands behind starts its holder again",
        "two jobs of an exclusive name run at once",
        LINES,
        "return line[0] if held else None",
        "return line[0]",
    ),
    _bug(
        "nobody moves up when a holder ends",
        "what stands behind a holder never starts",
        LINES,
        "return line[0] if held else None",
        "return None",
    ),
    _bug(
        "the last one moves up",
        "jobs of an exclusive name do not run in the order of their acceptance",
        LINES,
        "return line[0] if held else None",
        "return line[-1] if held else None",
    ),
    _bug(
        "only the holder is replaced",
        "of two jobs that wait under a name, one is not replaced",
        MEMORY,
        "gone = [row for row in line if row.state is not _RUNNING] if",
        "gone = [row for row in line[:1] if row.state is not _RUNNING] if",
    ),
    _bug(
        "a holder is only asked to end if it is not the first attempt",
        "a job that is to be cancelled for another goes on",
        MEMORY,
        "        if move.cancels and holder is not None:\n",
        "        if move.cancels and holder is not None and holder.attempt > 1:\n",
    ),
    _bug(
        "a holder that waits to retry is none",
        "a job with an exclusive name starts between two attempts of another",
        MEMORY,
        "            if row.line is not None and (first",
        "        if row.state is not _RUNNING:\n            if row.line is not None and (first",
    ),
    _bug(
        "a key is looked up behind the exclusive name",
        "a submit that is repeated after a lost answer is accepted twice",
        MEMORY,
        "        if coming and coming[0].options.exclusive is not None:",
        "        if batch and batch[0].options.exclusive is not None and (coming := list(batch)):",
    ),
    _bug(
        "an exclusive job starts at once if a slot is free",
        "two jobs of an exclusive name run at once",
        MEMORY,
        "known = known or new.options.exclusive is not None or new.again",
        "known = known or new.again",
    ),
    _bug(
        "the answer to a busy submit is the last one of the name",
        "a client waits for a job that does not have the name",
        MEMORY,
        '        job_id = "" if holder is None else holder.submission.id\n',
        '        job_id = "" if holder is None else line[-1].submission.id\n',
    ),
    _bug(
        "replace is after",
        "what waited under a name is not replaced",
        TABLE,
        '    "replace": (_FIRST, _TAKES, _FOLLOWS),',
        '    "replace": (_FIRST, _BEHIND, _BEHIND),',
    ),
    _bug(
        "a debounce does not wait",
        "the first of several jobs in quick succession runs",
        TABLE,
        "    return min(due, first + options.on_busy.at_most), first",
        "    return min(now, first + options.on_busy.at_most), first",
    ),
    _bug(
        "a job whose lease lapsed keeps its place",
        "a worker dies, and its jobs' limits are used up for ever",
        MEMORY,
        "if self._lanes is not None and row.submission.id in self._lanes.held:",
        "if self._lanes is not None and row.submission.id in self._lanes.held and outcome.begun and "
        "(outcome.ended is None or outcome.ended.reason is not Reason.WORKER_LOST):",
    ),
    _bug(
        "a registry that declares a shared limit empties it",
        "each process that starts lets more jobs run at once than the limit says",
        LANES,
        "                use = uses.setdefault(name, Use(limit))\n",
        "                use = uses[name] = Use(limit)\n",
    ),
    _bug(
        "a shared limit counts the jobs of each handler twice when it is declared again",
        "jobs wait for a place that nobody has",
        LANES,
        "        for use in group.shared:\n            use.places -= running\n",
        "",
    ),
    _bug(
        "a slot that is free starts a job over its limit",
        "a submit starts more jobs at once than their limit says",
        MEMORY,
        "new.handler in lanes or lanes.next_start(now) <= now",
        "lanes.next_start(now) <= now",
    ),
    _bug(
        "a rate saves up what was not used",
        "after a quiet hour an hour's worth of jobs starts at once",
        RATES,
        "max(moment, now) + 1 / limit.per_second",
        "max(moment, now - 60) + 1 / limit.per_second",
    ),
    _bug(
        "any end gives a start back",
        "more jobs start per second than the limit says",
        RATES,
        "if not begun and started == self.last:",
        "if started == self.last:",
    ),
    _bug(
        "a lane that sleeps is only woken by another one",
        "a job waits for ever although its rate would let it start",
        LANES,
        "return min([self._sleeping.next_due(), *opens])",
        "return min(opens, default=math.inf)",
    ),
    _bug(
        "a shared limit is that of each handler",
        "two handlers that share a limit run more jobs at once than it lets",
        LANES,
        "                use = uses.setdefault(name, Use(limit))\n",
        "                use = uses.setdefault(f'{name}{id(self)}', Use(limit))\n",
    ),
    Bug(
        "what expires hands its name to nobody",
        "what stands behind a job whose queue timeout has passed never starts",
        MEMORY,
        "            if row.line is not None and (first",
        "            if row.line is not None and transition is not Transition.EXPIRED and (first",
        "lives",
    ),
    Bug(
        "what is replaced stays in the queue",
        "a job runs although another one has taken its place",
        QUEUEING,
        "        if self._lanes is not None:\n            self._lanes.discard(",
        "        if self._lanes is not None and row.line is None:\n            self._lanes.discard(",
        "lives",
    ),
]
