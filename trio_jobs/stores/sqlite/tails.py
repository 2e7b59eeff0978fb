"""Keep what this process appends to logs that it follows, so that it need not read that from the file."""

from __future__ import annotations

from typing import Final

from ..._model.job import Event
from .chunks import events_of, last_seq
from .group import Row, Transaction

_MOST: Final = 1000
"""How many logs have a tail; followers of any other log read the file."""
_LONG: Final = 16384
"""Characters of a tail: enough for the time in which a follower handles the events before."""


class Tail:
    """Keeps the rows of a log behind a cursor, without a hole; `seq`, the newest cursor, is None at first."""

    __slots__ = ("first", "rows", "seq", "size")

    def __init__(self) -> None:
        self.first = 0
        self.seq: int | None = None
        self.rows: list[Row] = []
        self.size = 0

    def begin(self, seq: int) -> None:
        """Begin again at the newest cursor, with no rows."""
        self.first = self.seq = seq
        self.rows, self.size = [], 0

    def add(self, rows: list[Row] | None) -> bool:
        """Add rows; return whether the tail holds all that lies behind the cursor."""
        for row in rows or ():
            _, count, *_, data = row
            seq = last_seq(row)
            if self.seq is None:
                self.first = seq - count
            elif seq <= self.seq:  # it was read from the file before
                continue
            elif seq - count != self.seq:  # another process has written, too
                return False
            self.rows.append(row)
            self.seq, self.size = seq, self.size + len(data)
            while self.size > _LONG:
                gone = self.rows.pop(0)
                self.first, self.size = last_seq(gone), self.size - len(gone[-1])
        return rows is not None


class Tails:
    """Keeps the tails of the logs that this process follows."""

    def __init__(self) -> None:
        self._tails: dict[str, Tail] = {}

    def begin(self, job_id: str) -> Tail:
        """Keep what is appended to a log from now on, for a reader that reads the file next."""
        if job_id not in self._tails:
            if len(self._tails) >= _MOST:
                del self._tails[next(iter(self._tails))]
            self._tails[job_id] = Tail()
        return self._tails[job_id]

    def have_read(self, job_id: str, tail: Tail, seq: int, *, over: bool) -> None:
        """Record the newest cursor that was read after `begin`; rows appended since then may be newer.

        A tail that began later than the read may lack what was appended in between, so it ignores the read.
        The end of a log is read from the file.
        """
        if self._tails.get(job_id) is not tail:
            return
        if over:
            del self._tails[job_id]
        elif tail.seq is None or tail.seq < seq:  # another process wrote it, or this one is about to add it
            tail.begin(seq)

    def on_transaction(self, tx: Transaction) -> None:
        """Add what a transaction appended."""
        for place, job_id in enumerate(tx.grown):
            tail = self._tails.get(job_id)
            if tail is not None and not tail.add(tx.rows.get(place)):
                del self._tails[job_id]

    def forget(self) -> None:
        """Drop all tails, because another process may have written to any log."""
        self._tails.clear()

    def behind(self, job_id: str, after: int, limit: int) -> tuple[list[Event], int] | None:
        """Return events behind a cursor and the newest cursor; None if the file has to be read."""
        tail = self._tails.get(job_id)
        if tail is None or tail.seq is None or not tail.first <= after <= tail.seq:
            return None
        events = [event for row in tail.rows if last_seq(row) > after for event in events_of(row)]
        return [event for event in events if event.seq > after][:limit], tail.seq
