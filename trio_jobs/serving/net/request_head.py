"""The head of a request, read strictly: a head that two servers could read in two ways is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs
import h11

from ..problems import Refused

_FOLDED: Final = (b"\r\n ", b"\r\n\t")


@attrs.frozen
class Head:
    """The head of a request.

    Attributes:
        raw: Its bytes.
        request: The head as h11 reads it.
        writer: h11's side of the response.
        length: The bytes of its body; None if that comes in chunks.
        websocket: Whether the connection is to speak WebSocket from now on.
    """

    raw: bytes
    request: h11.Request
    writer: h11.Connection
    length: int | None
    websocket: bool


def read_head(raw: bytes) -> Head:
    """Read a head, whose lines end in CR LF.

    Raises:
        Refused: The bytes are no head, or servers read it in different ways.
    """
    if any(fold in raw for fold in _FOLDED) or raw.count(b"\r") != raw.count(b"\r\n"):
        raise Refused("bad_request", "each header is one line, which ends in CR LF")
    writer = h11.Connection(h11.SERVER, max_incomplete_event_size=len(raw))
    try:
        writer.receive_data(raw)
        request = writer.next_event()
    except h11.RemoteProtocolError as error:
        raise Refused("bad_request", f"this is no request of HTTP/1.1: {error}") from error
    if not isinstance(request, h11.Request) or request.http_version not in {b"1.0", b"1.1"}:
        raise Refused("bad_request", "HTTP/1.1 is spoken here")
    if not request.target.startswith((b"/", b"*")):
        raise Refused("bad_request", "the target of a request is a path")
    length = _length(request)
    websocket = length == 0 and _asks_for_websocket(request)
    if websocket:
        _check_handshake(dict(request.headers))
    return Head(raw, request, writer, length, websocket)


def _length(request: h11.Request) -> int | None:
    length: int | None = 0
    for name, value in request.headers:
        if name == b"content-length":
            length = int(value)  # h11 has checked that all such headers have the same digits
    if b"transfer-encoding" in dict(request.headers):
        if b"content-length" in dict(request.headers):
            raise Refused("bad_request", "a body has a Content-Length or a Transfer-Encoding, not both")
        if request.http_version == b"1.0":
            raise Refused("bad_request", "there is no Transfer-Encoding in HTTP/1.0")
        length = None
    return length


def _asks_for_websocket(request: h11.Request) -> bool:
    return (
        request.method == b"GET"
        and request.http_version == b"1.1"
        and b"upgrade" in _tokens(request, b"connection")
        and b"websocket" in _tokens(request, b"upgrade")
    )


def _check_handshake(headers: Mapping[bytes, bytes]) -> None:
    if headers.get(b"sec-websocket-version") != b"13":
        why = "WebSocket is spoken here in version 13"
        raise Refused("upgrade_required", why, {"sec-websocket-version": "13", "upgrade": "websocket"})
    if not headers.get(b"sec-websocket-key"):
        raise Refused("bad_request", "a handshake has a Sec-WebSocket-Key")


def _tokens(request: h11.Request, header: bytes) -> set[bytes]:
    """Return the items of a header that is a list, in lower case."""
    return {
        token.strip().lower()
        for name, value in request.headers
        if name == header
        for token in value.split(b",")
    }
