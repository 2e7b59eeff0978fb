"""The memory channel pair of an attempt, for libraries that write to a channel.

An attempt that only calls `send` needs no channel: its values go straight into the log. The pair is
opened when `JobContext.tokens` is first asked for. From then on everything the attempt writes goes through
it, so that there is one order over all of it: the order of the channel. A pump carries the entries
on into the log; the channel's buffer is the backpressure window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import takewhile
from math import inf
from typing import Any

import trio

from .._common.errors import InvalidPayload, LeaseLost
from .._model.job import Kind


class Entry:
    """An event other than a token on its way through the channel."""

    sent = False
    refusal: LeaseLost | InvalidPayload | None = None

    def __init__(self, kind: Kind, data: Any, received: int | None = None) -> None:
        self.kind = kind
        self.data = data
        self.received = received
        self._over = trio.Event()

    def settle(self, refusal: LeaseLost | InvalidPayload | None = None) -> None:
        """End the waiting: the event was written, or was refused."""
        self.refusal = refusal
        self._over.set()

    async def wait(self) -> None:
        """Wait until the event is written; raise the refusal if it was refused."""
        await self._over.wait()
        if self.refusal is not None:
            raise self.refusal


def _is_token(entry: object) -> bool:
    return not isinstance(entry, Entry)


class TokenChannel:
    """Carries what an attempt sends into the log: a channel pair and its pump.

    Args:
        window: The size of the channel's buffer.
        room: Waits until the log may take an event, and returns how many it may take.
        write: Writes events of one kind to the log; with a saved value, up to where inputs were received.
        lost: Makes the error that is raised when something is sent after the channel was closed.
    """

    def __init__(
        self,
        window: int,
        room: Callable[[], Awaitable[int]],
        write: Callable[[Kind, Sequence[Any], int | None], Awaitable[None]],
        lost: Callable[[], LeaseLost],
    ) -> None:
        self.tokens, self._receive = trio.open_memory_channel[Any](window)
        # The handler may close what it was given; what the context itself sends must not depend on that.
        self._own = self.tokens.clone()
        self._room = room
        self._write = write
        self._lost = lost
        self._hand: deque[Any] = deque()
        # Shielded, because a handler's cleanup may still send while everything around is being cancelled.
        self._scope = trio.CancelScope(shield=True)
        self._stopped = trio.Event()

    async def send(self, value: object) -> None:
        """Send a token, or an `Entry`. If it is cancelled, nothing was sent."""
        try:
            await self._own.send(value)
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            raise self._lost() from None

    async def deliver(self, entry: Entry) -> None:
        """Send an entry, and wait until it is written. If it was cancelled, it may be called again."""
        if not entry.sent:
            await self.send(entry)
            entry.sent = True
        await entry.wait()

    async def send_many(self, values: Iterable[object]) -> None:
        """Send tokens; it waits only while the buffer is full. If it is cancelled, a first part was sent."""
        for value in values:
            try:
                self._own.send_nowait(value)
            except trio.WouldBlock:
                await self.send(value)
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                raise self._lost() from None

    async def run(self) -> None:
        """Carry entries into the log until `close`."""
        try:
            with self._scope:
                async for entry in self._receive:
                    # In hand before the next checkpoint, so that `close` finds what the pump had taken.
                    self._hand.append(entry)
                    self._take(await self._room())
                    await self._deliver()
        finally:
            self._stopped.set()

    def _take(self, limit: float) -> None:
        while len(self._hand) < limit:
            try:
                self._hand.append(self._receive.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                break

    async def _deliver(self) -> None:
        """Write what is in hand. A cancellation leaves in hand only what was not written."""
        singly = 0  # how many tokens to write one at a time: one of them was refused, and with it all
        while self._hand:
            entry = self._hand[0]
            if isinstance(entry, Entry):
                await self._deliver_entry(entry)
                continue
            tokens = [*takewhile(_is_token, self._hand)] if singly == 0 else [entry]
            try:
                await self._write(Kind.TOKEN, tokens, None)
            except InvalidPayload:
                if len(tokens) > 1:
                    singly = len(tokens)
                    continue
            except LeaseLost:
                pass  # the attempt is being stopped
            for _ in tokens:
                self._hand.popleft()
            singly = max(0, singly - len(tokens))

    async def _deliver_entry(self, entry: Entry) -> None:
        refusal = None
        try:
            await self._write(entry.kind, [entry.data], entry.received)
        except (LeaseLost, InvalidPayload) as error:
            refusal = error
        self._hand.popleft()
        entry.settle(refusal)

    async def close(self) -> None:
        """Write all that was sent, and close the channel; to send into a clone of it raises from now on."""
        with trio.CancelScope(shield=True):  # the pump ends at once, or with its call of the store
            self._scope.cancel()
            await self._stopped.wait()
        self._take(inf)
        self._own.close()
        self.tokens.close()
        self._receive.close()
        try:
            await self._deliver()
        finally:  # a task may still wait for the answer to what could not be written
            for entry in self._hand:
                if isinstance(entry, Entry):
                    entry.settle(self._lost())
