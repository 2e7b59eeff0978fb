"""Bugs of pauses: what is paused starts all the same, or what is resumed does not."""

from __future__ import annotations

from tests.planted.bug import Bug

LANES, QUEUEING, LOOKING = "stores/_lanes.py", "stores/_queueing.py", "stores/_looking.py"
MEMORY, PAUSES, STORE = "stores/memory.py", "stores/sqlite/pauses.py", "stores/sqlite/store.py"

PAUSED = [
    Bug(
        "a pause holds only what comes later",
        "after an operator has paused a handler, its jobs that waited already start",
        QUEUEING,
        "lanes.define(handler, {}, now)\n                self._rehouse(handler, lanes, now)\n",
        "lanes.define(handler, {}, now)\n",
        "store",
    ),
    Bug(
        "a submit starts a job of a paused handler",
        "jobs reach a service that an operator has taken out of use",
        MEMORY,
        "        limit = 0 if self._all_paused else limit\n",
        "",
        "store",
    ),
    Bug(
        "a pause by name is not asked when there are free slots",
        "a paused handler goes on as if nothing had been said",
        LANES,
        "        if self.paused:\n",
        "        if self.paused and self.shared:\n",
        "store",
    ),
    Bug(
        "what was paused is left behind",
        "the jobs that waited during a pause never start",
        QUEUEING,
        "                lanes.forget(handler)\n                self._rehouse(handler, lanes, now)\n",
        "                lanes.forget(handler)\n",
        "store",
    ),
    Bug(
        "a resume is no hint",
        "after a pause the jobs start when another one is submitted, or never",
        QUEUEING,
        "                self._rehouse(handler, lanes, now)\n        self._work.ring()\n",
        "                self._rehouse(handler, lanes, now)\n",
        "store",
    ),
    Bug(
        "a worker of which all is paused looks again and again",
        "a pause takes all of a processor",
        LOOKING,
        "        if self._all_paused:\n            return math.inf\n",
        "",
        "store",
    ),
    Bug(
        "to resume one handler is to resume all",
        "in the middle of a maintenance jobs start because one handler was resumed",
        QUEUEING,
        "        if names is None:\n            self._all_paused, names",
        "        self._all_paused = self._all_paused and paused\n"
        "        if names is None:\n            self._all_paused, names",
        "store",
    ),
    Bug(
        "what was paused by name stays so when all is resumed",
        "a handler that somebody paused long ago is still paused, and nobody looks for it",
        QUEUEING,
        "paused, () if paused else lanes.paused",
        "paused, ()",
        "store",
    ),
    Bug(
        "a pause hides what a claim has started",
        "a job whose claim was not answered runs nowhere until its lease lapses",
        MEMORY,
        "return self._claim(0 if self._all_paused else limit, worker, self._time())",
        "return [] if self._all_paused else self._claim(limit, worker, self._time())",
        "store",
    ),
    Bug(
        "in a file a pause binds its own process only",
        "an operator pauses a handler by the command line, and nothing happens",
        PAUSES,
        '        else:\n            tx.run("resume", name=name)\n    tx.pauses, tx.pausing = None, True\n',
        '        tx.run("resume", name=name)\n    tx.pauses = Pauses(not names, frozenset(names or ()))\n',
        "file",
    ),
    Bug(
        "in a file a submit starts a job of a paused handler",
        "the first job after a pause starts, the second one waits",
        "stores/sqlite/verbs.py",
        "limit and batch[0].submission.handler in handlers",
        "bool(limit)",
        "file",
    ),
    Bug(
        "in a file a resume is no hint",
        "after a pause the jobs start when another one is submitted, or never",
        STORE,
        "pauses.pause(tx, given, paused=paused))\n        self._signals.work.ring()\n",
        "pauses.pause(tx, given, paused=paused))\n",
        "file",
    ),
]
