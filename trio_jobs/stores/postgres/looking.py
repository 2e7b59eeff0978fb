"""The verbs that look at jobs, and what those that wait look for. The rows of a database are text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import attrs
from msgspec import json

from ..._common.errors import UnknownJob, check_cursor
from ..._common.states import State
from ..._model.job import Event, Job
from ..._model.summary import ARGS_READ, Page, page_of, place_of
from .. import listing
from ..contract import Submission, Where
from ..listing import Search, Tables
from ..records import PAGE_JOBS
from ..rows import events_of
from ..rules import waiting_for
from ..signals import Signals
from ..waits import Found, Waits
from ..workers import HELD, WorkerStatus, workers_of
from .calls import PostgresCalls, is_text
from .connection import Row
from .statements import written

T = TypeVar("T")
_flag = "t".__eq__
# What the columns of a row are, in the order in which `Rows` takes them.
_JOB: Final = (
    *(str, str, str, str, str, str, str, int, int, str, str, str, str, int),
    *(str, float, float, float, float, float, int, int, str, str, str),
    *(str, float, str, str),
)
_SUBMISSION: Final = (str, str, str, str, str, int, str, str)
_SUMMARY: Final = (
    *(int, str, str, str, str, str, int, int, str, str, str, float),
    *(float, float, float, float, int, int, int, int, str, str),
)
_EVENT: Final = (int, int, int, str, float, int, str)
_ARGS_CONTAIN: Final = f"""CASE WHEN octet_length(job.args) <= {ARGS_READ}
    THEN strpos(job.args, :args_contain) > 0 AND job.options NOT LIKE '%"hide!_args"_true%' ESCAPE '!' END"""
_TABLES: Final = Tables("trio_jobs.job", "trio_jobs.tag", "trio_jobs.clock()", "JOIN", _ARGS_CONTAIN)
_VALUE: Final = re.compile(r"(?<!:):(\w+)")  # not a cast


def values(row: Row, kinds: Collection[Callable[[str], Any]]) -> tuple[Any, ...]:
    """Return the values of a row of text, by what its columns are."""
    return tuple(None if text is None else kind(text) for text, kind in zip(row, kinds, strict=True))


def _may_match(where: Where) -> bool:
    """Return whether a database can hold what a filter asks for."""
    tags = where.tags or {}
    texts = where.handler, where.owner, where.parent, where.id_prefix, where.args_contain
    return all(text is None or is_text(text) for text in (*texts, *tags, *tags.values()))


class LookingCalls(PostgresCalls, Waits[Signals]):
    """The verbs that look at jobs, and those that wait."""

    async def _known(self, query: str, job_id: str, *rest: object) -> list[Row]:
        """Return the rows that a query gives of a job.

        Raises:
            UnknownJob: There is none.
        """
        rows = await self._read(query, job_id, *rest)
        if not rows:
            raise UnknownJob(job_id)
        return rows

    async def get(self, job_id: str) -> Job:
        """See `Store.get`."""
        (row,) = await self._known("job", job_id)
        most = len(_JOB)
        job = self._rows.job_of(values(row[:most], _JOB))
        now, busy, paused, limit = values(row[most:], (float, _flag, _flag, str))
        if now is None:
            return job
        return attrs.evolve(job, waiting_for=waiting_for(job, now, busy=busy, paused=paused, limit=limit))

    async def submission(self, job_id: str) -> Submission:
        """See `KeepsSubmissions.submission`."""
        (row,) = await self._known("submission", job_id)
        return self._rows.submission_of(values(row, _SUBMISSION))

    # ------------------------------------------------------------ logs

    async def _events(self, query: str, job_id: str, after: int = 0, limit: int | None = None) -> Found:
        """Return events behind a cursor, whether the job is over, and its newest cursor."""
        rows = await self._known(query, job_id, *(() if limit is None else (after, limit)))
        events = [
            event
            for _, _, *row in rows
            if row[0] is not None  # else the log has none
            for event in events_of(values(tuple(row), _EVENT))
            if event.seq > after
        ]
        return events[:limit], _flag(rows[0][1]), int(rows[0][0] or 0)

    async def read(self, job_id: str, after: int, limit: int) -> list[Event]:
        """See `Store.read`."""
        events, *_ = await self._events("page", job_id, after, limit)
        return events

    async def history(self, job_id: str) -> list[Event]:
        """See `Store.history`."""
        events, *_ = await self._events("history", job_id)
        return events

    async def inputs(self, job_id: str, after: int, limit: int) -> list[Event]:
        """See `Store.inputs`."""
        events, _, seq = await self._events("inputs", job_id, after, limit)
        check_cursor(job_id, after, seq)
        return events

    # ------------------------------------------------------------ lists

    async def _search(self, search: Search[T]) -> T:
        try:
            sql, named = next(search)
            while True:
                names = list(dict.fromkeys(_VALUE.findall(sql)))
                for place, name in enumerate(names, 1):
                    sql = re.sub(rf"(?<!:):{name}\b", f"${place}", sql)
                sql, given = written(sql, self._database.schema), [named[name] for name in names]
                sql, named = search.send(await self._select(sql.encode(), given))
        except StopIteration as found:
            answer: T = found.value
            return answer

    async def find(self, where: Where, limit: int, *, after: str | None = None, newest: bool = False) -> Page:
        """See `Store.find`."""
        limit, place = min(limit, PAGE_JOBS), place_of(after)
        if not _may_match(where):
            return Page()
        summary = self._queries["summary"].decode()
        find = partial(listing.find, newest=newest, make=self._summary_of)
        found, examined = await self._search(find(_TABLES, summary, where, limit, place))
        return page_of(found, limit, examined)

    def _summary_of(self, row: Row) -> Any:
        return self._rows.summary_of(values(row, _SUMMARY))

    async def count(self, where: Where) -> Mapping[State, int]:
        """See `Store.count`."""
        if not _may_match(where):
            return {}
        found = await self._search(listing.count(_TABLES, where))
        if found is None:
            found = listing.by_state(where, await self._read("totals", *listing.counter_of(where)))
        return found

    async def workers(self) -> list[WorkerStatus]:
        """See `KnowsWorkers.workers`."""
        return workers_of((float(lapses or 0), begun) for lapses, begun in await self._read("workers", HELD))

    # ------------------------------------------------------------ waiting; see `Waits`

    async def _page(self, job_id: str, after: int, limit: int, *, waited: bool) -> Found:  # noqa: ARG002
        return await self._events("page", job_id, after, limit)

    async def _end_row(self, job_id: str) -> tuple[Any, ...] | None:
        if (row := await self._row("ended", job_id)) is None:
            raise UnknownJob(job_id)
        return values(row, _JOB) if State(row[2] or "").over else None

    async def _find_heard(self, places: Mapping[str, int]) -> set[str]:
        if odd := {job_id for job_id in places if not is_text(job_id)}:
            return odd  # no job has such an id
        return {job_id or "" for (job_id,) in await self._read("heard", [*places], [*places.values()])}

    async def _news(self, job_ids: Collection[str]) -> dict[str, tuple[int, bool]]:
        """Return the newest cursor of each of these jobs that is there, and whether it is over."""
        rows = await self._read("news", job_ids)
        return {job_id or "": (int(seq or 0), _flag(over)) for job_id, seq, over in rows}

    async def _next_due(self, handlers: Collection[str]) -> tuple[float, float]:
        ((moment, now),) = await self._read("next_due", json.encode([*handlers]).decode())
        return float(moment or math.inf), float(now or 0)

    async def _next_overdue(self) -> tuple[float, float]:
        ((moment, now),) = await self._read("next_overdue")
        return float(moment or math.inf), float(now or 0)

    async def _find_cancelling(self) -> dict[str, float]:
        return {job_id or "": float(grace or 0) for job_id, grace in await self._read("cancelling")}
