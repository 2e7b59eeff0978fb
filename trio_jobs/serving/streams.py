"""One peer's byte stream, under the server's rules: what was read ahead, and how long it may stand still."""

from __future__ import annotations

from typing import Final

import trio

from .outgoing import Outgoing

Transport = trio.SocketStream | trio.SSLStream[trio.SocketStream]

_MOST_HEAD: Final = 16 * 1024
_END: Final = b"\r\n\r\n"


class PeerStream(trio.abc.Stream):
    """A peer's stream: a send that the peer does not take in time breaks it.

    Args:
        transport: The stream below.
        idle: Seconds for the peer to take what is sent.

    Attributes:
        outgoing: The way out, for who sends without waiting.
        client: The peer's address.
        encrypted: Whether it is TLS.
    """

    def __init__(self, transport: Transport, idle: float) -> None:
        self._transport = transport
        self.outgoing = Outgoing(transport, idle)
        self._ahead = b""
        below = transport if isinstance(transport, trio.SocketStream) else transport.transport_stream
        self.socket = below.socket
        self.encrypted = below is not transport
        try:
            self.client = str(self.socket.getpeername()[0])
        except OSError:  # it has gone already
            self.client = ""

    async def read_head(self) -> bytes:
        """Return what has arrived up to the end of a request's head, or a little more, to be read again.

        Returns:
            Less than a head if the peer sends no more, or too much.
        """
        while _END not in self._ahead and len(self._ahead) < _MOST_HEAD:
            data = await self._transport.receive_some()
            if not data:
                break
            self._ahead += data
        return self._ahead

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return some bytes, first those that were read ahead."""
        if self._ahead:
            data, self._ahead = self._ahead[:max_bytes], self._ahead[len(self._ahead[:max_bytes]) :]
            await trio.lowlevel.checkpoint()
            return data
        return bytes(await self._transport.receive_some(max_bytes))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes.

        Raises:
            trio.BrokenResourceError: The peer did not take them in time, or has gone.
        """
        await self.outgoing.send(data)

    async def wait_send_all_might_not_block(self) -> None:
        """See `trio.abc.SendStream`."""
        await self._transport.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Say that nothing more is sent, where the transport can."""
        if isinstance(self._transport, trio.SocketStream):
            await self._transport.send_eof()

    async def aclose(self) -> None:
        """Close the stream."""
        await self._transport.aclose()


def wants_websocket(head: bytes) -> bool:
    """Return whether the head of a request asks to speak WebSocket."""
    fields = (line.partition(b":") for line in head.partition(_END)[0].lower().split(b"\r\n")[1:])
    return any(name == b"upgrade" and value.strip(b" \t") == b"websocket" for name, _, value in fields)
