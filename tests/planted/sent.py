"""Bugs of what a file keeps of inputs and waits."""

from __future__ import annotations

from tests.planted.bug import Bug

INBOX, ENDS, VERBS = (f"stores/sqlite/{name}.py" for name in ("inbox", "ends", "verbs"))

SENT = [
    Bug(
        "a file wakes nobody for an input",
        "a job in a file waits for ever for an answer that is there",
        INBOX,
        "        due=tx.now if woken else None,\n",
        "        due=None,\n",
        "file",
    ),
    Bug(
        "a file does not look whether an input came before the wait",
        "an answer that comes while the handler gives up its slot is not seen",
        ENDS,
        "        last_input=job.last_input,\n",
        "        last_input=0,\n",
        "file",
    ),
    Bug(
        "a file tells nobody who listens",
        "a handler hears of an input when another process writes",
        INBOX,
        "    tx.heard[job_id] = newest\n",
        "",
        "file",
    ),
    Bug(
        "in a file every end of an attempt consumes inputs",
        "what a crashed attempt had received is gone",
        ENDS,
        "    if outcome.transition is Transition.COMPLETED:\n        count",
        "    if outcome.received is not None:\n        count",
        "file",
    ),
    Bug(
        "a file accepts other values under the id of a known input",
        "an input is refused without a word, as its sender used an id twice",
        INBOX,
        "        if known[1] != digest:\n",
        "        if not known[1]:\n",
        "file",
    ),
    Bug(
        "in a file a new job overtakes one that was woken",
        "while jobs come in, nobody who answers is heard",
        VERBS,
        "    if alone and not (waiting or _is_late(tx, batch[0], handlers, awaiting)):",
        "    if alone and not waiting:",
        "file",
    ),
    Bug(
        "a save in a file consumes inputs that were not received",
        "an input that came while the handler saved is never received",
        VERBS,
        "        more = inbox.consume(tx, job, received or 0)\n",
        "        more = inbox.consume(tx, job, received and job.seq)\n",
        "file",
    ),
]
