"""Streams in memory that behave as those of a bad network: late, torn, stalled and cut, as dice say.

The dice are a `random.Random`: `random.Random(seed)`, or what Hypothesis draws from
`st.randoms(use_true_random=False)`, which shrinks towards no faults. Time is Trio's, so use a virtual clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from operator import index
from typing import TYPE_CHECKING, Final

import attrs
import trio

if TYPE_CHECKING:
    from random import Random

FAULTS: Final = {
    "delay": "what is sent arrives later, in order",
    "tear": "what is sent arrives in pieces",
    "stall": "what is sent arrives so late that most programs have lost patience",
    "cut": "the connection breaks while something is sent, of which a part may arrive",
    "refuse": "a connection is not made",
}
"""The kinds of fault, and what each does."""

STALL: Final = 120.0
"""How many seconds a stall lasts."""

CAPACITY: Final = 65536
"""How many bytes are on their way in one direction, at most; to send more waits for the reader."""

_PERCENT: Final = {"stall": 3, "cut": 3, "refuse": 10}
_DELAYS: Final = (0.0, 0.0, 0.001, 0.05, 1.0)


@attrs.frozen
class _Dice:
    """Throws that Hypothesis shrinks to what does nothing."""

    random: Random | None
    faults: Collection[str]

    def strikes(self, fault: str) -> bool:
        return self._may(fault) and self._below(100) >= 100 - _PERCENT[fault]

    def delay(self) -> float:
        return _DELAYS[self._below(len(_DELAYS))] if self._may("delay") else 0.0

    def part(self, size: int) -> int:
        """Return how many of so many bytes come at once, at least one."""
        return size - self._below(size) if size > 1 and self._may("tear") else size

    def _may(self, fault: str) -> bool:
        return self.random is not None and fault in self.faults

    def _below(self, bound: int) -> int:
        assert self.random is not None
        return self.random.randrange(bound)


class _Way:
    """One direction of a connection."""

    def __init__(self, dice: _Dice) -> None:
        self.dice = dice
        self.ended = False  # nothing more will be sent
        self.unheard = False  # nothing more will be received
        self.broken = False
        self.still_until = 0.0
        self._pieces = deque[tuple[float, bytes]]()
        self._changed = trio.Event()

    def change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def cut(self) -> None:
        """Break, and lose what has not arrived."""
        arrived = self._arrived()
        self._pieces = deque([(0.0, arrived)] if arrived else [])
        self.broken = True
        self.change()

    def put(self, data: bytes) -> None:
        last = self._pieces[-1][0] if self._pieces else 0.0
        late = self.dice.delay() + (STALL if self.dice.strikes("stall") else 0.0)
        self._pieces.append((max(last, self.still_until, trio.current_time() + late), data))
        self.change()

    async def room(self) -> int:
        """Wait for room, and return how much there is."""
        while not (self.broken or self.unheard):
            if self.ended:
                raise trio.ClosedResourceError("this stream was closed, or its end was sent")
            if (room := CAPACITY - sum(len(data) for _, data in self._pieces)) > 0:
                return room
            await self._changed.wait()
        raise trio.BrokenResourceError("the connection is broken")

    async def take(self, most: int) -> bytes:
        """Wait for data, and return some; nothing at the end."""
        while not (data := self._arrived()):
            if self.broken:
                raise trio.BrokenResourceError("the connection is broken")
            if self.ended and not self._pieces:
                return b""
            due = max(self._pieces[0][0], self.still_until) if self._pieces else float("inf")
            with trio.move_on_at(due):
                await self._changed.wait()
            if self.unheard:
                raise trio.ClosedResourceError("this stream was closed")
        size = self.dice.part(min(most, len(data)))
        if rest := data[size:]:
            self._pieces.appendleft((0.0, rest))
        self.change()
        return data[:size]

    def _arrived(self) -> bytes:
        now, data = trio.current_time(), b""
        while self._pieces and max(self._pieces[0][0], self.still_until) <= now:
            data += self._pieces.popleft()[1]
        return data


class MemoryStream(trio.abc.HalfCloseableStream):
    """One end of a connection. It does what a `trio.SocketStream` does, but for the socket.

    Like that, it takes no more than the network holds before the reader reads, may have sent a part when it
    is cancelled, and raises `BrokenResourceError`, `ClosedResourceError` and `BusyResourceError`.
    """

    def __init__(self, out: _Way, into: _Way) -> None:
        self._out, self._in = out, into
        self._closed = False
        self._busy = set[str]()

    def cut(self) -> None:
        """Break the connection now: both ends raise, and what is on its way is lost."""
        self._out.cut()
        self._in.cut()

    def stall(self, seconds: float) -> None:
        """Let nothing arrive at either end for a while."""
        for way in (self._out, self._in):
            way.still_until = trio.current_time() + seconds
            way.change()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See `trio.abc.SendStream`."""
        rest = bytes(data)
        with self._alone("send"):
            await trio.lowlevel.checkpoint()
            if rest and self._out.dice.strikes("cut"):
                self._out.put(rest[: self._out.dice.part(len(rest))])
                self.cut()
            while rest:
                room = await self._out.room()
                self._out.put(rest[:room])
                rest = rest[room:]

    async def wait_send_all_might_not_block(self) -> None:
        """See `trio.abc.SendStream`."""
        with self._alone("send"):
            await trio.lowlevel.checkpoint()
            await self._out.room()

    async def send_eof(self) -> None:
        """See `trio.abc.HalfCloseableStream`."""
        with self._alone("send"):
            await trio.lowlevel.checkpoint()
            self._out.ended = True
            self._out.change()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See `trio.abc.ReceiveStream`."""
        if max_bytes is not None and index(max_bytes) < 1:
            raise ValueError(f"max_bytes must be at least 1, not {max_bytes}")
        with self._alone("receive"):
            await trio.lowlevel.checkpoint()
            return await self._in.take(max_bytes or CAPACITY)

    async def aclose(self) -> None:
        """See `trio.abc.AsyncResource`; what was sent before still arrives."""
        self._closed = True
        self._out.ended = self._in.unheard = True
        self._out.change()
        self._in.change()
        await trio.lowlevel.checkpoint()

    @contextmanager
    def _alone(self, what: str) -> Generator[None]:
        if self._closed:
            raise trio.ClosedResourceError("this stream was closed")
        if what in self._busy:
            raise trio.BusyResourceError(f"another task is using this stream to {what}")
        self._busy.add(what)
        try:
            yield
        finally:
            self._busy.discard(what)


def memory_stream_pair(
    random: Random | None = None, faults: Collection[str] = frozenset(FAULTS)
) -> tuple[MemoryStream, MemoryStream]:
    """Return the two ends of a connection.

    Args:
        random: The dice; without them nothing goes wrong by itself, only by `cut` and `stall`.
        faults: What may go wrong, of the keys of `FAULTS`.
    """
    if unknown := set(faults) - set(FAULTS):
        raise ValueError(f"no such faults: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    dice = _Dice(random, faults)
    there, back = _Way(dice), _Way(dice)
    return MemoryStream(there, back), MemoryStream(back, there)


class MemoryListener(trio.abc.Listener[MemoryStream]):
    """A listener for `trio.serve_listeners`, to which `connect` connects.

    Args:
        random: The dice, as for `memory_stream_pair`.
        faults: What may go wrong.
        backlog: How many connections wait to be accepted; more are refused.
    """

    def __init__(
        self,
        random: Random | None = None,
        faults: Collection[str] = frozenset(FAULTS),
        *,
        backlog: int = 128,
    ) -> None:
        self._random, self._faults = random, faults
        self._knocks, self._accepted = trio.open_memory_channel[MemoryStream](backlog)

    async def connect(self) -> MemoryStream:
        """Return the near end of a new connection.

        Raises:
            ConnectionRefusedError: The listener is closed, too many wait, or the dice say so.
        """
        await trio.lowlevel.checkpoint()
        near, far = memory_stream_pair(self._random, self._faults)
        refused = _Dice(self._random, self._faults).strikes("refuse")
        with suppress(trio.WouldBlock, trio.BrokenResourceError):
            if not refused:
                self._knocks.send_nowait(far)
                return near
        raise ConnectionRefusedError("the connection was refused")

    async def accept(self) -> MemoryStream:
        """See `trio.abc.Listener`."""
        return await self._accepted.receive()

    async def aclose(self) -> None:
        """See `trio.abc.AsyncResource`; connections that wait to be accepted are cut."""
        while True:
            try:
                self._accepted.receive_nowait().cut()
            except (trio.WouldBlock, trio.ClosedResourceError):
                break
        self._accepted.close()
        await trio.lowlevel.checkpoint()
