"""The byte stream of one peer, with the bytes that were read ahead."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import trio

from ..problems import Refused
from .outgoing import Outgoing

Transport = trio.SocketStream | trio.SSLStream[trio.SocketStream]

_MOST_HEAD: Final = 16 * 1024
_END: Final = b"\r\n\r\n"
_PIECE: Final = 16 * 1024
_LEAST_PRINTED: Final = 0x21
_RETURN: Final = 0x0D
_LINGER_SECONDS: Final = 1.0
_LINGER_BYTES: Final = 256 * 1024


class PeerStream(trio.abc.Stream):
    """The byte stream of one peer; a send that the peer does not take in time breaks it.

    Args:
        transport: The stream below.
        idle: Seconds for the peer to take what is sent.

    Attributes:
        outgoing: Its sending side, for tasks that send without waiting.
        client: The peer's address and port.
        server: The address and port that the peer connected to.
        encrypted: Whether it is TLS.
        ahead: The bytes that were read and not used yet.
        crowded: Whether it is one connection too many, which is refused in HTTP.
    """

    def __init__(self, transport: Transport, idle: float) -> None:
        self._transport = transport
        self.outgoing = Outgoing(transport, idle)
        self.ahead = bytearray()
        self.crowded = False
        self._head = b""
        self._may_go_on = trio.Event()
        self._may_go_on.set()
        below = transport if isinstance(transport, trio.SocketStream) else transport.transport_stream
        self.socket = below.socket
        self.encrypted = below is not transport
        self.server = _address(self.socket.getsockname)
        self.client = _address(self.socket.getpeername)

    async def read_ahead(self) -> bool:
        """Wait for bytes, and keep them; return False at the end of the stream."""
        data = await self._transport.receive_some(_PIECE)
        self.ahead += data
        return bool(data)

    async def read_head(self) -> bytes:
        """Take the head of a request, up to the empty line and with it.

        Returns:
            Nothing if the peer sends no more.

        Raises:
            Refused: The bytes are no head, or it is too long.
        """
        searched = 0
        while True:
            while self.ahead.startswith(b"\r\n"):  # some clients send these behind a body
                del self.ahead[:2]
            end = self.ahead.find(_END, searched)
            _check_lines(self.ahead, searched, len(self.ahead) if end < 0 else end)
            if end >= 0:
                return self.take(end + len(_END))
            if len(self.ahead) > _MOST_HEAD:
                raise Refused("head_too_large", f"the head of a request may have {_MOST_HEAD} bytes")
            searched = max(0, len(self.ahead) - len(_END) + 1)
            if not await self.read_ahead():
                return b""

    def take(self, count: int) -> bytes:
        """Take `count` of the bytes that were read ahead."""
        data = bytes(self.ahead[:count])
        del self.ahead[:count]
        return data

    def put_back(self, head: bytes) -> None:
        """Return a head to the stream: it is read again, and the bytes behind it after `go_on`."""
        self._head = head
        self._may_go_on = trio.Event()

    def go_on(self) -> None:
        """Let the bytes behind a head that was put back be read, too."""
        self._may_go_on.set()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return some bytes, first those that were read ahead."""
        if self._head:
            await trio.lowlevel.checkpoint()
            data, self._head = self._head[:max_bytes], self._head[len(self._head[:max_bytes]) :]
            return data
        if not self._may_go_on.is_set():
            await self._may_go_on.wait()
        if self.ahead:
            await trio.lowlevel.checkpoint()
            return self.take(len(self.ahead) if max_bytes is None else max_bytes)
        return bytes(await self._transport.receive_some(max_bytes))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes. Raises `PeerGone`, which is a `trio.BrokenResourceError`."""
        await self.outgoing.send(data)

    async def wait_send_all_might_not_block(self) -> None:
        """See `trio.abc.SendStream`."""
        await self._transport.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """End the sending side, where the transport can."""
        if isinstance(self._transport, trio.SocketStream):
            await self._transport.send_eof()

    async def linger(self) -> None:
        """End the sending side, and discard what the peer still sends, for a while.

        A socket that is closed with unread bytes is reset, and the peer may lose the last bytes sent to it.
        """
        taken = 0
        with (
            suppress(trio.BrokenResourceError, trio.ClosedResourceError),
            trio.move_on_after(_LINGER_SECONDS),
        ):
            await self.send_eof()
            while taken < _LINGER_BYTES and (data := await self._transport.receive_some(_PIECE)):
                taken += len(data)

    async def aclose(self) -> None:
        """Close the stream."""
        await self._transport.aclose()


def _address(name: Callable[[], Any]) -> tuple[str, int]:
    try:
        host, port = name()[:2]
    except OSError:  # it has gone already
        return "", 0
    return host, port


def _check_lines(data: bytearray, start: int, end: int) -> None:
    """Raise `Refused` if lines of a head end in anything but CR LF: servers read those in different ways."""
    if data and data[0] < _LEAST_PRINTED and data[0] != _RETURN:
        raise Refused("bad_request", "this port speaks HTTP/1.1")
    before = max(0, start - 1)  # a pair may lie across what was searched before
    if data.count(b"\n", start, end) > data.count(b"\r\n", before, end):
        raise Refused("bad_request", "each line of a head ends in CR LF")
