"""Follow a job's log: replay, then live, with nothing between the two.

A reader is a cursor. It asks the store for what lies behind the cursor; when nothing does, it waits
for a hint that something may, and asks again. Live is thus nothing but a replay that has drawn level, so
there is no seam at which an event could be lost or doubled, and a reader may leave and resume anywhere.
The end is the terminal event, which is in the log like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Literal, Self, TypeVar

import trio

from ._audience import Audiences, Policy
from ._check import choice, whole
from ._errors import JobCancelled, JobFailed, JobTimedOut, StreamGap, StreamRestarted
from ._job import Ended, Event, Kind
from ._states import Reason

if TYPE_CHECKING:
    from ._store import Store

T_co = TypeVar("T_co", covariant=True)
Restarts = Literal["raise", "continue"]
_BATCH = 256
_TIMEOUTS = frozenset(
    {Reason.TIMEOUT, Reason.QUEUE_TIMEOUT, Reason.FIRST_TOKEN_TIMEOUT, Reason.IDLE_TIMEOUT}
)


def failure(job_id: str, attempt: int, ended: Ended) -> JobFailed:
    """Return the exception that says how a job failed."""
    message = ended.message or str(ended.error or ended.reason)
    kind = JobTimedOut if ended.reason in _TIMEOUTS else JobFailed
    return kind(job_id, ended.reason, message, ended.error, attempt)


def raise_end(job_id: str, event: Event) -> None:
    """Raise for the terminal event of a job that did not complete."""
    if event.kind in {Kind.FAILED, Kind.EXPIRED}:
        raise failure(job_id, event.attempt, event.data)
    if event.kind is Kind.CANCELLED:
        raise JobCancelled(job_id, event.data.reason, event.data.message)


class EventStream(trio.abc.ReceiveChannel[Event]):
    """Every event of a job's log behind a cursor, as `JobHandle.events` opens it.

    A Trio receive channel: use it in `async with`, and read it with `receive` or `async for`. It ends
    after the terminal event. It may be left at any point, and resumed with `after=stream.cursor`.

    Attributes:
        cursor: The `seq` of the last event that was delivered.
        policy: What the handler does while this reader is slow.
    """

    def __init__(
        self, store: Store, audiences: Audiences, job_id: str, after: int, policy: Policy
    ) -> None:
        whole("after", after)
        choice("policy", policy, ("block", "gap"))
        self.cursor = after
        self.policy = policy
        self._store = store
        self._audiences = audiences
        self._job_id = job_id
        self._batch: list[Event] = []
        self._next = 0
        self._open = False

    async def __aenter__(self) -> Self:
        """Begin to read.

        Raises:
            UnknownJob: The job was removed.
            StreamGap: The cursor is ahead of the log.
        """
        self._batch = await self._store.read(self._job_id, self.cursor, _BATCH)
        if 0 < len(self._batch) < _BATCH:
            last_seq = self._batch[-1].seq
        else:
            last_seq = (await self._store.get(self._job_id)).last_seq
        if self.cursor > last_seq:
            raise StreamGap(self._job_id, last_seq + 1, self.cursor, last_seq)
        self._audiences[self._job_id].join(self, last_seq)
        self._open = True
        return self

    async def receive(self) -> Event:
        """Return the next event, waiting for it if need be.

        Always a checkpoint. If it is cancelled, no event is lost: the next call returns it.

        Raises:
            trio.EndOfChannel: The terminal event has been delivered.
            trio.ClosedResourceError: The stream is not open; use it in `async with`.
            StreamGap: Events behind the cursor are gone; the next call continues after the gap.
            UnknownJob: The job was removed meanwhile.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        waited = False
        while (event := await self._peek()) is None:
            if not await self._store.changed(self._job_id, self.cursor):
                await trio.lowlevel.cancel_shielded_checkpoint()
                raise trio.EndOfChannel
            waited = True
        self._take(event)
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return event

    async def _peek(self) -> Event | None:
        """Return the next event if the log has it."""
        if not self._open:
            raise trio.ClosedResourceError("open the stream with 'async with', and read it inside")
        if self._next == len(self._batch):
            self._batch = await self._store.read(self._job_id, self.cursor, _BATCH)
            self._next = 0
            if not self._batch:
                return None
        return self._batch[self._next]

    def _take(self, event: Event) -> None:
        """Move the cursor over an event, or up to it with the news that something is missing."""
        missing = self.cursor + 1
        if event.seq == missing:
            self._next += 1
            self.cursor = event.seq
        else:
            self.cursor = event.seq - 1
        self._audiences[self._job_id].advanced(self)
        if event.seq != missing:
            raise StreamGap(self._job_id, missing, self.cursor, self.cursor)

    def take_token(self) -> Event | None:
        """Deliver the next event without waiting, if it is a token that is at hand."""
        if self._next < len(self._batch):
            event = self._batch[self._next]
            if event.kind is Kind.TOKEN and event.seq == self.cursor + 1:
                self._take(event)
                return event
        return None

    async def aclose(self) -> None:
        """Stop reading. Always a checkpoint; the stream is closed even if that is cancelled."""
        if self._open:
            self._open = False
            self._audiences[self._job_id].leave(self)
            self._audiences.release(self._job_id)
        await trio.lowlevel.checkpoint()


class TokenStream(trio.abc.ReceiveChannel[T_co], Generic[T_co]):
    """The values that a job streams, as `JobHandle.stream` opens it.

    A Trio receive channel: use it in `async with`, and read it with `receive`, `receive_many` or
    `async for`. A stream that ends quietly is complete; any other end raises.
    """

    def __init__(self, events: EventStream, job_id: str, store: Store, restarts: Restarts) -> None:
        choice("restarts", restarts, ("raise", "continue"))
        self._events = events
        self._job_id = job_id
        self._store = store
        self._restarts = restarts

    @property
    def cursor(self) -> int:
        """Where this reader is in the log; `stream(after=cursor)` resumes here."""
        return self._events.cursor

    async def __aenter__(self) -> Self:
        """Begin to read; see `EventStream`."""
        await self._events.__aenter__()
        return self

    async def receive(self) -> T_co:
        """Return the next value, waiting for it if need be.

        Always a checkpoint. If it is cancelled, no value is lost: the next call returns it.

        Raises:
            trio.EndOfChannel: The job completed and every value has been delivered.
            JobFailed: The job failed.
            JobCancelled: The job was cancelled.
            StreamRestarted: A new attempt began, and the reader did not say `restarts="continue"`.
            StreamGap: Values behind the cursor are gone; the next call continues after the gap.
            trio.ClosedResourceError: The stream is not open; use it in `async with`.
            UnknownJob: The job was removed meanwhile.
        """
        while True:
            try:
                event = await self._events.receive()
            except trio.EndOfChannel:
                await self._raise_known_end()
                raise
            if event.kind is Kind.TOKEN:
                value: T_co = event.data
                return value
            if event.kind is Kind.STARTED and event.attempt > 1 and self._restarts == "raise":
                raise StreamRestarted(self._job_id, event.attempt, event.seq)
            raise_end(self._job_id, event)

    async def _raise_known_end(self) -> None:
        """Raise the end that lies at or before the cursor: a reader may resume there."""
        raise_end(self._job_id, await last_event(self._store, self._job_id))

    async def receive_many(self) -> list[T_co]:
        """Return the next values: at least one, and with it those that are at hand, up to 256.

        One checkpoint for all of them. If it is cancelled, no value is lost. Raises what `receive` does.
        """
        values = [await self.receive()]
        while (event := self._events.take_token()) is not None:
            values.append(event.data)
        return values

    async def aclose(self) -> None:
        """Stop reading. Always a checkpoint; the stream is closed even if that is cancelled."""
        await self._events.aclose()


async def last_event(store: Store, job_id: str) -> Event:
    """Return the newest event of a job's log: of a job that has ended, its end."""
    job = await store.get(job_id)
    return (await store.read(job_id, job.last_seq - 1, 1))[0]
