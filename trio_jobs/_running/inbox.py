"""The inputs of a job, as one attempt receives them."""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import trio

from .._common.bell import Bell
from .._common.errors import LeaseLost, StreamGap, UnknownJob
from .._model.handler import mark_of
from .._model.job import Event, Kind
from ..stores.retrying import retry_until_answered

if TYPE_CHECKING:
    from ..stores.contract import Claim, Store
    from ..stores.log import Log
    from ..stores.records import Note
    from .listener import Listener

_BATCH: Final = 64
_ENDED: Final = Kind.INPUTS_ENDED  # bound once: Python 3.11 finds the members of an enum slowly
in_step: ContextVar[list[str]] = ContextVar("in_step")
"""The job and the name of the step in which a task runs, until the step is over."""


class Inbox(trio.abc.ReceiveChannel[Any]):
    """Hands the inputs of a job to the tasks of an attempt, each to one, in the order of their waiting.

    An input is received in the step in which `receive` returns it, so only one task at a time has its turn,
    and it takes an input only when it has nothing to wait for any more.

    Args:
        claim: The right to run the attempt.

    Attributes:
        job_id: The job.
        received: The `seq` of the last input that was received; at first that of the last consumed one.
        ended: Whether it was received that no more inputs will come.
        count: How many inputs were received in this attempt.
        cursor: The `seq` up to which events were read.
    """

    def __init__(self, claim: Claim) -> None:
        self.job_id = claim.submission.id
        self.received = self.cursor = claim.consumed
        self.ended = False
        self.count = 0
        self._attempt = claim.attempt
        self._closed: Callable[[], Exception] | None = None
        self._events: deque[tuple[int, Event | Note]] = deque()  # those that were read and not received
        self._convert: Callable[[Any], Any] | None = None  # into what the handler declares
        self._unsaved: list[int] = []  # those that were received and that no save covers
        self._turn = False  # whether a task has its turn
        self._line: trio.lowlevel.ParkingLot | None = None  # the tasks that wait for their turn

    async def receive(self) -> Any:
        """Wait for the next input, and return it; see `JobContext.receive`."""
        if (step := in_step.get(None)) and step[0] == self.job_id:  # not for a child that was spawned in it
            raise RuntimeError(f"step {step[1]!r} is kept once for the job; receive inputs outside of it")
        if self._turn:
            if self._line is None:
                self._line = trio.lowlevel.ParkingLot()
            await self._line.park()  # it is woken with the turn
        self._turn = True
        try:
            if self._at_hand():
                await trio.lowlevel.checkpoint()
            while not self._at_hand():
                await self._wait()
            seq, event = self._events[0]
            if event.kind is _ENDED:
                self.ended = True
                raise trio.EndOfChannel
            self._events.popleft()
            self.received = seq
            self.count += 1
            self._unsaved.append(seq)
            return event.data if self._convert is None else self._convert(event.data)
        finally:
            if self._line:
                self._line.unpark()
            else:
                self._turn = False

    def _at_hand(self) -> bool:
        if self._closed is not None:
            raise self._closed()
        if self._events:
            return True
        self._look()
        return bool(self._events)

    @property
    def unsaved(self) -> int:
        """How many inputs were received that no save covers."""
        return len(self._unsaved)

    def saved(self, received: int) -> None:
        """Note that a save covers the inputs up to a cursor."""
        del self._unsaved[: bisect_right(self._unsaved, received)]

    async def aclose(self) -> None:
        """Receive no more inputs in this attempt. The next attempt gets those that were not consumed."""
        self.close(trio.ClosedResourceError)
        await trio.lowlevel.checkpoint()

    def close(self, why: Callable[[], Exception] | None = None) -> None:
        """Let `receive` raise from now on: what `why` returns, by default that the attempt is over."""
        if self._closed is None:
            self._closed = why or (lambda: LeaseLost(self.job_id, self._attempt))
            self._ring()

    # ------------------------------------------------------------ where they come from

    @abstractmethod
    def _look(self) -> None:
        """Read events behind the cursor, up to a bound, if that can be done at once."""

    @abstractmethod
    def _wait(self) -> Awaitable[None]:
        """Wait until there may be events behind the cursor. A checkpoint."""

    @abstractmethod
    def _ring(self) -> None:
        """Wake the task that waits."""


class LocalInbox(Inbox):
    """The inputs in a log in this process, which are read in place.

    Args:
        claim: The right to run the attempt.
        log: The job's log.
    """

    def __init__(self, claim: Claim, log: Log) -> None:
        super().__init__(claim)
        self._log = log

    def _look(self) -> None:
        if self._log.inputs.last > self.cursor:
            events = self._log.inputs_behind(self.cursor, _BATCH)
            self._events += events
            self.cursor = events[-1][0]  # there is one, as what this attempt has not received is not dropped

    def _wait(self) -> Awaitable[None]:
        return self._log.listen()

    def _ring(self) -> None:
        if (bell := self._log.inputs.listeners) is not None:
            bell.ring()


class StoreInbox(Inbox):
    """The inputs in a log that a store keeps.

    Args:
        claim: The right to run the attempt.
        store: The store.
        listener: It fills the inboxes of the worker.
    """

    def __init__(self, claim: Claim, store: Store, listener: Listener) -> None:
        super().__init__(claim)
        self._store = store
        self._listener = listener
        self._bell = Bell()
        if store.durable and mark_of(claim.submission.target).inputs is not None:
            from .._json.inputs import Inputs  # needs msgspec, which durable stores have loaded

            self._convert = Inputs(claim.submission.target).decode

    def _look(self) -> None:
        """Nothing can be read at once; the listener fills the inbox."""

    async def _wait(self) -> None:
        with self._listener.hearing(self):
            await self._bell.wait()

    def _ring(self) -> None:
        self._bell.ring()

    async def fill(self) -> None:
        """Read events behind the cursor, up to a bound, and wake the task that waits for them."""
        try:
            events = await retry_until_answered(self._store.inputs, self.job_id, self.cursor, _BATCH)
            self._events += [(event.seq, event) for event in events]
            self.cursor = events[-1].seq if events else self.cursor
        except (UnknownJob, StreamGap):  # it was reclaimed and removed since, or the store lost what it has
            self.close()
        except Exception as error:  # noqa: BLE001  # of one job; the others must not suffer for it
            failure = error
            self.close(lambda: failure)
        if self._events:
            self._ring()
