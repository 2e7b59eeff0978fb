"""Follow a job's log: first the events that are there, then new ones as they come.

A reader is a cursor. It reads the events behind the cursor from the store; if there are none, the store waits
for some. Reading live is thus the same as reading old events, so there is no switch at which an event could
be lost or doubled, and a reader may leave and resume anywhere. The end is the terminal event, which is in the
log like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Literal, Self, TypeVar

import trio

from .._common.errors import JobCancelled, JobFailed, JobTimedOut, StreamRestarted
from .._common.states import Reason, State
from .._common.validate import choice
from .._model.job import ENDS, Ended, Event, Kind
from ..stores.records import Note
from .cursor import NOTHING, LogCursor
from .raised import chained

if TYPE_CHECKING:
    from .._common.errors import ErrorRecord

T_co = TypeVar("T_co", covariant=True)
Restarts = Literal["raise", "continue"]
# Each reader asks for these, and Python 3.11 finds the members of an enum slowly.
_STARTED, _RETRIED, _COMPLETED = Kind.STARTED, Kind.RETRIED, Kind.COMPLETED
_TIMEOUTS = frozenset({Reason.TIMEOUT, Reason.QUEUE_TIMEOUT, Reason.FIRST_TOKEN_TIMEOUT, Reason.IDLE_TIMEOUT})


def failure(job_id: str, attempt: int, ended: Ended) -> JobFailed:
    """Return the exception that says how a job failed."""
    message = ended.message or str(ended.error or ended.reason)
    kind = JobTimedOut if ended.reason in _TIMEOUTS else JobFailed
    return kind(job_id, ended.reason, message, ended.error, attempt)


def end_error(job_id: str, attempt: int, ended: Ended, state: State) -> JobFailed | JobCancelled:
    """Return the exception that says how a job ended that did not complete."""
    if state is State.CANCELLED:
        return JobCancelled(job_id, ended.reason, ended.message, ended.replaced_by)
    return failure(job_id, attempt, ended)


def raise_end(cursor: LogCursor, event: Event | Note) -> None:
    """Raise for the terminal event of a job that did not complete."""
    if event.kind is not _COMPLETED:
        state = State.CANCELLED if event.kind is Kind.CANCELLED else State.FAILED
        error = end_error(cursor.job_id, event.attempt, event.data, state)
        raise chained(error, cursor.raised.get(cursor.job_id, event.attempt), event.data.error)


class _LogStream(trio.abc.ReceiveChannel[T_co], Generic[T_co]):
    """The base of streams of a log: a cursor, and the block in which it is open."""

    def __init__(self, cursor: LogCursor) -> None:
        self._cursor = cursor

    @property
    def cursor(self) -> int:
        """Where this reader is in the log: the `seq` to resume behind, with `after=cursor`."""
        return self._cursor.cursor

    async def __aenter__(self) -> Self:
        """Begin to read.

        Raises:
            UnknownJob: The job was removed.
            StreamGap: The cursor is ahead of the log.
        """
        await self._cursor.open()
        return self

    async def aclose(self) -> None:
        """Stop reading. Always a checkpoint; the stream is closed even if that is cancelled.

        A `receive` that another task has under way ends at the job's next event, with
        `trio.ClosedResourceError`.
        """
        self._cursor.close()
        await trio.lowlevel.checkpoint()

    async def __aexit__(self, *_: object) -> None:
        """Stop reading. Not a checkpoint."""
        self._cursor.close()


class EventStream(_LogStream[Event]):
    """Every event of a job's log behind a cursor, as `JobHandle.events` opens it.

    A Trio receive channel: use it in `async with`, and read it with `receive` or `async for`. It ends
    after the terminal event. It may be left at any point, and resumed with `after=stream.cursor`.
    """

    async def receive(self) -> Event:
        """Return the next event, waiting for it if need be.

        Always a checkpoint. If it is cancelled, no event is lost: the next call returns it.

        Raises:
            trio.EndOfChannel: The terminal event has been delivered.
            trio.ClosedResourceError: The stream is not open; use it in `async with`.
            StreamGap: Events behind the cursor are gone; the next call continues after the gap.
            UnknownJob: The job was removed meanwhile.
        """
        cursor = self._cursor
        while await cursor.ready():
            if cursor.at_hand():
                return cursor.pull()
        raise trio.EndOfChannel


class TokenStream(_LogStream[T_co]):
    """The values that a job streams, as `JobHandle.stream` opens it.

    A Trio receive channel: use it in `async with`, and read it with `receive`, `receive_many` or
    `async for`. A stream that ends quietly is complete; any other end raises.
    """

    def __init__(self, cursor: LogCursor, restarts: Restarts) -> None:
        choice("restarts", restarts, ("raise", "continue"))
        super().__init__(cursor)
        self._restarts = restarts
        self._failed: ErrorRecord | None = None  # how the last attempt that this reader has seen ended

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
        cursor = self._cursor
        if cursor.cursor == 0:
            cursor.pass_beginning()
        while await cursor.ready():
            while (entry := cursor.take()) is not NOTHING:
                if not isinstance(entry, Note):
                    value: T_co = entry
                    return value
                self._pass(entry)
        # The reader resumed behind the end, and still has to be given it.
        raise_end(cursor, await cursor.last())
        raise trio.EndOfChannel

    def _pass(self, note: Note) -> None:
        """Go on after an event that is no token, or raise what it means for this reader."""
        cursor = self._cursor
        if note.kind is _RETRIED:
            self._failed = note.data.error
        if note.kind is _STARTED and note.attempt > 1 and self._restarts == "raise":
            error = StreamRestarted(cursor.job_id, note.attempt, cursor.cursor)
            raised = cursor.raised.get(cursor.job_id, note.attempt - 1)
            raise chained(error, raised, self._failed)
        if note.kind in ENDS:
            raise_end(cursor, note)
            raise trio.EndOfChannel

    async def receive_many(self) -> list[T_co]:
        """Return the next values: at least one, and with it those that are at hand, up to 256.

        One checkpoint for all of them. If it is cancelled, no value is lost. Raises what `receive` does.
        """
        return [await self.receive(), *self._cursor.pull_tokens()]
