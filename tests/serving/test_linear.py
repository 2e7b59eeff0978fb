"""Input of clients is read in time proportional to its size, up to the answer.

As in `tests/test_linear.py`, four times as much may make at most six times the calls; here of all that runs,
the server's tasks and Trio's, while it arrives, in one piece or in many.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked
from trio_websocket import wrap_client_stream
from wsproto.utilities import generate_accept_token

from tests.serving.machine.network import Network
from tests.serving.raw import CLOSE, MORE, PING, PONG, TEXT, frame, handshake, request
from tests.test_linear import MOST, TIMES
from trio_jobs import open_registry
from trio_jobs.client.socket import ConnectionLost, Socket
from trio_jobs.serving import Limits, serve_http

SMALL = 1024
"""Four times as much fits into the head of a request."""
LIMITS = Limits(message=2**20, calls=1000, ping=1000.0, idle=1000.0)
PORT = 8000
Pieces = Sequence[bytes]


class Counting:
    """Counts the calls, of Python and of C, in its block."""

    def __init__(self) -> None:
        self.calls = 0

    def __enter__(self) -> Counting:
        self._before = sys.getprofile()
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(self._before)

    def _note(self, _: Any, what: str, __: Any) -> None:
        self.calls += what in {"call", "c_call"}


async def _drain(stream: trio.abc.ReceiveStream) -> None:
    with suppress(trio.BrokenResourceError):
        while await stream.receive_some(65536):
            pass


async def _sent(pieces: Pieces, *, web: bool) -> int:
    """Send parts to a server, each after the last was read, and return the calls that it took."""
    network = Network()
    trio.socket.set_custom_socket_factory(network)
    async with open_registry() as jobs, trio.open_nursery() as nursery:
        await nursery.start(partial(serve_http, jobs, port=PORT, limits=LIMITS, page=False))
        async with network.connect(PORT, "10.0.0.1", None) as stream:
            if web:
                await stream.send_all(handshake("/v1/ws"))
                await stream.receive_some()
            with Counting() as counting:
                async with trio.open_nursery() as talk:
                    talk.start_soon(_drain, stream)
                    with suppress(trio.BrokenResourceError):
                        for piece in pieces:
                            await stream.send_all(piece)
                            await wait_all_tasks_blocked()
                        await stream.send_eof()
        nursery.cancel_scope.cancel()
    return counting.calls


def is_linear(pieces: Callable[[int], Pieces], *, web: bool = False) -> None:
    """Raise unless four times as much makes at most six times the calls."""
    few, many = (
        trio.run(partial(_sent, pieces(size), web=web), clock=MockClock(autojump_threshold=0))
        for size in (SMALL, TIMES * SMALL)
    )
    assert many <= MOST * few, (few, many)


def cut(data: bytes, size: int) -> Pieces:
    """Return data in pieces of a size."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def get(path: str = "/v1/jobs", **headers: str) -> bytes:
    """Return a request."""
    return request("GET", path, {name.replace("_", "-"): value for name, value in headers.items()})


def post(body: bytes) -> bytes:
    """Return the head of a request, and a body in chunks."""
    headers = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    return request("POST", "/v1/jobs", headers) + body


REQUESTS: dict[str, Callable[[int], Pieces]] = {
    "a head in pieces": lambda size: cut(get(Cookie="a" * size), 16),
    "a head of lines": lambda size: [get(**{f"a{at}": "b" for at in range(size // 16)})],
    "a head of lines in pieces": lambda size: cut(get(**{f"a{at}": "b" for at in range(size // 16)}), 16),
    "lines before a head": lambda size: [b"\r\n" * (size // 2) + get()],
    "a list of a header": lambda size: [get(Connection="," * size)],
    "upgrades": lambda size: [
        get(Connection="Upgrade, " * (size // 9), Upgrade="websocket, " * (size // 11))
    ],
    "subprotocols": lambda size: [
        handshake("/v1/ws", {"Sec-WebSocket-Protocol": "bearer.a, " * (size // 10)})
    ],
    "extensions": lambda size: [handshake("/v1/ws", {"Sec-WebSocket-Extensions": "a; b, " * (size // 6)})],
    "a path": lambda size: [get("/v1/jobs/" + "a" * size)],
    "a path of parts": lambda size: [get("/" + "a/" * (size // 2))],
    "a path of escapes": lambda size: [get("/v1/jobs/" + "%41" * (size // 3))],
    "tags": lambda size: [get("/v1/jobs?" + "tag=a%3D1&" * (size // 10))],
    "tags of many names": lambda size: [
        get("/v1/jobs?" + "".join(f"tag=a{n}%3D&" for n in range(size // 10)))
    ],
    "states": lambda size: [get("/v1/jobs?" + "state=failed&" * (size // 13))],
    "parameters": lambda size: [get("/v1/jobs?" + "".join(f"a{n}=1&" for n in range(size // 7)))],
    "empty parameters": lambda size: [get("/v1/jobs?" + "&" * size)],
    "escapes": lambda size: [get("/v1/jobs?handler=" + "%" * size)],
    "a cursor": lambda size: [get("/v1/jobs?cursor=" + "1" * size)],
    "a place in a log": lambda size: [get("/v1/jobs/x/stream?after=" + "1" * size)],
    "an event's id": lambda size: [get("/v1/jobs/x/stream", Last_Event_ID="1" * size)],
    "a token": lambda size: [get(Authorization="Bearer " + "a" * size)],
    "a key": lambda size: [request("POST", "/v1/jobs", {"Idempotency-Key": "a" * size}, b"{}")],
    "a body in pieces": lambda size: cut(
        request("POST", "/v1/jobs", {}, b'{"handler":"h"' + b" " * size + b"}"), 16
    ),
    "chunks": lambda size: [post(b"1\r\n \r\n" * (size // 6) + b"0\r\n\r\n")],
    "chunks in pieces": lambda size: cut(post(b"1\r\n \r\n" * (size // 6) + b"0\r\n\r\n"), 7),
    "a chunk in pieces": lambda size: cut(post(b"%x\r\n" % size + b" " * size + b"\r\n0\r\n\r\n"), 16),
    "a chunk's extension": lambda size: [post(b"1;" + b"a" * min(size, 1000) + b"\r\n \r\n") + b"0\r\n\r\n"],
    "chunks with extensions": lambda size: [post(b"8;aaaa\r\n        \r\n" * (size // 18) + b"0\r\n\r\n")],
    "behind the last chunk": lambda size: [post(b"0\r\n" + b"a: b\r\n" * (size // 6) + b"\r\n")],
    "requests": lambda size: [get("/healthz") * (size // 40)],
    "requests in pieces": lambda size: cut(get("/healthz") * (size // 40), 16),
    "bodies that nobody reads": lambda size: [request("POST", "/nothing", {}, b"x" * 10) * (size // 100)],
}


@pytest.mark.parametrize("pieces", REQUESTS.values(), ids=REQUESTS)
def test_requests(pieces: Callable[[int], Pieces]) -> None:
    """Heads, queries and bodies, however they are split, and whatever follows them."""
    is_linear(pieces)


def messages(text: bytes, count: int) -> bytes:
    """Return so many messages."""
    return b"".join(frame(TEXT, text.replace(b"%", b"%d" % number)) for number in range(1, count + 1))


def fragments(part: bytes, count: int, between: bytes = b"") -> bytes:
    """Return a message in so many fragments, with something between each two."""
    others = (between + frame(MORE, part, last=False)) * count
    return frame(TEXT, b"{", last=False) + others + frame(MORE, b"}")


FRAMES: dict[str, Callable[[int], Pieces]] = {
    "pings of ours": lambda size: [messages(b'{"op":"ping","id":%}', size // 28)],
    "calls": lambda size: [messages(b'{"op":"list","id":%}', size // 28)],
    "an id": lambda size: [messages(b'{"op":"wait","id":1,"job":"x"}', size // 36)],
    "follows of nothing": lambda size: [messages(b'{"op":"follow","id":%,"job":"x"}', size // 40)],
    "acks of nothing": lambda size: [messages(b'{"op":"ack","id":%,"cursor":9}', size // 36)],
    "a cursor": lambda size: [frame(TEXT, b'{"op":"list","id":1,"cursor":"' + b"1" * size + b'"}')],
    "a message in pieces": lambda size: cut(frame(TEXT, b'{"op":"ping","id":1}' + b" " * size), 16),
    "frames in pieces": lambda size: cut(messages(b'{"op":"ping","id":%}', size // 28), 5),
    "fragments": lambda size: [fragments(b" ", size // 7)],
    "empty fragments": lambda size: [fragments(b"", size // 6)],
    "fragments in pieces": lambda size: cut(fragments(b" ", size // 7), 3),
    "fragments with pings between": lambda size: [fragments(b" ", size // 13, frame(PING))],
    "characters in two fragments": lambda size: [
        frame(TEXT, b"", last=False)
        + (frame(MORE, b"\xc3", last=False) + frame(MORE, b"\xa9", last=False)) * (size // 14)
    ],
    "pings": lambda size: [frame(PING, b"x" * 100) * (size // 106)],
    "empty pings": lambda size: [frame(PING) * (size // 6)],
    "pongs": lambda size: [frame(PONG) * (size // 6)],
    "closing": lambda size: [frame(CLOSE, b"\x03\xe8" + b"x" * 100) * (size // 108)],
    "behind the close": lambda size: cut(frame(CLOSE) + frame(TEXT, b"x") * (size // 7), 64),
    "behind a fault": lambda size: cut(frame(3) + b"x" * size, 64),
    "a frame that promises much": lambda size: cut(
        b"\x81\xff" + (2**19).to_bytes(8) + b"\0" * (4 + size), 16
    ),
}


@pytest.mark.parametrize("pieces", FRAMES.values(), ids=FRAMES)
def test_frames(pieces: Callable[[int], Pieces]) -> None:
    """Messages, fragments, control frames, and what follows the last."""
    is_linear(pieces, web=True)


# ------------------------------------------------------------ the client's side


def unmasked(opcode: int, payload: bytes = b"", *, last: bool = True) -> bytes:
    """Return a frame as a server sends it."""
    return frame(opcode, payload, last=last, mask=False)


async def _heard(pieces: Pieces) -> int:
    """Let a server send parts to a client, and return the calls that reading them took."""
    ours, theirs = memory_stream_pair()
    counting = Counting()

    async def serve() -> None:
        data = await theirs.receive_some()
        key = data.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        await theirs.send_all(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + generate_accept_token(bytes(key)) + b"\r\n\r\n"
        )
        await wait_all_tasks_blocked()
        nursery.start_soon(_drain, theirs)
        with counting:
            for piece in pieces:
                await theirs.send_all(piece)
                await wait_all_tasks_blocked()
            await theirs.send_eof()
            await ended.wait()

    ended = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        connection = await wrap_client_stream(nursery, ours, "x", "/", max_message_size=2**20)  # type: ignore[arg-type]
        socket = Socket(connection, None)  # type: ignore[arg-type]
        with suppress(ConnectionLost):
            while True:
                await socket.receive()
        ended.set()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return counting.calls


TOLD: dict[str, Callable[[int], Pieces]] = {
    "messages": lambda size: [unmasked(TEXT, b"{}") * (size // 4)],
    "messages in pieces": lambda size: cut(unmasked(TEXT, b"{}") * (size // 4), 3),
    "a message in pieces": lambda size: cut(unmasked(TEXT, b" " * size), 16),
    "fragments": lambda size: [
        unmasked(TEXT, b" ", last=False) + unmasked(MORE, b" ", last=False) * (size // 3) + unmasked(MORE)
    ],
    "pings": lambda size: [unmasked(PING) * (size // 2)],
    "closing": lambda size: [unmasked(CLOSE, b"\x03\xe8" + b"x" * 100) * (size // 104)],
}


@pytest.mark.parametrize("pieces", TOLD.values(), ids=TOLD)
def test_what_a_client_is_told(pieces: Callable[[int], Pieces]) -> None:
    """A client reads a server's frames in linear time too."""
    few, many = (
        trio.run(_heard, pieces(size), clock=MockClock(autojump_threshold=0))
        for size in (SMALL, TIMES * SMALL)
    )
    assert many <= MOST * few, (few, many)
