"""A reader's place in a log that a store keeps, and in one that is in this process."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from .._common.errors import StreamGap, check_cursor
from .._model.job import Event
from .cursor import NOTHING, LogCursor
from .raised import Raised
from .readers import Policy, Readers, ReadersByJob

if TYPE_CHECKING:
    from ..stores.contract import Store
    from ..stores.log import Log
    from ..stores.memory import MemoryStore

_BATCH = 256
_BEGINNING = 2  # the events `submitted` and `started`


class StoreCursor(LogCursor):
    """A reader's place in a log that a store keeps.

    Args:
        store: The store.
        readers: The readers in this process.
        job_id: The job.
        after: The cursor to begin at.
        policy: What the handler does while this reader is slow.
        raised: What handlers raised in this process.
    """

    def __init__(
        self, store: Store, readers: ReadersByJob, job_id: str, after: int, policy: Policy, *, raised: Raised
    ) -> None:
        super().__init__(job_id, after, policy, raised)
        self._store = store
        self._by_job = readers
        self._readers: Readers

    async def open(self) -> None:
        """See `LogCursor.open`."""
        self._batch = await self._store.read(self.job_id, self.cursor, _BATCH)
        if 0 < len(self._batch) < _BATCH:
            last_seq = self._batch[-1].seq
        else:
            last_seq = (await self._store.get(self.job_id)).last_seq
        self._join(last_seq)

    def _join(self, last_seq: int) -> None:
        """Begin to read a log that ends at `last_seq` now."""
        check_cursor(self.job_id, self.cursor, last_seq)
        self._readers = self._by_job[self.job_id]
        self._readers.join(self, last_seq)
        self._open = True

    async def last(self) -> Event:
        """See `LogCursor.last`."""
        return await last_event(self._store, self.job_id)

    def _wait(self) -> Awaitable[bool | None]:
        return self._follow()

    async def _follow(self) -> bool:
        try:
            self._batch, self._next = await self._store.follow(self.job_id, self.cursor, _BATCH), 0
        except StreamGap as gap:
            self.cursor = gap.oldest
            self._moved()
            raise
        return not self._batch

    def _moved(self) -> None:
        if self._readers.watchful:
            self._readers.advanced(self)

    def _leave(self) -> None:
        self._readers.leave(self)
        self._by_job.release(self.job_id)


class LocalCursor(StoreCursor):
    """A reader's place in a log in this process, whose entries are read in place.

    Args:
        store: Where the log is; see `StoreCursor` for the others.
    """

    _store: MemoryStore
    _log: Log

    async def open(self) -> None:
        """See `LogCursor.open`."""
        self._log = self._store.log(self.job_id)
        self._join(self._log.last_seq)

    def at_hand(self) -> bool:
        """See `LogCursor.at_hand`."""
        log = self._log
        place = self.cursor - log.before
        return place < len(log.entries) and (place >= 0 or bool(log.read(self.cursor, 1)))

    def pass_beginning(self) -> None:
        """See `LogCursor.pass_beginning`: the job has begun, and sent nothing yet."""
        if self._open and self._log.last_seq == _BEGINNING and self._log.writer:
            self.cursor = _BEGINNING
            self._moved()

    def _wait(self) -> Awaitable[bool | None]:
        # Of a job that has ended it raises if that was removed.
        return self._follow() if self._log.over else self._log.wait()

    def pull(self) -> Event:
        """See `LogCursor.pull`."""
        event = self._log.read(self.cursor, 1)[0]
        self._pass(event.seq)
        return event

    def take(self) -> Any:
        """See `LogCursor.take`."""
        log = self._log
        place = self.cursor - log.before
        if place < 0:
            return super().take()
        if place >= len(log.entries):
            return NOTHING
        self.cursor += 1
        if self._readers.watchful:
            self._readers.advanced(self)
        return log.entries[place]

    def pull_tokens(self) -> list[Any]:
        """See `LogCursor.pull_tokens`."""
        tokens = self._log.tokens(self.cursor, _BATCH - 1)
        if tokens:
            self.cursor += len(tokens)
            self._moved()
        return tokens


async def last_event(store: Store, job_id: str) -> Event:
    """Return the newest event of a job's log: of a job that has ended, its end."""
    job = await store.get(job_id)
    return (await store.read(job_id, job.last_seq - 1, 1))[0]
