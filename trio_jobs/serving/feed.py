"""A job's log on its way to all who follow it: read once, made once, and sent to all by one of them.

There is no queue per follower and no task per job: a follower has a cursor. Who is level with the log waits.
One of those that wait reads on, for all, and sends what comes to all of them, without waking them. Who does
not take it at once leaves that round, and catches up by itself: it is given what is kept at hand, or reads
the log for itself, in bigger and bigger batches. So a slow one costs no memory, and nobody waits for it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Final

import trio

from .._common.bell import Bell
from .._model.job import Event
from .._watching.readers import Policy, Readers, ReadersByJob
from ..stores.contract import Store
from .batch import EventBatch, cut, gap
from .options import ServerOptions
from .pace import Pace
from .shelf import Row, Shelf
from .subscription import Subscription

_BATCH: Final = 256
_SLICE: Final = 0.001
"""Seconds for which a round goes on without giving way."""


class Follower(ABC):
    """One who follows a job.

    Args:
        follow: Where it is in the log, and how much may be sent.

    Attributes:
        follow: The same.
        bell: Rung when there is something for it to do by itself.
    """

    def __init__(self, follow: Subscription) -> None:
        self.follow = follow
        self.bell = Bell()

    @abstractmethod
    def send_now(self, batch: EventBatch) -> bool:
        """Send a batch that begins right behind what was sent, if it is taken at once, and take note of it.

        Returns:
            Whether the next one may be sent so too. If not, the follower is woken, to send for itself what
            `Feed.next` gives it.
        """

    async def ready(self) -> None:  # noqa: B027  # there may be nothing to wait for
        """Wait until something may be sent to it; a checkpoint only if it waits."""


class Feed:
    """One job's log, on its way to those who follow it.

    Args:
        feeds: What it shares with the feeds of other jobs.
        job_id: Whose log it is.
        after: Where its first follower begins.
        readers: The readers of the job in this process, which the feed is one of.

    Attributes:
        cursor: How far it has read.
        policy: The handler does not wait for it; it may for a follower.
        followers: How many there are.
    """

    def __init__(self, feeds: Feeds, job_id: str, after: int, readers: Readers) -> None:
        self.cursor = after
        self.policy: Policy = "gap"
        self.followers = 0
        self._store = feeds.store
        self._pace = feeds.pace
        self._shelf = feeds.shelf
        self._tracebacks = feeds.tracebacks
        self._job_id = job_id
        self._readers = readers
        self._row = Row()
        self._level: dict[Follower, None] = {}
        self._led = False
        self._over = False
        self._read_at = -math.inf
        self._got = 0

    # ------------------------------------------------------------ one follower

    async def next(self, follower: Follower) -> EventBatch | None:
        """Return what a follower has to send for itself, waiting while all is sent to it in rounds.

        A checkpoint, but that it gives way only if it waits: what comes next is to be sent, which does.

        Returns:
            A batch that begins right behind what it was sent; None if the log has ended there.

        Raises:
            InvalidPayload: The next event holds what JSON cannot.
            UnknownJob: The job was removed.
            trio.ClosedResourceError: The registry was left.
            Exception: What `Follower.ready` raises.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        follow = follower.follow
        while True:
            if self._over and follow.sent == self.cursor:
                return None  # the end is no event, and needs no window
            await follower.ready()
            cursor, most = follow.sent, _BATCH if follow.room is None else follow.room
            batch = self._row.batches.get(cursor)
            if batch is not None and len(batch.events) <= most:
                return batch
            if cursor < self.cursor:
                return await self._own(cursor, most)
            if self._over:
                return None
            await self._be_level(follower)

    async def _own(self, cursor: int, most: int) -> EventBatch:
        """Return a batch for one follower that the others do not need; it ends where theirs begin."""
        events = await self._store.read(self._job_id, cursor, min(most, _BATCH))
        events = [event for event in events if event.seq <= self.cursor]
        if not events:
            return gap(cursor, self.cursor)
        return next(cut(cursor, events, tracebacks=self._tracebacks))

    async def _be_level(self, follower: Follower) -> None:
        """Wait while a follower is sent all in rounds; lead them if nobody does."""
        self._level[follower] = None
        try:
            while follower in self._level:
                if self._led:
                    await follower.bell.wait()
                else:
                    await self._lead(follower)
        finally:
            self._level.pop(follower, None)
            if not self._led:
                self._dismiss(tuple(self._level)[:1])  # the next one leads

    # ------------------------------------------------------------ all who are level

    async def _lead(self, leader: Follower) -> None:
        """Read on, and send what comes to all, until the leader has to look after itself."""
        self._led = True
        try:
            while leader in self._level:
                events = await self._more()
                await self._round(events)
        finally:
            self._led = False
            self._dismiss([one for one in self._level if one.follow.sent != self.cursor])

    async def _more(self) -> Sequence[Event]:
        """Read on, but not before the feed's turn.

        Where the last frame had one event only, the turn is awaited only if another one comes before: so rare
        events cost no timer each.
        """
        when, rare = self._when(), self._got <= 1
        if not rare and when > trio.current_time():
            await self._pace.sleep_until(when)
        events = await self._store.follow(self._job_id, self.cursor, _BATCH)
        if rare and events and when > trio.current_time():
            await self._pace.sleep_until(when)
            events = await self._store.follow(self._job_id, self.cursor, _BATCH)
        self._read_at, self._got = trio.current_time(), len(events)
        return events

    def _when(self) -> float:
        """Return when to read on: at once if there is more."""
        return self._read_at if self._got == _BATCH else self._pace.next_turn(self._read_at, self._got)

    async def _round(self, events: Sequence[Event]) -> None:
        """Send events to all who are level, and let others run once in a while."""
        work, began = 0.0, trio.current_time()
        for batch in self._taken(events):
            for follower in tuple(self._level):
                if follower in self._level and not (
                    follower.follow.sent == batch.after and follower.send_now(batch)
                ):
                    self._dismiss((follower,))
                if (now := trio.current_time()) >= began + _SLICE:
                    work += now - began
                    await trio.lowlevel.checkpoint()
                    began = trio.current_time()
        if len(events) < _BATCH:  # more than that is sent without rest
            self._pace.worked(work + trio.current_time() - began)
        if self._over:
            self._dismiss(tuple(self._level))
        elif len(self._level) == self.followers:
            self._shelf.clear(self._row)  # nobody is behind

    def _taken(self, events: Sequence[Event]) -> Sequence[EventBatch]:
        """Take note of what was read, and return it as it is sent."""
        batches: list[EventBatch] = []
        try:
            for batch in cut(self.cursor, events, tracebacks=self._tracebacks):
                batches.append(batch)
                self._shelf.put(self._row, batch)
                self.cursor = batch.last
        finally:
            self._over = not events or bool(batches and batches[-1].ends)
            self._readers.advanced(self)
        return batches

    def _dismiss(self, followers: Iterable[Follower]) -> None:
        for follower in followers:
            self._level.pop(follower, None)
            follower.bell.ring()

    def close(self) -> None:
        """Drop what is kept, when nobody follows any more."""
        self._shelf.clear(self._row)


class Feeds:
    """The feeds of a server, by job; one exists while somebody follows the job.

    Args:
        store: Where the logs are.
        readers: The readers in this process.
        options: How long to linger, how much to keep, and what is shown.

    Attributes:
        store: Where the logs are.
        pace: How often feeds send.
        shelf: Where they keep what they read last, for who comes a little later.
        tracebacks: Whether these are shown.
    """

    def __init__(self, store: Store, readers: ReadersByJob, options: ServerOptions) -> None:
        self.store = store
        self.pace = Pace(options.limits.linger)
        self.shelf = Shelf(options.limits.kept)
        self.tracebacks = options.tracebacks
        self._readers = readers
        self._feeds: dict[str, Feed] = {}

    @contextmanager
    def following(self, job_id: str, after: int, last_seq: int) -> Generator[tuple[Feed, Readers]]:
        """Give the feed of a job, for one follower.

        Args:
            job_id: The job.
            after: Where the follower begins.
            last_seq: The newest cursor of the log, as far as is known.
        """
        readers = self._readers[job_id]
        feed = self._feeds.get(job_id)
        if feed is None:
            feed = self._feeds[job_id] = Feed(self, job_id, after, readers)
            readers.join(feed, last_seq)
        feed.followers += 1
        try:
            yield feed, readers
        finally:
            feed.followers -= 1
            if not feed.followers:
                del self._feeds[job_id]
                feed.close()
                readers.leave(feed)
                self._readers.release(job_id)
