"""Bugs of jobs that hold a name: one in each rule of the table, and in what the stores make of it."""

from __future__ import annotations

from tests.planted.bug import Bug

TABLE, MEMORY, LINES = "stores/exclusion.py", "stores/memory.py", "stores/_lines.py"
PLACE, QUERIES, SCHEMA = "stores/sqlite/exclusive.py", "stores/sqlite/queries.sql", "stores/sqlite/schema.sql"


def _rule(name: str, seen: str, before: str, after: str) -> Bug:
    return Bug(name, seen, TABLE, before, after, "store")


EXCLUDED = [
    _rule(
        "a submit that is to be refused stands behind what waits",
        "a second import is queued, though the program asked for an error",
        '"reject": (_FIRST, _REFUSED, ',
        '"reject": (_FIRST, _BEHIND, ',
    ),
    _rule(
        "a submit that is to be refused gives what runs",
        "the caller takes the job of another for its own",
        '"reject": (_FIRST, _REFUSED, _REFUSED)',
        '"reject": (_FIRST, _REFUSED, _ATTACHED)',
    ),
    _rule(
        "a submit is attached to nothing that waits",
        "a double click renders the page twice",
        '"attach": (_FIRST, _ATTACHED, ',
        '"attach": (_FIRST, _BEHIND, ',
    ),
    _rule(
        "a submit is attached to nothing that runs",
        "a double click renders the page twice, one after the other",
        '"attach": (_FIRST, _ATTACHED, _ATTACHED)',
        '"attach": (_FIRST, _ATTACHED, _BEHIND)',
    ),
    _rule(
        "what comes after takes the place of what waits",
        "of three messages that wait only the last is answered",
        '"after": (_FIRST, _BEHIND, ',
        '"after": (_FIRST, _TAKES, ',
    ),
    _rule(
        "what comes after replaces what stands behind",
        "of three messages during an answer only the last is answered",
        '"after": (_FIRST, _BEHIND, _BEHIND)',
        '"after": (_FIRST, _BEHIND, _FOLLOWS)',
    ),
    _rule(
        "what waits is not replaced",
        "an old report is made before the new one",
        '"replace": (_FIRST, _TAKES, ',
        '"replace": (_FIRST, _BEHIND, ',
    ),
    _rule(
        "what is to replace cancels what runs",
        "half an answer is shown, and then the next one",
        '"replace": (_FIRST, _TAKES, _FOLLOWS)',
        '"replace": (_FIRST, _TAKES, _CANCELS)',
    ),
    _rule(
        "what is to cancel stands behind what waits",
        "the user stops an answer that has not begun, and it begins",
        '"cancel": (_FIRST, _TAKES, ',
        '"cancel": (_FIRST, _BEHIND, ',
    ),
    _rule(
        "what is to cancel waits for what runs",
        "an answer that nobody wants any more goes on for minutes",
        '"cancel": (_FIRST, _TAKES, _CANCELS)',
        '"cancel": (_FIRST, _TAKES, _FOLLOWS)',
    ),
    _rule(
        "a debounce keeps what waits",
        "each of a hundred edits is saved",
        '"debounce": (_FIRST, _TAKES, ',
        '"debounce": (_FIRST, _BEHIND, ',
    ),
    _rule(
        "a debounce keeps what stands behind",
        "each of a hundred edits during a save is saved",
        '"debounce": (_FIRST, _TAKES, _FOLLOWS)',
        '"debounce": (_FIRST, _TAKES, _BEHIND)',
    ),
    _rule(
        "a debounce has no end",
        "while somebody types nothing is saved",
        "return min(due, first + options.on_busy.at_most), first",
        "return due, first",
    ),
    _rule(
        "a debounce begins anew with each submit",
        "while somebody types nothing is saved, whatever `at_most` says",
        "first = min((one for one in before if one is not None), default=now)",
        "first = now",
    ),
    _rule(
        "what stops holds no name",
        "two answers are written at once, one of which was cancelled",
        'return "stops" if asked else "runs"',
        'return "none" if asked else "runs"',
    ),
    Bug(
        "a name is that of all owners",
        "one user's import keeps another's out",
        LINES,
        "row.line = self.setdefault((options.owner, options.exclusive), [])",
        "row.line = self.setdefault((None, options.exclusive), [])",
        "store",
    ),
    Bug(
        "what stands behind is claimed",
        "two jobs with one name run at once",
        "stores/_queueing.py",
        "            if row.line is None or row.behind is None:\n",
        "            if row.line is None or row.behind is None or not self._waiting:\n",
        "store",
    ),
    Bug(
        "the end of a holder is no hint",
        "the next job starts when something else happens, or never",
        MEMORY,
        "                self._enqueue(first, now)\n                self._work.ring()\n",
        "                self._enqueue(first, now)\n",
        "store",
    ),
    Bug(
        "the end of one that stands behind lets the next one start",
        "the first one in a row is cancelled, and the second runs beside the holder",
        LINES,
        "held = line[0] is row",
        "held = True",
        "store",
    ),
    Bug(
        "what is cancelled for another has its grace",
        "the new answer waits half a minute for the old one",
        MEMORY,
        "self._mark(holder, exclusion.CANCELS, 0.0, now)",
        "self._mark(holder, exclusion.CANCELS, 30.0, now)",
        "store",
    ),
    Bug(
        "what stands behind takes no room in the queue",
        "ten thousand messages stand behind one, and memory runs out",
        LINES,
        "self.behind += len(row.line) > 1",
        "self.behind += 0",
        "store",
    ),
    Bug(
        "what is replaced keeps its room in the queue",
        "a full queue refuses the job that would take the place of another",
        MEMORY,
        "if all(row.reason is Reason.AWAITING_INPUT for row in gone):",
        "if True:",
        "store",
    ),
    Bug(
        "a claim finds what stands behind, in a file",
        "two jobs with one name run at once",
        QUERIES,
        "AND due <= :now\n        AND behind IS NULL AND lane IS NULL AND (",
        "AND due <= :now\n        AND lane IS NULL AND (",
        "file",
    ),
    Bug(
        "the end of one that stands behind hands the name on, in a file",
        "the first one in a row is cancelled, and the second runs beside the holder",
        SCHEMA,
        "WHEN new.exclusive IS NOT NULL AND new.finished IS NOT NULL AND old.behind IS NULL BEGIN",
        "WHEN new.exclusive IS NOT NULL AND new.finished IS NOT NULL BEGIN",
        "file",
    ),
    Bug(
        "the end of a holder is no hint, in a file",
        "the next job starts when something else happens, or never",
        "stores/signals.py",
        "        if changes.handed_on:\n            self.work.ring()\n",
        "",
        "file",
    ),
    Bug(
        "a file forgets since when a job is put off",
        "while somebody types nothing is saved, whatever `at_most` says",
        PLACE,
        'return Place(None, due, move.place == "behind", put_off, has_room)',
        'return Place(None, due, move.place == "behind", None, has_room)',
        "file",
    ),
    Bug(
        "a known job is replaced by itself, in a file",
        "a submit whose answer was lost is sent again, and ends its own job",
        "stores/sqlite/verbs.py",
        'if known is None and tx.one("number_of", id=new.submission.id) is None:',
        "if known is None:",
        "file",
    ),
]
