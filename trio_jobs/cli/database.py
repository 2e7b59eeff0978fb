"""Read a PostgreSQL database of jobs. A thread has it open, as the commands that read do not wait in Trio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final

from .._common.states import State
from .._model.job import Event, Job
from .._model.limits import LimitStatus
from .._model.summary import Page
from ..stores.contract import Where
from ..stores.pauses import Pauses
from ..stores.postgres import PostgresStore
from ..stores.postgres.opening import check_made, opened
from .options import check_store
from .portal import Portal, opened_in_thread
from .reading import FITS, ReadOnlyStore

_PAGE: Final = 1000


class _SeenStore(PostgresStore):
    """A store that is asked what no verb of a store says."""

    async def ask(self, query: str, *values: Any) -> list[tuple[str | None, ...]]:
        return await self._read(query, *values)


class ReadOnlyDatabase(ReadOnlyStore):
    """Answers what a database holds, each time as it is then.

    Args:
        portal: Calls asynchronous functions.
        store: The store.
    """

    called = "database"

    def __init__(self, portal: Portal[_SeenStore], store: _SeenStore) -> None:
        self._run, self._store = portal.run, store

    def _texts(self, query: str, *values: Any) -> list[str]:
        return [str(row[0]) for row in self._run(self._store.ask, query, *values)]

    def job(self, job_id: str) -> Job:
        """Return a job."""
        return self._run(self._store.get, job_id)

    def limits(self) -> Sequence[LimitStatus]:
        """Return the limits of handlers, and those that are pinned."""
        return self._run(self._store.limits)

    def page(self, where: Where, limit: int, after: str | None) -> Page:
        """Return a page of the jobs that match, the newest first."""
        return self._run(lambda: self._store.find(where, limit, after=after, newest=True))

    def count(self, where: Where) -> dict[State, int]:
        """Return how many jobs match in each state."""
        return dict(self._run(self._store.count, where))

    def handlers(self) -> list[str]:
        """Return the names of the handlers that have had jobs."""
        return self._texts("handlers")

    def pauses(self) -> Pauses:
        """Return what is paused."""
        return self._run(self._store.paused_handlers)

    def size(self) -> int:
        """Return how many bytes the tables take, with their indexes."""
        return int(self._texts("size")[0])

    def history(self, job_id: str) -> list[Event]:
        """Return the events of a job but for tokens, progress and inputs."""
        return self._run(self._store.history, job_id)

    def begin_with(self, prefix: str) -> list[str]:
        """Return ids that begin with a prefix in order, at most `FITS` of them."""
        return self._texts("begin_with", prefix, FITS)

    def near(self, job_id: str) -> Sequence[str | None]:
        """Return the ids before and after one."""
        return [row[0] for row in self._run(self._store.ask, "near", job_id)]

    def damage(self) -> list[str]:
        """Return nothing: the server looks after its files."""
        return []

    def wrong_totals(self) -> list[Any]:
        """Return what is counted wrongly."""
        return self._run(self._store.ask, "wrong_totals")

    def orphans(self) -> list[Any]:
        """Return the numbers of jobs that have a log and do not exist."""
        return self._texts("orphans")

    def to_check(self) -> list[Any]:
        """Return of each job its number, id, what is kept, and whether it runs without a lease."""
        rows = self._run(self._store.ask, "to_check")
        return [(int(row[0] or 0), row[1], int(row[2] or 0), row[3] == "t") for row in rows]

    def log(self, number: int, job_id: str) -> list[Event]:  # noqa: ARG002  # another store asks by it
        """Return every event of a job."""
        found: list[Event] = []
        while page := self._run(self._store.read, job_id, found[-1].seq if found else 0, _PAGE):
            found += page
        return found


@asynccontextmanager
async def _opened(url: str) -> AsyncGenerator[_SeenStore]:
    await check_made(url)
    async with opened(_SeenStore, url) as store:
        yield store


@contextmanager
def open_database(store: str) -> Generator[ReadOnlyDatabase]:
    """See `opening.open_store`."""
    check_store(store)
    with opened_in_thread(partial(_opened, store)) as (portal, found):
        yield ReadOnlyDatabase(portal, found)
