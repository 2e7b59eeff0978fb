"""What this process has appended to logs that are followed in it: that need not be read in the file."""

from __future__ import annotations

from typing import Final

from ..._model.job import Event
from .chunks import events_of, last_seq
from .group import Row, Transaction

_MOST: Final = 1000
"""How many logs have a tail; those who follow others read the file."""
_LONG: Final = 16384
"""Characters of a tail: it covers the time in which a follower is busy with what came before."""


class Tail:
    """The rows of a log behind a cursor, without a hole; of the newest cursor nothing is known at first."""

    __slots__ = ("first", "rows", "seq", "size")

    def __init__(self) -> None:
        self.first = 0
        self.seq: int | None = None
        self.rows: list[Row] = []
        self.size = 0

    def begin(self, seq: int) -> None:
        """Begin again at the newest cursor."""
        self.first = self.seq = seq
        self.rows, self.size = [], 0

    def add(self, rows: list[Row] | None) -> bool:
        """Add rows; return whether it is known now what lies behind the cursor."""
        for row in rows or ():
            _, count, *_, data = row
            seq = last_seq(row)
            if self.seq is None:
                self.first = seq - count
            elif seq <= self.seq:  # it was read before it was heard of
                continue
            elif seq - count != self.seq:  # somebody else has written, too
                return False
            self.rows.append(row)
            self.seq, self.size = seq, self.size + len(data)
            while self.size > _LONG:
                gone = self.rows.pop(0)
                self.first, self.size = last_seq(gone), self.size - len(gone[-1])
        return rows is not None


class Tails:
    """The tails of the logs that are followed here."""

    def __init__(self) -> None:
        self._tails: dict[str, Tail] = {}

    def begin(self, job_id: str) -> Tail:
        """Keep what is appended to a log from now on, for a reader that reads next what is there."""
        if job_id not in self._tails:
            if len(self._tails) >= _MOST:
                del self._tails[next(iter(self._tails))]
            self._tails[job_id] = Tail()
        return self._tails[job_id]

    def have_read(self, job_id: str, tail: Tail, seq: int, *, over: bool) -> None:
        """Note that this was the newest cursor after `begin`; what was appended since says more.

        A tail that began later than the read may lack what was appended in between, so the read says nothing
        of it. The end of a log is read in the file.
        """
        if self._tails.get(job_id) is not tail:
            return
        if over:
            del self._tails[job_id]
        elif tail.seq is None or tail.seq < seq:  # somebody else has written, or it is heard of later
            tail.begin(seq)

    def on_transaction(self, tx: Transaction) -> None:
        """Take note of what a transaction did."""
        for place, job_id in enumerate(tx.grown):
            tail = self._tails.get(job_id)
            if tail is not None and not tail.add(tx.rows.get(place)):
                del self._tails[job_id]

    def forget(self) -> None:
        """Note that others may have written to any log."""
        self._tails.clear()

    def behind(self, job_id: str, after: int, limit: int) -> tuple[list[Event], int] | None:
        """Return events behind a cursor and the newest cursor; None if the file has to be read."""
        tail = self._tails.get(job_id)
        if tail is None or tail.seq is None or not tail.first <= after <= tail.seq:
            return None
        events = [event for row in tail.rows if last_seq(row) > after for event in events_of(row)]
        return [event for event in events if event.seq > after][:limit], tail.seq
