"""One peer's byte stream: what was read ahead of it, and how long the peer may take."""

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
    """A peer's stream: a send that the peer does not take in time breaks it.

    Args:
        transport: The stream below.
        idle: Seconds for the peer to take what is sent.

    Attributes:
        outgoing: The way out, for who sends without waiting.
        client: The peer's address and port.
        server: Those that it connected to.
        encrypted: Whether it is TLS.
        ahead: What was read and not used yet.
        crowded: Whether there is no place for it: it is let in to be told so.
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
        """Wait for bytes, and keep them; return whether any came, rather than the end."""
        data = await self._transport.receive_some(_PIECE)
        self.ahead += data
        return bool(data)

    async def read_head(self) -> bytes:
        """Take the head of a request, up to the empty line and with it.

        Returns:
            Nothing if the peer sends no more.

        Raises:
            Refused: It is too long, or cannot be one.
        """
        searched = 0
        while True:
            while self.ahead.startswith(b"\r\n"):  # some clients end a body so
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
        """Take so many of the bytes that were read ahead."""
        data = bytes(self.ahead[:count])
        del self.ahead[:count]
        return data

    def put_back(self, head: bytes) -> None:
        """Have a head read again, and what comes behind it only after `go_on`."""
        self._head = head
        self._may_go_on = trio.Event()

    def go_on(self) -> None:
        """Have what comes behind a head that was put back be read, too."""
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

    async def send_whole(self, data: bytes) -> None:
        """Send bytes to their end, whoever is cancelled: behind half of them nothing makes sense."""
        with trio.CancelScope(shield=True):  # `Outgoing` has a deadline
            await self.outgoing.send(data)

    async def wait_send_all_might_not_block(self) -> None:
        """See `trio.abc.SendStream`."""
        await self._transport.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Say that nothing more is sent, where the transport can."""
        if isinstance(self._transport, trio.SocketStream):
            await self._transport.send_eof()

    async def linger(self) -> None:
        """Say that nothing more is sent, and throw away what still comes, for a while.

        A socket that is closed with unread bytes is reset, and the peer may lose what it was told last.
        Nothing comes of a peer that has gone, or was hung up on.
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
    """Raise `Refused` if lines of a head end in anything but CR LF: servers disagree about those."""
    if data and data[0] < _LEAST_PRINTED and data[0] != _RETURN:
        raise Refused("bad_request", "this port speaks HTTP/1.1")
    before = max(0, start - 1)  # a pair may lie across what was searched before
    if data.count(b"\n", start, end) > data.count(b"\r\n", before, end):
        raise Refused("bad_request", "each line of a head ends in CR LF")
