"""Bugs of jobs that are submitted again."""

from __future__ import annotations

from tests.planted.bug import Bug

AGAIN, MEMORY = "stores/resubmitting.py", "stores/memory.py"
VERBS, QUERIES, ROWS = "stores/sqlite/verbs.py", "stores/sqlite/queries.sql", "stores/rows.py"

RESUBMITTED = [
    Bug(
        "what is submitted again starts from the usual options",
        "a job that was to be retried five times is tried once when it is submitted again",
        AGAIN,
        "build(base, given)",
        "build(type(base)(), given)",
        "store",
    ),
    Bug(
        "a job that is submitted again waits as long as at first",
        "what failed at night runs a day later, when it is submitted again in the morning",
        AGAIN,
        "delay=0.0, run_at=None, ",
        "",
        "store",
    ),
    Bug(
        "a job is marked as submitted again only by hand",
        "a second click on retry runs each failed job once more",
        MEMORY,
        "            before.resubmitted_as = new.id\n",
        "            before.resubmitted_as = None if new.again.once else new.id\n",
        "store",
    ),
    Bug(
        "once is forgotten where a slot is free",
        "two operators who retry at once run each failed job twice",
        MEMORY,
        "new.options.exclusive is not None or new.again is not None",
        "new.options.exclusive is not None",
        "store",
    ),
    Bug(
        "the link is of the attempt before",
        "a job that was submitted again does not say what it was",
        ROWS,
        '"resubmitted_from": None if new.again is None else new.again.job_id',
        '"resubmitted_from": None if new.again is None else new.id',
        "file",
    ),
    Bug(
        "in a file, once is for each worker",
        "two operators who retry at once run each failed job twice",
        VERBS,
        "again is not None and again.once and",
        "again is not None and not again.once and",
        "file",
    ),
    Bug(
        "in a file the first that was submitted again stays the answer",
        "retry says that it submitted a job that has long been removed",
        QUERIES,
        "SET resubmitted_as = :id WHERE id = :job_id;",
        "SET resubmitted_as = coalesce(resubmitted_as, :id) WHERE id = :job_id;",
        "file",
    ),
]
