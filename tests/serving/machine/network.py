"""A network within one machine, on which time may be virtual: connections are pairs of sockets of the kernel.

Bytes on such a pair have arrived when the send returns. So a clock that jumps when all tasks wait never jumps
over bytes that are under way, and a run is the same each time. The server under test is unchanged: it listens
and accepts by Trio's own hook, and sends by system calls that may take a part only.
"""

from __future__ import annotations

# Of a socket these have what Trio asks of one, and no more.
# pyright: reportIncompatibleMethodOverride=false, reportAssignmentType=false
import errno
import itertools
import os
import socket
from typing import Any

import trio


class Network(trio.abc.SocketFactory):
    """Where sockets come from; hand it to `trio.socket.set_custom_socket_factory` inside of the run.

    Attributes:
        listening: The sockets that listen, by port.
    """

    def __init__(self) -> None:
        self.listening: dict[int, Listening] = {}
        self._ports = itertools.count(20_000)

    def socket(self, family: int = 0, type: int = 0, proto: int = 0) -> Listening:  # noqa: A002  # as Trio has it
        """Return a socket that can listen."""
        return Listening(self)

    def free_port(self) -> int:
        """Return a port on which nothing listens."""
        return next(self._ports)

    def connect(self, port: int, address: str, buffer: int | None) -> trio.SocketStream:
        """Connect; see `pair`."""
        return self.pair(port, address, buffer)[0]

    def pair(self, port: int, address: str, buffer: int | None) -> tuple[trio.SocketStream, Accepted]:
        """Connect, and return both sides.

        Args:
            port: Where to.
            address: Where from, as the server sees it.
            buffer: How many bytes the server may send that this side does not take; None is many.

        Raises:
            ConnectionRefusedError: Nothing listens there.
        """
        listening = self.listening.get(port)
        if listening is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "nothing listens there")
        ours, theirs = socket.socketpair()
        if buffer is not None:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        accepted = Accepted(theirs, ("127.0.0.1", port), (address, self.free_port()))
        listening.queue.send_nowait(accepted)
        return trio.SocketStream(trio.socket.from_stdlib_socket(ours)), accepted


class Listening(trio.socket.SocketType):
    """A socket that listens."""

    family, type, proto = socket.AF_INET, socket.SOCK_STREAM, 0

    def __init__(self, network: Network) -> None:
        self._network = network
        self._port = 0
        self.queue, self._accepted = trio.open_memory_channel[Accepted](1000)

    def setsockopt(self, *_: Any) -> None:
        """Do nothing."""

    def getsockopt(self, *_: Any) -> Any:
        """Return that it listens, as Trio asks only for that."""
        return 1

    async def bind(self, address: Any) -> None:
        """Take a port."""
        self._port = address[1] or self._network.free_port()

    def listen(self, backlog: int = 0) -> None:
        """Let clients connect."""
        self._network.listening[self._port] = self

    def getsockname(self) -> Any:
        """Return the address."""
        return "127.0.0.1", self._port

    async def accept(self) -> tuple[trio.socket.SocketType, Any]:
        """Return the next connection."""
        found = await self._accepted.receive()
        return found, found.getpeername()

    def close(self) -> None:
        """Stop listening, and reset connections that were not accepted."""
        self._network.listening.pop(self._port, None)
        while True:
            try:
                self._accepted.receive_nowait().close()
            except (trio.WouldBlock, trio.EndOfChannel):
                return


class Accepted(trio.socket.SocketType):
    """The server's side of a connection: a socket of the kernel, with the addresses of another family."""

    family, type, proto = socket.AF_INET, socket.SOCK_STREAM, 0

    def __init__(self, below: socket.socket, server: tuple[str, int], client: tuple[str, int]) -> None:
        self._below = trio.socket.from_stdlib_socket(below)
        self._server = server
        self._client = client

    def fileno(self) -> int:
        """See `socket.socket`."""
        return self._below.fileno()

    def getsockname(self) -> Any:
        """See `socket.socket`."""
        return self._server

    def getpeername(self) -> Any:
        """See `socket.socket`."""
        return self._client

    def setsockopt(self, *_: Any) -> None:
        """Do nothing: the options that servers set are those of TCP."""

    async def recv(self, buflen: int, flags: int = 0, /) -> bytes:
        """See `socket.socket`."""
        return await self._below.recv(buflen, flags)

    async def send(self, data: Any, flags: int = 0, /) -> int:
        """See `socket.socket`."""
        return await self._below.send(data, flags)

    @property
    def did_shutdown_SHUT_WR(self) -> bool:  # noqa: N802  # as Trio has it
        """See `trio.socket.SocketType`."""
        return self._below.did_shutdown_SHUT_WR

    def shutdown(self, how: Any) -> None:
        """See `socket.socket`."""
        self._below.shutdown(how)

    def close(self) -> None:
        """See `socket.socket`."""
        self._below.close()


def taken(stream: trio.SocketStream) -> bytes:
    """Return what has arrived on a stream, without waiting."""
    found = bytearray()
    while True:
        try:
            data = os.read(stream.socket.fileno(), 65536)
        except OSError:
            return bytes(found)
        if not data:
            return bytes(found)
        found += data
