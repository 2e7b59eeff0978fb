"""The log of a job for all its followers: read once, encoded once, and sent to all by one of them.

There is no queue per follower and no task per job: a follower has a cursor. A follower that is level with
the log waits. One of those leads: it reads on, and sends each batch to all of them in a round, without
waking them. A follower whose peer does not take a batch at once leaves the round, and catches up by itself:
from the batches that are kept, or by reading the log, in bigger and bigger batches. So a slow peer costs no
memory, and no other one waits for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol

import trio

from .._common.bell import Bell
from .._common.errors import StreamGap
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


class Outlet(Protocol):
    """Sends to one peer."""

    @property
    def waiting(self) -> bool:
        """Whether the rest of a send waits, or a task is sending."""
        ...

    def send_now(self, data: bytes, /) -> bool:
        """Send bytes in the calling task, and return whether they were taken; if `waiting` then, `flush`."""
        ...

    async def flush(self) -> None:
        """Wait until what was begun is sent."""


class Follower:
    """Sends the log of one job to one peer.

    Args:
        subscription: Its place in the log, and how much may be sent.
        outlet: The way to the peer; None if nothing can be sent at once.
        form: Returns a batch as it is sent at once.

    Attributes:
        subscription: The same.
        bell: Rung when the follower has to send by itself.
        acked: Rung when the peer has acked events.
    """

    def __init__(
        self, subscription: Subscription, outlet: Outlet | None, form: Callable[[EventBatch], bytes]
    ) -> None:
        self.subscription = subscription
        self.bell = Bell()
        self.acked = Bell()
        self._outlet = outlet
        self._form = form

    def send_now(self, batch: EventBatch) -> bool:
        """Send a batch that begins right behind what was sent, if the peer takes it at once, and note it.

        Returns:
            Whether the next batch may be sent so too. If not, the follower is woken, to send by itself what
            `Feed.next` returns.
        """
        subscription, outlet = self.subscription, self._outlet
        room = subscription.room
        if outlet is None or (room is not None and len(batch.events) > room):
            return False
        if not outlet.send_now(self._form(batch)):
            return False
        subscription.moved(batch.last)
        return not outlet.waiting and subscription.room != 0

    async def flush(self) -> None:
        """Wait until what was begun is sent; a checkpoint only if it waits."""
        if self._outlet is not None and self._outlet.waiting:
            await self._outlet.flush()


class Feed:
    """The log of one job for its followers.

    Args:
        feeds: The feeds of the server.
        first: The first subscription: the job, and the place where it begins to read.
        readers: The readers of the job in this process; the feed is one of them.

    Attributes:
        cursor: How far it has read.
        policy: The handler does not wait for the feed; it may for a follower.
        readers: The readers of the job.
        followers: How many there are.
        subscriptions: Their places.
    """

    def __init__(self, feeds: Feeds, first: Subscription, readers: Readers) -> None:
        self.cursor = first.sent
        self.policy: Policy = "gap"
        self.readers = readers
        self.followers = 0
        self._feeds = feeds
        self._job_id = first.job_id
        self._row = Row()
        self.subscriptions = set[Subscription]()
        self._lost: dict[Subscription, StreamGap] = {}  # those that are still to be told of a gap
        self._level: dict[Follower, None] = {}
        self._led = False
        self._over = False
        self._read_at = -math.inf
        self._got = 0

    # ------------------------------------------------------------ one follower

    async def next(self, follower: Follower) -> EventBatch | None:
        """Return the batch that a follower has to send by itself, waiting while rounds send it everything.

        A checkpoint, but it yields only if it waits: the caller sends the batch then, which yields.

        Returns:
            A batch that begins right behind what was sent; None if the log has ended there.

        Raises:
            InvalidPayload: The next event holds what JSON cannot.
            UnknownJob: The job was removed.
            StreamGap: The store has lost events that were sent.
            trio.ClosedResourceError: The registry was left.
            PeerGone: The peer has left, or does not take what was begun in time.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        subscription = follower.subscription
        while True:
            if self._lost and (gap := self._lost.pop(subscription, None)) is not None:
                raise gap
            if self._over and subscription.sent == self.cursor:
                return None  # the end is no event, and needs no window
            await follower.flush()
            while subscription.room == 0:
                self.readers.advanced(subscription)
                await follower.acked.wait()
            cursor, room = subscription.sent, subscription.room
            most = _BATCH if room is None else room
            batch = self._row.batches.get(cursor)
            if batch is not None and len(batch.events) <= most:
                return batch
            if cursor < self.cursor:
                return await self._read_alone(cursor, most)
            if self._over:
                return None
            await self._be_level(follower)

    async def _read_alone(self, cursor: int, most: int) -> EventBatch:
        """Read a batch for one follower that is behind the others."""
        events = await self._feeds.store.read(self._job_id, cursor, min(most, _BATCH))
        events = [event for event in events if event.seq <= self.cursor]
        if not events:
            return gap(cursor, self.cursor)
        return next(cut(cursor, events, tracebacks=self._feeds.tracebacks))

    async def _be_level(self, follower: Follower) -> None:
        """Wait while rounds send a follower everything; lead them if no other one does."""
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

    # ------------------------------------------------------------ all followers that are level

    async def _lead(self, leader: Follower) -> None:
        """Read on, and send each batch to all, until the leader has to send by itself."""
        self._led = True
        try:
            while leader in self._level:
                try:
                    events = await self._read_on()
                except StreamGap as gap:
                    self._go_back(gap.oldest)
                else:
                    await self._round(events)
        finally:
            self._led = False
            self._dismiss([one for one in self._level if one.subscription.sent != self.cursor])

    def _go_back(self, oldest: int) -> None:
        """Read on from an earlier cursor, as the store lost what was behind it; tell those who got that."""
        self._lost = {
            one: StreamGap(self._job_id, oldest + 1, one.sent, oldest)
            for one in self.subscriptions
            if one.sent > oldest
        }
        self.cursor = oldest
        self._feeds.shelf.clear(self._row)
        self._dismiss(tuple(self._level))

    async def _read_on(self) -> Sequence[Event]:
        """Read on, but not before the feed's turn.

        If the last frame had one event only, the feed waits for its turn only if another event comes before:
        so rare events cost no timer each.
        """
        more_at_hand = self._got == _BATCH
        when = self._read_at if more_at_hand else self._feeds.pace.next_turn(self._read_at, self._got)
        rare = self._got <= 1
        if not rare and when > trio.current_time():
            await self._feeds.pace.sleep_until(when)
        events = await self._feeds.store.follow(self._job_id, self.cursor, _BATCH)
        if rare and events and when > trio.current_time():
            await self._feeds.pace.sleep_until(when)
            events = await self._feeds.store.follow(self._job_id, self.cursor, _BATCH)
        self._read_at, self._got = trio.current_time(), len(events)
        return events

    async def _round(self, events: Sequence[Event]) -> None:
        """Send events to all followers that are level, and let other tasks run once in a while."""
        work, began = 0.0, trio.current_time()
        for batch in self._batches(events):
            for follower in tuple(self._level):
                subscription = follower.subscription
                if follower in self._level and not (
                    subscription.sent == batch.after and follower.send_now(batch)
                ):
                    self._dismiss((follower,))
                if subscription.policy == "block":
                    self.readers.advanced(subscription)  # its handler may wait for that
                if (now := trio.current_time()) >= began + _SLICE:
                    work += now - began
                    await trio.lowlevel.checkpoint()
                    began = trio.current_time()
        if len(events) < _BATCH:  # a full read is followed by the next one without rest
            self._feeds.pace.worked(work + trio.current_time() - began)
        if self._over:
            self._dismiss(tuple(self._level))
        elif len(self._level) == self.followers:
            self._feeds.shelf.clear(self._row)  # no follower is behind

    def _batches(self, events: Sequence[Event]) -> Sequence[EventBatch]:
        """Cut the events that were read into batches, and keep these; none means that the log has ended."""
        batches: list[EventBatch] = []
        try:
            for batch in cut(self.cursor, events, tracebacks=self._feeds.tracebacks):
                batches.append(batch)
                self._feeds.shelf.put(self._row, batch)
                self.cursor = batch.last
        finally:
            self._over = not events or bool(batches and batches[-1].ends)
            self.readers.advanced(self)
        return batches

    def acked(self, follower: Follower) -> None:
        """Let a follower, and the handler, go on after an ack."""
        follower.acked.ring()
        self.readers.advanced(follower.subscription)

    def _dismiss(self, followers: Iterable[Follower]) -> None:
        for follower in followers:
            self._level.pop(follower, None)
            follower.bell.ring()

    def close(self) -> None:
        """Drop the batches that are kept."""
        self._feeds.shelf.clear(self._row)


class Feeds:
    """The feeds of a server, by job; a feed exists while its job has followers.

    Args:
        store: The store of the jobs.
        readers: The readers in this process.
        options: The options of the server.

    Attributes:
        store: The same.
        pace: How often feeds send.
        shelf: The batches that were sent last, for followers that are a little behind.
        tracebacks: Whether clients see these.
    """

    def __init__(self, store: Store, readers: ReadersByJob, options: ServerOptions) -> None:
        self.store = store
        self.pace = Pace(options.limits.linger)
        self.shelf = Shelf(options.limits.kept)
        self.tracebacks = options.tracebacks
        self._readers = readers
        self._feeds: dict[str, Feed] = {}

    @contextmanager
    def following(self, subscription: Subscription, last_seq: int) -> Generator[Feed]:
        """Give the feed of a job to one subscription, which counts among the job's readers meanwhile.

        Args:
            subscription: The job, and the place in its log.
            last_seq: The newest cursor of the log, as far as is known.
        """
        job_id = subscription.job_id
        feed = self._feeds.get(job_id)
        if feed is None:
            feed = self._feeds[job_id] = Feed(self, subscription, self._readers[job_id])
            feed.readers.join(feed, last_seq)
        feed.followers += 1
        feed.subscriptions.add(subscription)
        feed.readers.join(subscription, last_seq)
        try:
            yield feed
        finally:
            feed.readers.leave(subscription)
            feed.followers -= 1
            feed.subscriptions.discard(subscription)
            if not feed.followers:
                del self._feeds[job_id]
                feed.close()
                feed.readers.leave(feed)
                self._readers.release(job_id)


@contextmanager
def within(block: AbstractContextManager[object], following: AbstractContextManager[Feed]) -> Generator[Feed]:
    """Follow inside a context manager of the program's own. What ends the stream comes out in any case."""
    raised: BaseException | None = None
    with block:
        try:
            with following as feed:
                yield feed
        except BaseException as error:
            raised = error
            raise
    if raised is not None:
        raise raised
