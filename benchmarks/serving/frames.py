"""What arrived on a connection, taken apart again: how many frames, which tokens, and whether it ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import msgspec

CONTINUATION, TEXT = 0x0, 0x1
FINAL, MASKED = 0x80, 0x80
CONTROL = 0x8

Unit = tuple[bytes, int]
"""A frame's or a chunk's payload, and where in the stream of bytes it ended."""


class WrongBytes(Exception):
    """A server sent what its protocol does not allow, or what says that it did not do its work."""


@attrs.define
class Reading:
    """What a client was told.

    Attributes:
        tokens: Each with where in the stream of bytes it ended.
        frames: How many frames or writes carried it all.
        ended: Whether the end was told too.
    """

    tokens: list[tuple[str, int]] = attrs.field(factory=list)
    frames: int = 0
    ended: bool = False


def text_frame(payload: str) -> bytes:
    """Return a client's frame of less than 64 KB, masked with zeros."""
    data = payload.encode()
    short = bytes([len(data)]) if len(data) < 126 else b"\x7e" + len(data).to_bytes(2, "big")
    return bytes([FINAL | TEXT, MASKED | short[0]]) + short[1:] + bytes(4) + data


def websocket_frames(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield each server's frame: its first byte, its payload, and where it ended."""
    at = 0
    while at + 2 <= len(data):
        head, size = data[at], data[at + 1]
        at += 2
        if size >= 126:
            wide = 2 if size == 126 else 8
            size = int.from_bytes(data[at : at + wide], "big")
            at += wide
        if at + size > len(data):
            return
        yield head, data[at : at + size], at + size
        at += size


def websocket_messages(data: bytes) -> Iterator[Unit]:
    parts: list[bytes] = []
    for head, payload, end in websocket_frames(data):
        kind = head & 0x0F
        if kind == CONTROL:
            raise WrongBytes(f"the server closed the connection: {payload!r}")
        if kind > CONTROL:  # a ping
            continue
        parts.append(payload)
        if head & FINAL:
            yield b"".join(parts), end
            parts.clear()


def http_chunks(data: bytes) -> Iterator[Unit]:
    at = 0
    while (line := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:line], 16)
        start = line + 2
        if not size or start + size > len(data):
            return
        yield data[start : start + size], start + size
        at = start + size + 2


def read_message(message: Any, end: int, reading: Reading) -> None:
    """Take a message of trio-jobs.v1, or of a peer, whose messages are one token each."""
    if "events" in message:
        tokens = (event["data"] for event in message["events"] if event["kind"] == "token")
        reading.tokens.extend((token, end) for token in tokens)
    elif "data" in message:
        reading.tokens.append((message["data"], end))
    elif "end" in message:
        reading.ended = True
    else:
        raise WrongBytes(f"neither events nor the end: {message}")


def read_websocket(data: bytes) -> Reading:
    reading = Reading()
    for payload, end in websocket_messages(data):
        read_message(msgspec.json.decode(payload), end, reading)
        reading.frames += 1
    return reading


def read_event(block: str, end: int, reading: Reading) -> None:
    fields: dict[str, str] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        fields[name] = value
    match fields.get("event", "").strip():
        case "token":
            reading.tokens.append((msgspec.json.decode(fields["data"]), end))
        case "completed":
            reading.ended = fields["data"].strip() == "[DONE]"
        case "failed" | "cancelled" | "gap":
            raise WrongBytes(f"not the events that were asked for: {block}")
        case _:
            pass


def read_events(data: bytes) -> Reading:
    reading, rest = Reading(), ""
    for payload, end in http_chunks(data):
        reading.frames += 1
        *blocks, rest = (rest + payload.decode().replace("\r\n", "\n")).split("\n\n")
        for block in blocks:
            read_event(block, end, reading)
    return reading
