"""Convert schedules to the text that a database keeps of them, and back."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from .._common.errors import TrioJobsError
from .._json.arguments import plain_arguments
from .._json.values import decode, encode
from .._model.handler import handler as marked
from .rows import Rows
from .submission import submission

if TYPE_CHECKING:  # few programs have schedules
    from .._model.schedule import Schedule

logger = logging.getLogger("trio_jobs")
_RULE: Final = ("name", "cron", "timezone", "every", "missed", "late", "jitter")
_JOB: Final = ("handler", "args", "options", "metadata", "priority", "owner")
_CACHED: Final = 1000  # of schedules that are read, as each check of a rule takes long


class ScheduleTexts:
    """Converts schedules to text and back, by the handlers of a registry.

    Args:
        rows: Converts what their jobs are submitted with.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.read = lru_cache(_CACHED)(self._read)

    def kept(self, one: Schedule) -> dict[str, Any]:
        """Return what is kept of a schedule: its `name`, its `every`, and what it says as `text`, JSON.

        Raises:
            UnknownHandler: Its handler is not known here.
            InvalidPayload: JSON cannot hold a value.
        """
        given = {**one.options, "kwargs": one.kwargs}
        job = self._rows.written(submission(one.handler, one.args, given)).values
        said = {name: getattr(one, name) for name in _RULE} | {name: job[name] for name in _JOB}
        return {"name": one.name, "every": one.every, "text": encode("a schedule", said).decode()}

    def _read(self, text: str) -> Schedule | None:
        """Return a schedule as a record; None, and a warning, if it cannot be read."""
        from .._model.schedule import Schedule, given_of

        try:
            said: dict[str, Any] = decode(text)
            handler, *job = (said[name] for name in _JOB)
            rule = {name: said[name] for name in _RULE}
            if handler not in self._rows.handlers:
                args, kwargs = plain_arguments(job[0])
                return Schedule(_unknown(handler), args, kwargs=kwargs, **rule)
            new = self._rows.claim_of(("", handler, *job, None, 0, 0, None, 0, 0, None)).submission
            return Schedule(new.target, new.args, kwargs=new.kwargs, options=given_of(new.options), **rule)
        except (TrioJobsError, ImportError, LookupError, TypeError, ValueError) as error:
            logger.warning("a stored schedule cannot be read: %s", error)
            return None


def _unknown(name: str) -> Callable[..., Awaitable[Any]]:
    """Return what stands for a handler that this registry was not given."""

    @marked(name=name)
    async def unknown(*_: object, **__: object) -> None:  # noqa: ASYNC124  # in the place of a handler
        """Take any arguments."""

    return unknown
