"""A reader's place in a log: the cursor, and the events that are at hand behind it.

Subclasses say where the events come from: `store_cursor.py` reads a store, `client/cursor.py` a server.
What a reader sees, and in which order, is the same for both, because it is decided here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Sequence
from typing import Any, Final

import trio

from .._common.errors import StreamGap
from .._common.validate import choice, whole
from .._model.job import Event, Kind
from ..stores.records import Note
from .raised import Raised
from .readers import Policy

NOTHING: Final = object()
"""What `LogCursor.take` returns when no event is at hand."""


def _closed() -> trio.ClosedResourceError:
    return trio.ClosedResourceError("open the stream with 'async with', and read it inside")


class LogCursor(ABC):
    """A reader's place in a log, and the events it has at hand behind that.

    Args:
        job_id: The job.
        after: The cursor to begin at.
        policy: What the handler does while this reader is slow.
        raised: What handlers raised in this process.

    Attributes:
        cursor: The `seq` of the last event delivered.
    """

    _open = False
    _batch: Sequence[Event] = ()
    _next = 0
    _waiting = False

    def __init__(self, job_id: str, after: int, policy: Policy, raised: Raised) -> None:
        whole("after", after)
        choice("policy", policy, ("block", "gap"))
        self.job_id = job_id
        self.cursor: int = after
        self.policy: Policy = policy
        self.raised = raised

    # ------------------------------------------------------------ where the events come from

    @abstractmethod
    async def open(self) -> None:
        """Begin to read. Raises as the streams' `__aenter__` say."""

    @abstractmethod
    async def last(self) -> Event:
        """Return the newest event of the log; of a job that has ended, the terminal event."""

    @abstractmethod
    def _wait(self) -> Awaitable[bool | None]:
        """Wait for events behind the cursor, and put them at hand; return True if the log has ended."""

    @abstractmethod
    def _moved(self) -> None:
        """Note that the cursor moved."""

    @abstractmethod
    def _leave(self) -> None:
        """Stop reading."""

    # ------------------------------------------------------------ for readers

    def close(self) -> None:
        """Stop reading; closing twice is fine."""
        if self._open:
            self._open = False
            self._batch = ()
            self._leave()

    def at_hand(self) -> bool:
        """Return whether there is an event to move over."""
        return self._next < len(self._batch)

    async def ready(self) -> bool:
        """Wait until an event is at hand; look again, as it may be gone by then. A checkpoint.

        Returns:
            False if there will be none: the log has ended.
        """
        if not self._open:
            raise _closed()
        ended = None
        if self.at_hand():
            await trio.lowlevel.checkpoint()
        elif self._waiting:
            raise trio.BusyResourceError("another task is reading this stream; open one for each task")
        else:
            self._waiting = True
            try:
                ended = await self._wait()
            finally:
                self._waiting = False
        if not self._open:
            raise _closed()
        return not ended

    def pass_beginning(self) -> None:  # noqa: B027  # to do nothing is right, if slower
        """From 0, move over what tells a reader of values nothing, if nothing else is at hand.

        It need not: this saves a task switch, as the reader has to wait then, and need not rest before.
        """

    def pull(self) -> Event:
        """Move over the event at hand, and return it.

        Raises:
            StreamGap: Events are missing before it; the cursor moved over the gap.
        """
        event = self._batch[self._next]
        self._pass(event.seq)
        self._next += 1
        return event

    def take(self) -> Any:
        """Move over an event as `pull` does, and return the value of a token or a `Note`; else `NOTHING`."""
        if not self.at_hand():
            return NOTHING
        event = self.pull()
        return (
            event.data
            if event.kind is Kind.TOKEN
            else Note(event.attempt, event.kind, event.data, event.received)
        )

    def _pass(self, seq: int) -> None:
        """Move over the event `seq`, or over the gap before it, which is raised."""
        missing = self.cursor + 1
        gap = seq != missing
        self.cursor = seq - 1 if gap else seq
        self._moved()
        if gap:
            raise StreamGap(self.job_id, missing, self.cursor, self.cursor)

    def pull_tokens(self) -> list[Any]:
        """Move over the tokens that are at hand next, up to a gap or another event. Returns values."""
        end = self._next
        for event in self._batch[self._next :]:
            if event.kind is not Kind.TOKEN or event.seq != self.cursor + 1 + end - self._next:
                break
            end += 1
        tokens = self._batch[self._next : end]
        self._next = end
        self.cursor += len(tokens)
        if tokens:
            self._moved()
        return [event.data for event in tokens]
