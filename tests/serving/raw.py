"""The tools of an attacker: bytes over a loopback socket, HTTP and WebSocket frames written by hand."""

from __future__ import annotations

import gc
import json
import os
import socket
import struct
import tracemalloc
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import attrs
import trio

PATIENCE = 30.0
"""Seconds after which an answer that should have come is a failure of the test."""

TEXT, BINARY, CLOSE, PING, PONG, MORE = 1, 2, 8, 9, 10, 0
"""The opcodes of WebSocket frames; `MORE` continues a message."""


class Answer(NamedTuple):
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded as JSON."""
        return json.loads(self.body)


class Frame(NamedTuple):
    """A WebSocket frame from the server."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int:
        """The code of a close frame; 1005 when it has none, as the standard says."""
        return int.from_bytes(self.payload[:2]) if self.payload else 1005


class Gone(Exception):
    """The server closed the connection."""


def request(
    method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> bytes:
    """Write a request, with the headers that a simple client sends unless others are given."""
    sent = {"Host": "127.0.0.1"}
    if body is not None:
        sent |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    sent |= headers or {}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def handshake(path: str, headers: Mapping[str, str] | None = None) -> bytes:
    """Write the request that opens a WebSocket."""
    asked = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Protocol": "trio-jobs.v1",
    }
    return request("GET", path, asked | dict(headers or {}))


def frame(
    opcode: int, payload: bytes = b"", *, last: bool = True, mask: bool = True, flags: int = 0
) -> bytes:
    """Write a frame as a client does. `flags` are the three reserved bits; 4 is the compression bit."""
    head = bytes([last << 7 | flags << 4 | opcode])
    masked = mask << 7
    if len(payload) < 126:
        head += bytes([masked | len(payload)])
    elif len(payload) < 65536:
        head += struct.pack("!BH", masked | 126, len(payload))
    else:
        head += struct.pack("!BQ", masked | 127, len(payload))
    if not mask:
        return head + payload
    return head + b"\0\0\0\0" + payload  # masked with zeros, which change nothing


@attrs.define
class Peer:
    """A connection, and what was read from it and not yet used."""

    stream: trio.SocketStream
    buffer: bytearray = attrs.field(factory=bytearray)

    async def send(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            Gone: The server has closed the connection.
        """
        try:
            with trio.fail_after(PATIENCE):
                await self.stream.send_all(data)
        except trio.BrokenResourceError:
            raise Gone from None

    async def more(self) -> None:
        """Wait for bytes.

        Raises:
            Gone: The server has closed the connection.
        """
        try:
            with trio.fail_after(PATIENCE):
                data = await self.stream.receive_some(65536)
        except trio.BrokenResourceError:
            data = b""
        if not data:
            raise Gone
        self.buffer += data

    async def take(self, count: int) -> bytes:
        """Read exactly so many bytes."""
        while len(self.buffer) < count:
            await self.more()
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    async def until(self, mark: bytes) -> bytes:
        """Read up to a mark, and drop the mark."""
        while (at := self.buffer.find(mark)) < 0:
            await self.more()
        taken = bytes(self.buffer[:at])
        del self.buffer[: at + len(mark)]
        return taken

    async def rest(self) -> bytes:
        """Read until the server closes."""
        try:
            while True:
                await self.more()
        except Gone:
            taken = bytes(self.buffer)
            self.buffer.clear()
            return taken

    async def answer(self, method: str = "GET") -> Answer:
        """Read an HTTP response, however its length is given."""
        head = (await self.until(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        code = int(status.split(" ")[1])
        if code < 200 or code in {204, 304} or method == "HEAD":
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            body = b""
            while chunk := await self.chunk():
                body += chunk
        elif "content-length" in headers:
            body = await self.take(int(headers["content-length"]))
        else:
            body = await self.rest()
        return Answer(code, headers, body)

    async def chunk(self) -> bytes:
        """Read a chunk of a chunked body; the last is empty."""
        chunk = await self.take(int(await self.until(b"\r\n"), 16))
        await self.take(2)
        return chunk

    async def frame(self) -> Frame:
        """Read a WebSocket frame; servers send them whole and unmasked."""
        first, second = await self.take(2)
        size = second & 127
        if size == 126:
            size = int.from_bytes(await self.take(2))
        elif size == 127:
            size = int.from_bytes(await self.take(8))
        return Frame(first & 15, await self.take(size))

    async def message(self) -> Any:
        """Read the next text message, as JSON; answer pings on the way.

        Raises:
            Gone: The server closed, with a close frame or without.
        """
        while True:
            got = await self.frame()
            if got.opcode == TEXT:
                return json.loads(got.payload)
            if got.opcode == CLOSE:
                raise Gone(got.code)
            if got.opcode == PING:
                await self.send(frame(PONG, got.payload))

    async def pong(self) -> None:
        """Answer the pings that have arrived, without waiting for more."""
        with trio.move_on_after(0):
            await self.more()
        while len(self.buffer) >= 2 and len(self.buffer) >= 2 + self.buffer[1] and self.buffer[1] < 126:
            got = await self.frame()
            if got.opcode == PING:
                await self.send(frame(PONG, got.payload))

    async def closed(self) -> int:
        """Read until the server closes, and return its close code; 1006 when it sent none."""
        code = 1006
        try:
            while True:
                got = await self.frame()
                if got.opcode == CLOSE:
                    code = got.code
        except Gone:
            return code

    async def tell(self, **message: object) -> None:
        """Send a message that has no reply, or one whose reply is read later."""
        await self.send(frame(TEXT, json.dumps(message).encode()))

    async def ask(self, op: str, id: int = 1, **fields: object) -> Any:  # noqa: A002  # the wire's word
        """Send a request, and return the first message with its id, or with none if it was not parsed."""
        await self.tell(op=op, id=id, **fields)
        while True:
            got = await self.message()
            if got.get("re") in {id, None}:
                return got

    def vanish(self) -> None:
        """Close the connection without a close frame: the server sees a reset."""
        self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()


async def dial(url: str, *, buffer: int | None = None, source: str | None = None) -> Peer:
    """Connect to a server; this side has a receive buffer of that size, and comes from that address."""
    where = urlsplit(url)
    assert where.hostname is not None
    connection = trio.socket.socket()
    if buffer is not None:  # before connecting, or the window has been announced
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    if source is not None:
        await connection.bind((source, 0))
    await connection.connect((where.hostname, where.port))
    return Peer(trio.SocketStream(connection))


@asynccontextmanager
async def flat(most: int) -> AsyncGenerator[None]:
    """Check that what Python holds grows by less than `most` bytes, at any moment of the block."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    try:
        yield
        grown = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert grown < most, f"{grown:,} bytes at the peak"


def open_files() -> int:
    """Count the files and sockets that this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # one directory entry more either way
