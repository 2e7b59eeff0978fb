"""The clients, all in one process: they read as fast as they can, and look afterwards at what they read.

    python -m benchmarks.serving.load

It takes orders as the servers do, and answers twice if the connections are not to be idle:

    {"port": 8000, ...}  ->  {"connected": 100}     each has its answer, and follows its job
                         ->  {"last": 12.3, ...}    when the last of them had everything, and what they had

To cost little next to the server, it does nothing meanwhile but `recv`, and a look for the bytes that are to
come last. It is the same for everybody who is measured.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
from collections.abc import Sequence
from selectors import EVENT_READ, DefaultSelector
from time import process_time
from typing import Any

import attrs

from .frames import Reading, WrongBytes, read_events, read_websocket, text_frame
from .peers.protocol import HOST, now, say, token

PATIENCE = 60.0
SIZE = 1 << 18
TAIL = 256


@attrs.define
class Connection:
    """What one client has received, and when it had how much of it."""

    socket: socket.socket
    parts: list[bytes] = attrs.field(factory=list)
    size: int = 0
    marks: list[tuple[int, float]] = attrs.field(factory=list)

    def take(self, data: bytes) -> None:
        self.parts.append(data)
        self.size += len(data)
        self.marks.append((self.size, now()))

    def tail(self) -> bytes:
        """Return the last bytes, which may have come in pieces."""
        end = self.parts[-1][-TAIL:]
        return end if len(self.parts) == 1 or len(end) == TAIL else (self.parts[-2] + end)[-TAIL:]


def anyone() -> ssl.SSLContext:
    """Return what trusts any server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def receive(connection: Connection, buffer: memoryview) -> bool:
    """Take what a connection has for us, and return whether there may be more that no selector tells of.

    Raises:
        WrongBytes: It was closed.
    """
    try:
        size = connection.socket.recv_into(buffer)
    except ssl.SSLWantReadError:
        return False
    if not size:
        raise WrongBytes(f"a connection was closed; its last bytes: {connection.parts[-1:]!r}")
    connection.take(bytes(buffer[:size]))
    return isinstance(connection.socket, ssl.SSLSocket)


def open_connection(port: int, request: str, hello: str | None, *, tls: bool = False) -> Connection:
    """Ask for a stream, and return when it has begun.

    Raises:
        WrongBytes: The server refused.
    """
    peer = socket.create_connection((HOST, port), PATIENCE)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = Connection(anyone().wrap_socket(peer) if tls else peer)
    connection.socket.sendall(request.encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        data = connection.socket.recv(SIZE)
        answer += data
        if not data:
            raise WrongBytes(f"refused: {answer!r}")
    head, _, rest = answer.partition(b"\r\n\r\n")
    if head.split()[1] not in {b"101", b"200"}:
        raise WrongBytes(f"refused: {answer!r}")
    if rest:
        connection.take(rest)
    if hello is not None:
        connection.socket.sendall(text_frame(hello))
        connection.take(connection.socket.recv(SIZE))
    return connection


def collect(connections: Sequence[Connection], until: bytes) -> None:
    """Read until each connection has received the bytes that are awaited.

    Raises:
        WrongBytes: One of them ended before, or nothing came for long.
    """
    buffer = memoryview(bytearray(SIZE))
    with DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection.socket, EVENT_READ, connection)
        missing = len(connections)
        while missing:
            ready = selector.select(PATIENCE)
            if not ready:
                raise WrongBytes(f"nothing came for {PATIENCE:g} s, and {missing} connections still wait")
            for key, _ in ready:
                connection = key.data
                while receive(connection, buffer):
                    pass
                if until in connection.tail():
                    selector.unregister(connection.socket)
                    missing -= 1


def fault(reading: Reading, tokens: int, *, ends: bool) -> str | None:
    """Return what is wrong, if anything is: every token has to come once, and in order."""
    for n, (found, _) in enumerate(reading.tokens):
        if not found.startswith(token(n)):
            return f"{found!r} where {token(n)!r} should be"
    if len(reading.tokens) != tokens:
        return f"{len(reading.tokens)} tokens, and not {tokens}"
    if reading.ended != ends:
        return "no end" if ends else "an end"
    return None


def delays(connection: Connection, reading: Reading) -> list[float]:
    """Return how old each token was that says when it was sent."""
    found, marks = list[float](), iter(connection.marks)
    size, time = next(marks)
    for text, end in reading.tokens:
        while size < end:
            size, time = next(marks)
        found.append(time - float(text.split()[-1]))
    return found


def judge(connections: Sequence[Connection], order: dict[str, Any]) -> dict[str, Any]:
    read = read_websocket if order["websocket"] else read_events
    right = frames = 0
    faults, ages = list[str](), list[float]()
    for connection in connections:
        reading = read(b"".join(connection.parts))
        frames += reading.frames
        if (wrong := fault(reading, order["tokens"], ends=order["ends"])) is not None:
            faults.append(wrong)
            continue
        right += 1
        if order["timed"]:
            ages += delays(connection, reading)
    return {"right": right, "frames": frames, "faults": faults[:1], "delays": ages}


def connect(order: dict[str, Any]) -> list[Connection]:
    connections = [
        open_connection(order["port"], request, hello, tls=order["tls"])
        for request, hello in zip(order["requests"], order["hellos"], strict=True)
    ]
    for connection in connections:
        connection.socket.settimeout(0)
    return connections


def listen(connections: Sequence[Connection], order: dict[str, Any]) -> dict[str, Any]:
    began, spent = now(), process_time()
    try:
        collect(connections, order["until"].encode())
        last = max(connection.marks[-1][1] for connection in connections)
        busy = (process_time() - spent) / (last - began)
        return {"last": last, "busy": busy, **judge(connections, order)}
    except (WrongBytes, OSError) as failure:
        return {"faults": [str(failure)]}


def main() -> None:
    kept = []
    for line in sys.stdin:
        order = json.loads(line)
        try:
            connections = connect(order)
        except (WrongBytes, OSError) as failure:
            say({"fault": str(failure)})
            continue
        kept.append(connections)
        say({"connected": len(connections)})
        if order["until"] is not None:
            say(listen(connections, order))


if __name__ == "__main__":
    main()
