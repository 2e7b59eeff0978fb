"""Bugs of what is done to all jobs that match."""

from __future__ import annotations

from tests.planted.bug import Bug

ROW, LISTING = "stores/_row.py", "stores/listing.py"

BULKED = [
    Bug(
        "a child job is retried beside its parent",
        "what failed in a batch is done twice: by the child that is retried, and by that of the parent",
        ROW,
        "self.finished is not None and self.parent is None and self.resubmitted_as is None",
        "self.finished is not None and self.resubmitted_as is None",
        "store",
    ),
    Bug(
        "what was retried is retried again",
        "a second click on retry sends each of a thousand mails twice",
        ROW,
        "and self.parent is None and self.resubmitted_as is None",
        "and self.parent is None",
        "store",
    ),
    Bug(
        "a job is old from its beginning",
        "a job that ran for a week is pruned as soon as it has ended",
        ROW,
        "self.finished is not None and self.finished < moment",
        "self.finished is not None and self.created < moment",
        "store",
    ),
    Bug(
        "what was retried is retried again, in a file",
        "a second click on retry sends each of a thousand mails twice",
        LISTING,
        " AND job.resubmitted_as IS NULL",
        "",
        "file",
    ),
    Bug(
        "a job is old from its beginning, in a file",
        "a job that ran for a week is pruned as soon as it has ended",
        LISTING,
        "job.finished < {tables.now} - :older_than",
        "job.created < {tables.now} - :older_than AND job.finished IS NOT NULL",
        "file",
    ),
]
