"""The readers of a job in this process, and whether its handler may go on sending.

The log is bounded by retention, not by its readers, so nothing here holds values. What is kept is one
cursor per reader: a reader with policy `block` that has caught up lets the handler run at most `window`
events ahead of it. "Caught up" means that it is no more than a window behind, or has read everything the log
held when it joined. So a reader that joins late never stops a handler for what was sent before, and yet
always catches up.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from math import inf
from typing import TYPE_CHECKING, Literal, Protocol

from .._common.bell import Bell

if TYPE_CHECKING:
    from .._model.job import Options

Policy = Literal["block", "gap"]


class Reader(Protocol):
    """What `Readers` needs to know of a reader."""

    cursor: int
    policy: Policy


class Clocks(Protocol):
    """The clocks of an attempt that depend on its readers."""

    def standing_still(self) -> AbstractContextManager[None]:
        """Stop the clocks that run between tokens, for as long as the block lasts."""
        ...

    def unread(self, linger: float | None) -> None:
        """Cancel the attempt in `linger` seconds; None takes that back."""
        ...


class Readers:
    """The readers of one job in this process, and the attempt that may have to wait for them.

    Args:
        window: How many events the handler may be ahead of a reader.

    Attributes:
        watchful: Whether `advanced` has to be called when a reader moves: the attempt waits, or a reader has
            not caught up.
        until: Below this cursor there is room; found again when it is reached.
    """

    watchful = False
    until = 0
    _read = 0  # the furthest that a reader which left has come since the attempt began, for `pause`
    _attempt: tuple[Clocks, Options] | None = None

    def __init__(self, window: int) -> None:
        self._window = window
        self._readers: dict[Reader, int] = {}  # and where each began
        self._behind: dict[Reader, int] = {}  # readers that have not caught up, and where they will have
        self._room = Bell()

    def __len__(self) -> int:
        return len(self._readers)

    @property
    def idle(self) -> bool:
        """Whether there is neither a reader nor an attempt."""
        return not self._readers and self._attempt is None

    def behind(self, last_seq: int) -> list[int]:
        """Return how many events each reader has not read of a log that ends at `last_seq`."""
        return [last_seq - reader.cursor for reader in self._readers]

    # ------------------------------------------------------------ the attempt's side

    def attend(self, clocks: Clocks, options: Options, seq: int) -> None:
        """Let an attempt wait for these readers, from the cursor `seq` on."""
        if self._attempt is None:
            self._attempt = (clocks, options)
            self._read = max(self._read, seq)
            self._mind_the_unread(clocks, options)

    def dismiss(self) -> None:
        """Note that the attempt has ended: tasks that wait for room go on."""
        self._attempt = None
        self._room.ring()

    def room(self, last_seq: int) -> int:
        """Return how many events may be sent when `last_seq` is the newest; never below 0."""
        if last_seq >= self.until:
            floor = min(
                (r.cursor for r in self._readers if r.policy == "block" and r not in self._behind),
                default=self._unread_floor(last_seq),
            )
            self.until = floor + self._window
        return max(0, self.until - last_seq)

    def _unread_floor(self, last_seq: int) -> int:
        pauses = self._attempt is not None and self._attempt[1].when_unread == "pause"
        return self._read if pauses and not self._readers else last_seq

    async def wait_room(self, last_seq: int) -> None:
        """Wait until an event may be sent. The attempt's token clocks stand still meanwhile."""
        while self._attempt is not None and not self.room(last_seq):
            self.watchful = True
            with self._attempt[0].standing_still():
                await self._room.wait()

    def _mind_the_unread(self, clocks: Clocks, options: Options) -> None:
        if options.when_unread == "cancel":
            clocks.unread(None if self._readers else options.linger)

    # ------------------------------------------------------------ the readers' side

    def join(self, reader: Reader, last_seq: int) -> None:
        """Add a reader of a log that ends at `last_seq` now."""
        self._readers[reader] = reader.cursor
        if last_seq - reader.cursor > self._window:
            self._behind[reader] = last_seq
        self._changed()

    def leave(self, reader: Reader) -> None:
        """Remove a reader."""
        if reader.cursor > self._readers.pop(reader, reader.cursor):
            self._read = max(self._read, reader.cursor)
        self._behind.pop(reader, None)
        self._changed()

    def _changed(self) -> None:
        self.until = 0
        self.watchful = bool(self._behind)
        if self._attempt is not None:
            self._room.ring()
            self._mind_the_unread(*self._attempt)

    def advanced(self, reader: Reader) -> None:
        """Note that a reader's cursor moved; to be called if `watchful`."""
        if self._behind and reader.cursor >= self._behind.get(reader, inf):
            del self._behind[reader]
            self.until = 0
        self.watchful = bool(self._behind)
        self._room.ring()


class ReadersByJob(dict[str, Readers]):
    """Maps job ids to the readers in this process, while a job has readers or an attempt that waits for them.

    Args:
        window: How many events a handler may be ahead of a reader.
    """

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window

    def __missing__(self, job_id: str) -> Readers:
        readers = self[job_id] = Readers(self.window)
        return readers

    def release(self, job_id: str) -> None:
        """Remove a job that has neither a reader nor an attempt."""
        if job_id in self and self[job_id].idle:
            del self[job_id]
