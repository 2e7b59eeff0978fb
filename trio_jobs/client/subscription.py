"""Track one log on its way to one reader: the events received, and those read. No I/O, no clock.

At most `WINDOW` events lie between what the reader has read and what the server may send, so a reader that is
slow holds up its own log and nothing else. After a reconnect the client follows the log again behind the last
event that was read; events that come twice by that are dropped here, so each is delivered once.
"""

from __future__ import annotations

from typing import Final

from .._common.bell import Bell
from .._model.job import Event
from .._watching.readers import Policy
from .._wire import requests
from .._wire.replies import Gap, ProtocolViolation

WINDOW: Final = 256
"""How many events the server may be ahead of a reader."""


class RemoteSubscription:
    """A log that a server sends to this client.

    Args:
        job_id: The job.
        after: The cursor at which the reader begins.
        policy: What the handler does while the reader is slow.

    Attributes:
        id: The id of the request on the wire; a new one each time the reader begins again after an error.
        sent: Whether the request was sent on this connection.
        strikes: How many connections in a row may have ended because of it.
        error: The error that ended it, until the reader begins again.
        ended: Whether the job's end has come.
        answered: Whether the server has answered: with events, a gap, the end or an error.
        bell: Rings when there is something for the reader.
    """

    def __init__(self, job_id: str, after: int, policy: Policy) -> None:
        self.id = 0
        self.job_id = job_id
        self.sent = False
        self.strikes = 0
        self.error: Exception | None = None
        self.ended = self.answered = False
        self.bell = Bell()
        self._policy: Policy = policy
        self._queue: list[Event] = []
        self._received = after
        self._read = after  # all up to here was read, or is gone
        self._waiting = False  # the reader has read all that has come
        self._seen = after  # the last event on this connection
        self._acked = after

    # ------------------------------------------------------------ the server's side

    def request(self) -> requests.Follow:
        """Return the request to send on a new connection."""
        self.sent = True
        self._seen = self._acked = self._read
        return requests.Follow(
            id=self.id, job=self.job_id, after=self._read, policy=self._policy, window=WINDOW
        )

    def on_events(self, events: list[Event]) -> None:
        """Add events to the queue. Raises `ProtocolViolation` if some are missing, or there are too many."""
        for event in events:
            if event.seq == self._received + 1:
                self._queue.append(event)
                self._received = event.seq
            elif event.seq > self._received:
                raise ProtocolViolation(
                    f"event {event.seq} follows {self._received}, without a gap before it"
                )
        if len(self._queue) > WINDOW:
            raise ProtocolViolation(f"more than {WINDOW} events came, which is more than the window")
        if events:
            self._seen = max(self._seen, events[-1].seq)
        self._progress()

    def on_gap(self, gap: Gap) -> None:
        """Note which events are gone. The reader sees it by the next event, whose `seq` does not follow."""
        if gap.first > self._received + 1:
            raise ProtocolViolation(f"a gap from {gap.first} on follows {self._received}")
        self._received = max(self._received, gap.last)
        self._seen = max(self._seen, gap.last)
        self._progress()

    def _progress(self) -> None:
        self.answered, self.strikes = True, 0
        if self._waiting:
            self._level()
        self.bell.ring()

    def finish(self, error: Exception | None = None) -> None:
        """Note that nothing more will come: because of an error, or because the job has ended."""
        self.sent = False
        self.error = error
        self.ended = error is None
        self.answered = True
        self.bell.ring()

    # ------------------------------------------------------------ the reader's side

    def drain(self) -> list[Event]:
        """Return the events that came since the last call; the reader has read all earlier ones."""
        self._level()
        events, self._queue = self._queue, []
        return events

    def _level(self) -> None:
        self._waiting = not self._queue
        self._read = max(self._read, self._received if self._waiting else self._queue[0].seq - 1)

    def read(self, cursor: int) -> None:
        """Note how far the reader has read."""
        self._read = max(self._read, cursor)

    def resume(self, cursor: int) -> None:
        """Begin again behind a cursor."""
        self.error = None
        self._queue = []
        self._received = self._read = cursor

    def ack(self) -> requests.Ack | None:
        """Return the message with the reader's cursor, if it is to be sent now.

        It is sent when half a window was read; and with `block`, when the reader has read all that came, as
        the handler may be waiting for it.
        """
        cursor = min(self._read, self._seen)  # of the events of this connection
        read = cursor - self._acked
        level = self._policy == "block" and self._read == self._received
        if not self.sent or not (read >= WINDOW // 2 or (read and level)):
            return None
        return requests.Ack(id=self.id, cursor=cursor)

    def acked(self, cursor: int) -> None:
        """Note which cursor was sent to the server."""
        self._acked = cursor
