"""For the logging of a program with jobs: which job a line belongs to, and lines as JSON."""

from __future__ import annotations

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

from ._common.error_text import one_line
from ._running.attempt import Attempt
from ._running.context import JobContext
from ._running.logs import logger as _jobs

__all__ = ["JobFilter", "JsonFormatter", "current_job"]
current_job: Final[ContextVar[JobContext[Any] | None]] = ContextVar("current_job", default=None)
"""The job whose handler this runs for, in its tasks and in its threads; None elsewhere."""

Attempt.current = current_job  # only now, as no other program needs it
_FACTS: Final = ("job_id", "handler", "attempt")
_NONE: Final = "-"  # stands for the job in a line that belongs to none
_STANDARD: Final = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
"""What every record has; the rest are the fields that a line was logged with, as `extra`."""


class JobFilter(logging.Filter):
    """Gives each line `job_id`, `handler` and `attempt`: those of the job whose handler wrote it, or `-`.

    Add it to a logging *handler*, so that it sees the lines of all loggers; it lets every line pass. Fields
    that a line has already stay as they are.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields that the line does not have yet."""
        facts = _job_of_line()
        for name in _FACTS:
            vars(record).setdefault(name, facts.get(name, _NONE))
        return True


class JsonFormatter(logging.Formatter):
    """Writes each line as one JSON object in ASCII, so that no text in it can begin another line.

    Fields: `time` (UTC, ISO 8601), `level`, `logger`, `message`; `job_id`, `handler` and `attempt` if it
    belongs to a job; what it was logged with as `extra`, as text if JSON cannot hold it; `traceback` and
    `stack` if there is one. It needs no `JobFilter`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        message = record.getMessage()
        begin = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            # The rest is the traceback, for formatters that do not know the field.
            "message": message.partition("\n")[0] if record.name == _jobs.name else message,
        }
        given = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if given.get("job_id") == _NONE:  # by a `JobFilter`
            given = {name: value for name, value in given.items() if name not in _FACTS}
        line = _job_of_line() | {name: _storable(value) for name, value in given.items()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(begin | line | begin)  # the first is for the order, the last to win


def _job_of_line() -> dict[str, object]:
    """Return the fields of the job whose handler runs this, if one does."""
    job = current_job.get()
    return {} if job is None else {"job_id": job.id, "handler": one_line(job.handler), "attempt": job.attempt}


def _storable(value: object) -> object:
    """Return a value that JSON can hold, or else its text."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return str(value)
    return value
