"""Connect to a server; and read its jobs in a thread, as the commands that read do not wait in Trio."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final

from .._common.errors import UnknownJob
from .._common.states import UNFINISHED, State
from .._common.validate import RefusedAs
from .._model.job import Event, Job, Statistics
from .._model.limits import LimitStatus
from .._model.summary import Page
from .._registry.filter import Search
from ..client import RemoteRegistry, ServerError, connect
from ..stores.contract import Where
from ..stores.pauses import Pauses
from .faults import FAILED, Fault
from .options import check_no_owner
from .portal import Portal, opened_in_thread
from .reading import FITS, ReadOnly

TOKEN_VARIABLE: Final = "TRIO_JOBS_TOKEN"
SEARCHED: Final = 10_000
"""Among how many jobs, the newest ones, those are looked for whose ids begin with a text."""
PATIENCE = 10.0
"""For how many seconds a server may be out of reach: somebody waits for the answer."""


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[RemoteRegistry]:
    """Connect to a server, with the token of the environment if there is one. See `opening.open_jobs`."""
    with RefusedAs(lambda why: Fault(f"--url: {why}")):
        block = connect(url, token=os.environ.get(TOKEN_VARIABLE) or None, patience=PATIENCE)
    try:
        async with block as jobs:
            yield jobs
    except ServerError as error:
        if error.code != "unauthenticated":
            raise
        raise Fault(f"{error}; {url} asks for a token, see {TOKEN_VARIABLE}", FAILED) from error


class ReadOnlyServer(ReadOnly):
    """Answers what a server tells its caller, each time as it is then.

    Args:
        portal: Calls asynchronous functions.
        jobs: The server's jobs.
    """

    called = "server"

    def __init__(self, portal: Portal[RemoteRegistry], jobs: RemoteRegistry) -> None:
        self._run, self._jobs = portal.run, jobs
        self._ids: list[str] = []  # those that were seen, in order

    def job(self, job_id: str) -> Job:
        """Return a job."""
        return self._run(self._job, job_id)

    async def _job(self, job_id: str) -> Job:
        return await (await self._jobs.get(job_id)).snapshot()

    def page(self, where: Where, limit: int, after: str | None) -> Page:
        """Return a page of the jobs that match, the newest first."""
        ask = partial(self._jobs.find, limit=limit, after=after, newest=True, **search_of(where))
        page = self._run(ask)
        self._ids = sorted({*self._ids, *(job.id for job in page)})
        return page

    def count(self, where: Where) -> dict[State, int]:
        """Return how many jobs match in each state; with tags, up to 10,000 are counted."""
        return self._run(count_by_state, self._jobs, where)

    def handlers(self) -> list[str]:
        """Return the names of the handlers that the server has."""
        return [str(one["name"]) for one in self._run(self._jobs.handlers)]

    def pauses(self) -> Pauses:
        """Return what is paused; nothing for a caller who may not see it."""
        found = self._run(statistics, self._jobs)
        return Pauses() if found is None else Pauses(found.all_paused, frozenset(found.paused_handlers))

    def limits(self) -> list[LimitStatus]:
        """Return the limits of the server's store."""
        return self._run(self._jobs.limits.find)

    def size(self) -> None:
        """Return None: a server does not tell it."""

    def history(self, job_id: str) -> list[Event]:
        """Return the events of a job but for tokens, progress and inputs."""
        return self._run(self._history, job_id)

    async def _history(self, job_id: str) -> list[Event]:
        return await (await self._jobs.get(job_id)).history()

    def explain(self, job_id: str) -> str:
        """Say why a job does not run, or what it is doing, as the server knows it."""
        return self._run(self._explain, job_id)

    async def _explain(self, job_id: str) -> str:
        return await (await self._jobs.get(job_id)).explain()

    def begin_with(self, prefix: str) -> list[str]:
        """Return an id itself, else those among the newest jobs that begin with a prefix, at most `FITS`."""
        try:
            return [self._run(self._jobs.get, prefix).id]
        except UnknownJob:
            ids = (job.id for job in self.newest(Where(), SEARCHED))
            return sorted(one for one in ids if one.startswith(prefix))[:FITS]

    def near(self, job_id: str) -> Sequence[str | None]:
        """Return the ids before and after one, of those that were seen."""
        at = bisect_left(self._ids, job_id)
        return [None, *(one for one in self._ids[max(0, at - 1) : at + 2] if one != job_id)]


async def statistics(jobs: RemoteRegistry) -> Statistics | None:
    """Return a server's statistics; None for a caller who may not see them."""
    try:
        return await jobs.statistics()
    except ServerError as error:
        if error.code != "forbidden":
            raise
        return None


async def count_by_state(jobs: RemoteRegistry, where: Where) -> dict[State, int]:
    """Return how many jobs of the caller match in each state."""
    found: dict[State, int] = {}
    for state in State if where.states is None else where.states:
        # What would be cancelled has not ended, and what would be removed has.
        asked: dict[str, Any] = {**search_of(where), "state": state}
        report = await jobs.count_affected("cancel" if state in UNFINISHED else "remove", **asked)
        if report.count:
            found[state] = report.count
    return found


def search_of(where: Where) -> dict[str, Any]:
    """Return a filter as a server takes it.

    Raises:
        Fault: It chooses by owner.
    """
    check_no_owner(where.owner)
    found = {name: getattr(where, name) for name in Search.__annotations__ if name != "state"}
    found["state"] = where.states
    return {name: value for name, value in found.items() if value is not None}


@contextmanager
def open_server(url: str) -> Generator[ReadOnlyServer]:
    """See `opening.open_readonly`."""
    with opened_in_thread(partial(connected, url)) as (portal, jobs):
        yield ReadOnlyServer(portal, jobs)
