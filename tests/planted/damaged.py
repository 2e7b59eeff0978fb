"""Bugs that one damaged row reveals: other jobs are affected."""

from __future__ import annotations

from tests.planted.bug import Bug

DAMAGED = [
    Bug(
        "a lease that cannot be renewed stops the others",
        "one damaged row, and every running job of a worker is reclaimed and runs twice",
        "stores/sqlite/store.py",
        "partial(care.mend_held, now_held, of)",
        "care.mend_counters",
        "damage",
    ),
    Bug(
        "a due job that cannot be started is read again and again",
        "one damaged row, and no job is claimed any more",
        "stores/sqlite/care.py",
        "partial(verbs.start, tx, number, _NO_WORKER) for",
        "list for",
        "damage",
    ),
    Bug(
        "a list decodes text that is not valid",
        "one damaged row, and no job can be listed",
        "stores/sqlite/queries.py",
        'f"CAST({column} AS BLOB)"',
        'f"{column}"',
        "damage",
    ),
    Bug(
        "a list accepts any priority",
        "one damaged row, and no job can be listed",
        "stores/rows.py",
        "if priority not in _PRIORITIES:",
        "if priority is None:",
        "damage",
    ),
    Bug(
        "a page continues behind a wrong number",
        "one damaged tag, and no search by tags ends",
        "stores/listing.py",
        '(f"< {_LAST} AND {{}} >", order)',
        '(">", order)',
        "damage",
    ),
]
