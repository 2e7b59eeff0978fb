"""The sending side of one connection: each send whole, in one order, and at once if the kernel takes it.

Waking a task that sends through Trio takes twelve times as long as the send itself. So the task that has the
bytes gives them to the kernel, and a task waits only for what the kernel does not take at once. With TLS, and
on streams that are no sockets, every send waits.
"""

from __future__ import annotations

import os
from typing import Final

import trio

_HAS_FILES: Final = os.name == "posix"
"""Whether a socket is a file too; elsewhere every send waits."""


class PeerGone(trio.BrokenResourceError):
    """The peer has left or reads nothing, or the server has closed the connection."""


class Outgoing:
    """The sending side of one connection, for all the tasks that send on it.

    A send that was begun is finished before the next one begins, even if its task was cancelled meanwhile. So
    sends lie whole, one behind the other, and no more is kept in memory than the rest of one.

    Args:
        stream: The connection; only this object sends on it.
        idle: Seconds for the peer to take the bytes of one call.
    """

    def __init__(self, stream: trio.abc.SendStream, idle: float) -> None:
        self._stream = stream
        self._idle = idle
        self._lock = trio.Lock()
        self._rest = memoryview(b"")
        self._torn = False
        self._socket = stream.socket if _HAS_FILES and isinstance(stream, trio.SocketStream) else None

    @property
    def waiting(self) -> bool:
        """Whether the kernel has not taken all that was begun, or a task is sending."""
        return bool(self._rest) or self._lock.locked()

    def send_now(self, data: bytes) -> bool:
        """Send bytes in the calling task, without waiting.

        Returns:
            Whether they were taken. If not, none of them were: call `send`. If they were, and `waiting` is
            true now, the rest is kept, and the caller must have a task await `flush`.
        """
        if self._socket is None or self._rest or self._lock.locked():
            return False
        try:
            sent = self._write(self._socket, data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):  # `send` says so
            return False
        if 0 < sent < len(data):
            self._rest = memoryview(data)[sent:]
        return bool(sent)

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, behind those of other tasks; a checkpoint.

        If it is cancelled, none of them were sent, or the next send begins with the rest of them.

        Raises:
            PeerGone: The peer has left, or did not take the bytes in time, and its connection is closed.
        """
        async with self._lock:
            with trio.move_on_after(self._idle):
                try:
                    await self._send(data)
                except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                    raise PeerGone(str(error)) from error
                return
            await trio.aclose_forcefully(self._stream)
            raise PeerGone("the peer takes nothing")

    async def send_whole(self, data: bytes) -> None:
        """Send bytes to their end, even if the caller is cancelled. Raises `PeerGone`."""
        with trio.CancelScope(shield=True):  # `send` has a deadline
            await self.send(data)

    async def flush(self) -> None:
        """Wait until what was begun is sent. Raises `PeerGone`."""
        await self.send(b"")

    async def _send(self, data: bytes | bytearray | memoryview) -> None:
        if self._socket is None:
            await self._send_all(data)
        else:
            await self._flush(self._socket)
            await self._begin(self._socket, data)
            await self._flush(self._socket)

    # ------------------------------------------------------------ a socket

    @staticmethod
    def _write(socket: trio.socket.SocketType, data: bytes | bytearray | memoryview) -> int:
        """Return how many bytes the kernel took."""
        descriptor = socket.fileno()  # asked for each time: once it is closed, another socket may have it
        if descriptor < 0:
            raise trio.ClosedResourceError("the connection was closed")
        try:
            return os.write(descriptor, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def _begin(self, socket: trio.socket.SocketType, data: bytes | bytearray | memoryview) -> None:
        """Wait until the kernel takes some of it, and keep the rest."""
        whole, sent = memoryview(data), 0
        while whole and not (sent := self._write(socket, whole)):
            await trio.lowlevel.wait_writable(socket)
        self._rest = whole[sent:]

    async def _flush(self, socket: trio.socket.SocketType) -> None:
        while self._rest:
            self._rest = self._rest[self._write(socket, self._rest) :]
            if self._rest:
                await trio.lowlevel.wait_writable(socket)

    # ------------------------------------------------------------ any other stream

    async def _send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._torn:
            raise trio.BrokenResourceError("an earlier send was cancelled")
        if data:
            self._torn = True
            await self._stream.send_all(data)
            self._torn = False
