"""What is sent of a job's log, made once for all who follow it.

There is no queue per follower and no task per job: a follower has a cursor. The one that finds nothing behind
its cursor reads on in the log, for all; the others wait for it, and send the same text. Who falls behind
what is kept at hand reads the log for itself, in bigger and bigger pieces, so a slow one costs no memory.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import attrs
import trio

from .._audience import Audience, Audiences, Policy
from .._bell import Bell
from .._codec import encode_flat
from .._errors import InvalidPayload
from .._job import Event
from .._store import Store
from .sse import encode_sse
from .wire import encode_event

if TYPE_CHECKING:
    from .limits import Limits

_BATCH: Final = 256
_MANY: Final = 64
"""Events in one piece that are worth a frame of their own, with no lingering for more."""
_REST: Final = 3
_PIECE_BYTES: Final = 256 * 1024
_KEPT_BYTES: Final = 1024 * 1024


@attrs.define(eq=False)
class Piece:
    """A run of events that are sent together, or a gap.

    Attributes:
        after: The cursor before it.
        last: The cursor behind it.
        events: The events; none if they are gone.
        json: They as a JSON array.
        tracebacks: Whether these are shown.
    """

    after: int
    last: int
    events: Sequence[Event]
    json: str
    tracebacks: bool
    _sse: bytes | None = None

    @property
    def is_gap(self) -> bool:
        """Whether the events are gone."""
        return not self.events

    @property
    def sse(self) -> bytes:
        """They as server-sent events."""
        if self._sse is None:
            self._sse = encode_sse(self.events, self.after, self.last, tracebacks=self.tracebacks)
        return self._sse


class Feed:
    """One job's log, on its way to those who follow it.

    Args:
        store: Where the log is.
        job_id: Whose log it is.
        after: Where its first follower begins.
        audience: The readers of the job in this process, which the feed is one of.
        linger: Seconds to wait for more when it is level with the log.
        tracebacks: Whether these are shown.

    Attributes:
        cursor: How far it has read.
        policy: The handler does not wait for it; it may for a follower.
    """

    def __init__(
        self, store: Store, job_id: str, after: int, audience: Audience, *, linger: float, tracebacks: bool
    ) -> None:
        self.cursor = after
        self.policy: Policy = "gap"
        self.followers = 0
        self._store = store
        self._job_id = job_id
        self._audience = audience
        self._linger = linger
        self._tracebacks = tracebacks
        self._recent: dict[int, Piece] = {}
        self._order: deque[Piece] = deque()
        self._bytes = 0
        self._over = False
        self._reading = False
        self._read_at = -math.inf
        self._got = _BATCH
        self._bell = Bell()

    async def after(self, cursor: int, most: int = _BATCH) -> Piece | None:
        """Return what comes behind a cursor, waiting for it if need be.

        A checkpoint, but that it gives way only if it waits: what comes next is to be sent, which does.

        Args:
            cursor: Where the follower is.
            most: How many events it takes.

        Returns:
            A piece that begins right behind the cursor; None if the log has ended there.

        Raises:
            InvalidPayload: The next event holds what JSON cannot.
            UnknownJob: The job was removed.
            trio.ClosedResourceError: The registry was left.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            piece = self._recent.get(cursor)
            if piece is not None and len(piece.events) <= most:
                return piece
            if cursor < self.cursor:
                return await self._own(cursor, most)
            if self._over:
                return None
            if self._reading:
                await self._bell.wait()
            else:
                await self._read_on()

    async def _own(self, cursor: int, most: int) -> Piece:
        """Return a piece for one follower that the others do not need; it ends where theirs begin."""
        events = await self._store.read(self._job_id, cursor, min(most, _BATCH))
        events = [event for event in events if event.seq <= self.cursor]
        if not events:
            return self._gap(cursor, self.cursor)
        return next(self._pieces(cursor, events))

    async def _read_on(self) -> None:
        self._reading = True
        try:
            await trio.sleep_until(self._when())
            events = await self._store.follow(self._job_id, self.cursor, _BATCH)
        finally:
            self._reading = False
            self._bell.ring()  # cancelled or not: the next one reads on
        self._read_at, self._got = trio.current_time(), len(events)
        if not events:
            self._over = True
        for piece in self._pieces(self.cursor, events):
            self._keep(piece)
        self._audience.advanced(self)

    def _when(self) -> float:
        """Return when to read on: a linger after a few events, at once after many.

        But not before it has rested three times as long as it took to send them, up to three lingers: the
        handler runs meanwhile, and when there is more than can be sent, frames grow, and not their number.
        """
        now = trio.current_time()
        if self._got == _BATCH:
            return now  # there is more
        rested = now + _REST * min(now - self._read_at, self._linger)
        return rested if self._got >= _MANY else max(rested, self._read_at + self._linger)

    def _keep(self, piece: Piece) -> None:
        self._recent[piece.after] = piece
        self._order.append(piece)
        self._bytes += len(piece.json)
        while self._bytes > _KEPT_BYTES and len(self._order) > 1:
            old = self._order.popleft()
            del self._recent[old.after]
            self._bytes -= len(old.json)
        self.cursor = piece.last
        self._over = bool(piece.events) and piece.events[-1].kind.ends

    def _pieces(self, after: int, events: Sequence[Event]) -> Generator[Piece]:
        """Cut events into pieces: at gaps, at what is large, and before what JSON cannot hold."""
        if events and events[-1].seq == after + len(events):
            whole = encode_flat(events, [event.data for event in events], _PIECE_BYTES)
            if whole is not None and len(whole) <= _PIECE_BYTES:
                yield Piece(after, events[-1].seq, events, whole.decode(), self._tracebacks)
                return
        run: list[Event] = []
        texts: list[bytes] = []
        size = 0
        for event in events:
            try:
                text = encode_event(event, tracebacks=self._tracebacks)
            except InvalidPayload:
                if not run and event.seq == after + 1:
                    raise
                if not run:
                    yield self._gap(after, event.seq - 1)
                break  # what comes before it is sent first
            follows_on = event.seq == after + len(run) + 1
            if run and (not follows_on or size + len(text) > _PIECE_BYTES):
                yield self._piece(after, run, texts)
                after, run, texts, size = run[-1].seq, [], [], 0
            if event.seq != after + len(run) + 1:
                yield self._gap(after, event.seq - 1)
                after = event.seq - 1
            run.append(event)
            texts.append(text)
            size += len(text)
        if run:
            yield self._piece(after, run, texts)

    def _piece(self, after: int, run: Sequence[Event], texts: Sequence[bytes]) -> Piece:
        return Piece(after, run[-1].seq, run, f"[{b','.join(texts).decode()}]", self._tracebacks)

    def _gap(self, after: int, last: int) -> Piece:
        return Piece(after, last, (), "", self._tracebacks)


class Feeds:
    """The feeds of a server, by job; one exists while somebody follows the job.

    Args:
        store: Where the logs are.
        audiences: Who reads in this process.
        limits: How long to linger.
        tracebacks: Whether these are shown.
    """

    def __init__(self, store: Store, audiences: Audiences, limits: Limits, *, tracebacks: bool) -> None:
        self._store = store
        self._audiences = audiences
        self._limits = limits
        self._tracebacks = tracebacks
        self._feeds: dict[str, Feed] = {}

    @contextmanager
    def following(self, job_id: str, after: int, last_seq: int) -> Generator[tuple[Feed, Audience]]:
        """Give the feed of a job, for one follower.

        Args:
            job_id: The job.
            after: Where the follower begins.
            last_seq: The newest cursor of the log, as far as is known.
        """
        audience = self._audiences[job_id]
        feed = self._feeds.get(job_id)
        if feed is None:
            feed = self._feeds[job_id] = Feed(
                self._store,
                job_id,
                after,
                audience,
                linger=self._limits.linger,
                tracebacks=self._tracebacks,
            )
            audience.join(feed, last_seq)
        feed.followers += 1
        try:
            yield feed, audience
        finally:
            feed.followers -= 1
            if not feed.followers:
                del self._feeds[job_id]
                audience.leave(feed)
                self._audiences.release(job_id)
