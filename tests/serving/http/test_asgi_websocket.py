"""The WebSocket of another server as a connection: whole messages, one at a time, with a deadline."""

from __future__ import annotations

import pytest
import trio
from starlette.types import Message
from starlette.websockets import WebSocket
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_jobs.serving.http.asgi import AsgiWebSocket
from trio_jobs.serving.net.outgoing import PeerGone


class Peer:
    """The server's side of an ASGI WebSocket, which reads when the test lets it."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.sending = 0
        self.let, self._go = trio.open_memory_channel[None](0)

    async def receive(self) -> Message:
        return {"type": "websocket.connect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "websocket.send":
            self.sending += 1
            await self._go.receive()
            self.sending -= 1
            self.taken.append(message["text"])

    async def pipe(self, idle: float) -> AsgiWebSocket:
        socket = WebSocket({"type": "websocket"}, self.receive, self.send)
        await socket.accept()
        return AsgiWebSocket(socket, idle)


async def test_messages_are_sent_one_at_a_time(autojump_clock: MockClock) -> None:
    """Concurrent sends are made one after another, as ASGI does not define concurrent ones."""
    peer = Peer()
    pipe = await peer.pipe(idle=60)
    async with trio.open_nursery() as nursery:
        for text in ("a", "b", "c"):
            nursery.start_soon(pipe.send, text)
        for count in range(3):
            await wait_all_tasks_blocked()
            assert (peer.sending, len(peer.taken)) == (1, count)
            await peer.let.send(None)
    assert sorted(peer.taken) == ["a", "b", "c"]


async def test_a_peer_that_takes_nothing_is_gone(autojump_clock: MockClock) -> None:
    """A message that is not taken within `idle` seconds ends the connection."""
    peer = Peer()
    pipe = await peer.pipe(idle=30)
    began = trio.current_time()
    with pytest.raises(PeerGone):
        await pipe.send("a")
    assert trio.current_time() - began == 30
