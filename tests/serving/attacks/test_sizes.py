"""Bodies, headers, frames and fragments over a limit: the excess is not even read."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import MockClock

from tests.serving.place import Door, Place, place
from tests.serving.raw import (
    BINARY,
    CLOSE,
    MORE,
    PING,
    TEXT,
    Gone,
    Peer,
    flat,
    frame,
    handshake,
    request,
)
from trio_jobs.serving import Limits

SMALL = Limits(message=4096, header=1.0, body=1.0, idle=2.0, ping=1.0)
KERNEL = 12 * 2**20
"""More than what two sockets and a proxy of none between them buffer."""


async def pour(peer: Peer, data: bytes, times: int, *, alive: bool = False) -> int:
    """Send the same bytes until the server closes, and return how often they were taken.

    With `alive`, pings are answered meanwhile.
    """
    for time in range(times):
        try:
            await peer.send(data)
            if alive:
                await peer.pong()
        except Gone:
            return time
    return times


async def refused(peer: Peer, *statuses: int) -> None:
    """Check that the answer is one of these, or that the server closed the connection."""
    try:
        answer = await peer.answer()
    except Gone:
        return
    assert answer.status in statuses, answer


# ------------------------------------------------------------ HTTP


async def test_a_huge_body_is_not_read() -> None:
    """A Content-Length over the limit is answered 413 at once, before the body was sent."""
    async with place("http") as here:
        peer = await here.dial()
        async with peer.stream:
            sent = {"Host": here.host, "Content-Type": "application/json", "Content-Length": str(10**9)}
            await peer.send(request("POST", "/v1/jobs", sent))
            assert (await peer.answer()).status == 413
        await here.serves()


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "+5", "5, 6", "9" * 40, ""])
async def test_a_length_is_a_number(length: str) -> None:
    """A Content-Length that is no number is refused, and no job is submitted."""
    async with place("http", limits=SMALL) as here:
        peer = await here.dial()
        async with peer.stream:
            written = request("POST", "/v1/jobs", {"Host": here.host}, b'{"handler": "echo"}')
            await peer.send(written.replace(b"Content-Length: 19", f"Content-Length: {length}".encode()))
            await refused(peer, 400, 408, 411, 413)
        assert not await here.jobs.find()
        await here.serves()


async def test_a_body_that_is_longer_than_it_says(socket_clock: MockClock) -> None:
    """Bytes after a body are another request, or nothing: never part of the first."""
    async with place("http", limits=SMALL) as here:
        peer = await here.dial()
        async with peer.stream:
            body = b'{"handler": "echo"}'
            await peer.send(request("POST", "/v1/jobs", {"Host": here.host}, body) + b', "args": ["x"]}')
            assert (await peer.answer()).status == 202
            await peer.rest()
        assert len(await here.jobs.find()) == 1
        await here.serves()


async def test_a_body_that_is_shorter_than_it_says(socket_clock: MockClock) -> None:
    """An incomplete body is waited for no longer than `limits.body`, and no job is submitted."""
    async with place("http", limits=SMALL) as here:
        peer = await here.dial()
        async with peer.stream:
            sent = {"Host": here.host, "Content-Length": "100"}
            with trio.fail_after(SMALL.body + 0.1):
                await peer.send(request("POST", "/v1/jobs", sent, b'{"handler": "echo"}'))
                await peer.rest()
        assert not await here.jobs.find()
        await here.serves()


async def test_a_body_without_end() -> None:
    """Endless chunks are cut off at the limit: 413, a closed connection, and bounded memory."""
    async with place("http") as here:
        peer = await here.dial()
        async with peer.stream:
            sent = {"Host": here.host, "Content-Type": "application/json", "Transfer-Encoding": "chunked"}
            async with flat(4 * 2**20):
                await peer.send(request("POST", "/v1/jobs", sent))
                chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
                taken = await pour(peer, chunk, 1000)
                assert taken * len(chunk) < Limits().message + KERNEL
                await refused(peer, 413)
        await here.serves()


@pytest.mark.parametrize(
    "chunk", [b"1\r\n \r\n", b"1;" + b"x" * 200 + b"\r\n \r\n", b"0" * 16 + b"1\r\n \r\n"]
)
async def test_a_body_of_tiny_chunks(chunk: bytes) -> None:
    """For chunks of one byte the limit is the same, and the time is bounded too."""
    async with place("http", limits=SMALL) as here:
        peer = await here.dial()
        async with peer.stream:
            sent = {"Host": here.host, "Content-Type": "application/json", "Transfer-Encoding": "chunked"}
            async with flat(4 * 2**20):
                await peer.send(request("POST", "/v1/jobs", sent))
                await pour(peer, chunk * 1000, 100)
                await refused(peer, 400, 408, 413)
        await here.serves()


async def test_both_lengths() -> None:
    """A request with both lengths (smuggling) is refused together with the bytes that follow."""
    async with place("http", limits=SMALL) as here:
        peer = await here.dial()
        async with peer.stream:
            body = b'13\r\n{"handler": "echo"}\r\n0\r\n\r\n'
            sent = {"Host": here.host, "Transfer-Encoding": "chunked", "Content-Length": "4"}
            await peer.send(request("POST", "/v1/jobs", sent, body) + request("GET", "/healthz"))
            assert (await peer.answer()).status == 400
            assert await peer.rest() == b""
        assert len(await here.jobs.find()) == 0
        await here.serves()


@pytest.mark.parametrize("line", [b"X-A: " + b"a" * 1000 + b"\r\n", b"a" * 1000, b"a: b\r\n", b" folded\r\n"])
async def test_headers_without_end(door: Door, line: bytes) -> None:
    """Endless headers are cut off at a few kilobytes, on requests and handshakes."""
    async with place(door, limits=SMALL) as here:
        peer = await here.dial()
        async with peer.stream, flat(4 * 2**20):
            start = handshake(here.path, {"Host": here.host})[:-2]
            await peer.send(start)
            assert await pour(peer, line * 100, 2000) * len(line) * 100 < KERNEL
            await refused(peer, 400, 408, 413, 431)
        await here.serves()


async def test_a_long_path(door: Door) -> None:
    """A path of a megabyte is refused."""
    async with place(door, limits=SMALL) as here:
        peer = await here.dial()
        async with peer.stream:
            try:
                await peer.send(request("GET", "/" + "a" * 2**20, {"Host": here.host}))
            except Gone:
                return
            await refused(peer, 400, 413, 414, 431)
        await here.serves()


# ------------------------------------------------------------ WebSocket


async def code_of(here: Place, data: bytes) -> int:
    """Send a little, and return the code of the close frame."""
    async with here.socket() as peer:
        await peer.send(data)
        return await peer.closed()


async def test_a_large_message(door: Door) -> None:
    """A message at the limit is read; one byte more closes the connection with 1009."""
    async with place(door, limits=SMALL) as here:
        start = b'{"op": "ping", "id": 1, "pad": "'
        async with here.socket() as peer:
            await peer.send(frame(TEXT, start + b"x" * (SMALL.message - len(start) - 2) + b'"}'))
            assert (await peer.message())["re"] == 1
        assert (
            await code_of(here, frame(TEXT, start + b"x" * (SMALL.message - len(start) - 1) + b'"}')) == 1009
        )
        await here.serves()


async def test_a_message_is_measured_in_bytes(door: Door, socket_clock: MockClock) -> None:
    """A character of three bytes counts as three."""
    async with place(door, limits=SMALL) as here:
        assert await code_of(here, frame(TEXT, ("\u20ac" * (SMALL.message // 2)).encode())) == 1009


async def test_a_frame_that_promises_much(door: Door, socket_clock: MockClock) -> None:
    """A frame with a length of 2^62 bytes is refused, and no memory is allocated for it."""
    async with place(door, limits=SMALL) as here:
        head = bytes([0x81, 0xFF]) + (2**62).to_bytes(8) + b"\0\0\0\0"
        async with flat(4 * 2**20):
            with trio.fail_after(SMALL.ping + SMALL.idle + 0.1):
                assert await code_of(here, head) in {1009, 1006}
        await here.serves()


async def test_a_frame_without_end(door: Door) -> None:
    """A frame of 64 MiB is cut off at the limit."""
    async with place(door) as here:
        async with here.socket() as peer, flat(4 * 2**20):
            await peer.send(bytes([0x81, 0xFF]) + (2**26).to_bytes(8) + b"\0\0\0\0")
            assert await pour(peer, b"x" * 65536, 1024) * 65536 < KERNEL
            assert await peer.closed() == 1009
        await here.serves()


@pytest.mark.deep
async def test_a_million_fragments(door: Door) -> None:
    """A message of 10^6 fragments of one byte is closed early, with flat memory."""
    async with place(door, limits=SMALL) as here:
        async with here.socket() as peer, flat(8 * 2**20):
            await peer.send(frame(TEXT, b"[", last=False))
            assert await pour(peer, frame(MORE, b" ", last=False) * 1000, 1000) < 1000, "all were taken"
            assert await peer.closed() in {1009, 1008, 1006}
        await here.serves()


@pytest.mark.deep
async def test_a_million_empty_fragments(door: Door) -> None:
    """Fragments without a byte, which no limit of bytes counts, are bounded too, with or without pongs."""
    async with place(door, limits=SMALL) as here:
        async with here.socket() as peer, flat(8 * 2**20):
            await peer.send(frame(TEXT, b"", last=False))
            await pour(peer, frame(MORE, b"", last=False) * 1000, 1000, alive=True)
            assert await peer.closed() in {1009, 1008, 1006}
        await here.serves()


async def test_a_message_that_never_ends(door: Door, socket_clock: MockClock) -> None:
    """A message must end between two pings, although its peer answers pings."""
    async with place(door, limits=SMALL) as here:
        async with here.socket() as peer:
            await peer.send(frame(TEXT, b"{", last=False))
            with trio.fail_after(2 * SMALL.ping + 0.1):
                with pytest.raises(Gone):
                    while True:
                        await peer.message()


async def test_a_flood_of_pings(door: Door, socket_clock: MockClock) -> None:
    """Pings whose pongs are not read fill no memory."""
    async with place(door, limits=SMALL) as here:
        async with here.socket(buffer=4096) as peer, flat(8 * 2**20):
            with trio.move_on_after(10):
                try:
                    for _ in range(2000):
                        await peer.stream.send_all(frame(PING, b"x" * 125) * 100)
                except trio.BrokenResourceError:
                    pass
        await here.serves()


async def test_binary_is_not_spoken(door: Door, socket_clock: MockClock) -> None:
    """A binary message closes the connection with 1003."""
    async with place(door) as here:
        assert await code_of(here, frame(BINARY, b'{"op": "ping", "id": 1}')) == 1003


async def test_compression_is_not_spoken(door: Door) -> None:
    """Compression is not negotiated, and a frame with the compression bit is an error: no bomb unpacks."""
    async with place(door) as here:
        peer = await here.dial()
        asked = {"Host": here.host, "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
        async with peer.stream:
            await peer.send(handshake(here.path, asked))
            answer = await peer.answer()
            assert answer.status == 101
            assert "sec-websocket-extensions" not in answer.headers
            await peer.send(frame(TEXT, b"\xcb\x48\xcd\xc9\xc9\x07\x00", flags=4))
            assert await peer.closed() == 1002
        await here.serves()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(frame(TEXT, b"{}", mask=False), 1002, id="unmasked"),
        pytest.param(frame(PING, b"x" * 126), 1002, id="a long ping"),
        pytest.param(frame(PING, b"x", last=False), 1002, id="a ping in two"),
        pytest.param(frame(MORE, b"x"), 1002, id="more of nothing"),
        pytest.param(
            frame(TEXT, b"x", last=False) + frame(TEXT, b"y"), 1002, id="a message inside a message"
        ),
        pytest.param(frame(3, b"x"), 1002, id="an opcode that is none"),
        pytest.param(frame(TEXT, b"x", flags=2), 1002, id="a reserved bit"),
        pytest.param(frame(TEXT, b"\xff\xfe"), 1007, id="no text"),
        pytest.param(frame(TEXT, b"\xe2", last=False) + frame(MORE, b"x"), 1007, id="no text in two"),
        pytest.param(frame(CLOSE, b"x"), 1002, id="half a code"),
        pytest.param(frame(CLOSE, b"\x00\x00"), 1002, id="a code that is none"),
        pytest.param(frame(CLOSE, b"\x03\xe8\xff"), 1007, id="a reason that is no text"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 1002, id="a request"),
    ],
)
@pytest.mark.parametrize("behind", [b"", b"x" * 50_000])
async def test_broken_frames(door: Door, data: bytes, code: int, behind: bytes) -> None:
    """A frame that no client may send closes its connection with the code of the fault, and no other."""
    async with place(door) as here, here.socket() as other:
        assert await code_of(here, data + behind) == code
        assert await other.ask("ping") == {"re": 1, "pong": True}
        await here.serves()


@pytest.mark.parametrize("behind", [frame(PING, b"x"), frame(3, b"x"), frame(TEXT, b"x")])
async def test_frames_behind_a_broken_one(
    door: Door, behind: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Frames behind a broken one are not answered, and are no error of the server's."""
    async with place(door) as here:
        assert await code_of(here, frame(TEXT, b"\xff\xfe") + behind) == 1007
        await here.serves()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
