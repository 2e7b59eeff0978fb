"""Heads are parsed strictly: what two servers could read differently is refused."""

from __future__ import annotations

import pytest

from trio_jobs.serving.net.request_head import read_head
from trio_jobs.serving.problems import Refused


def head(first: str, *lines: str) -> bytes:
    return "\r\n".join([first, "Host: x", *lines, "", ""]).encode()


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        (("GET / HTTP/1.1",), 0),
        (("GET / HTTP/1.0",), 0),
        (("POST / HTTP/1.1", "Content-Length: 12"), 12),
        (("POST / HTTP/1.1", "Content-Length: 12", "Content-Length: 12"), 12),
        (("POST / HTTP/1.1", "transfer-encoding: Chunked"), None),
        (("OPTIONS * HTTP/1.1",), 0),
    ],
)
def test_the_length_of_a_body_is_known_from_its_head(lines: tuple[str, ...], length: int | None) -> None:
    """The length is none, a number of bytes, or chunked."""
    read = read_head(head(*lines))
    assert (read.length, read.websocket) == (length, False)
    assert dict(read.request.headers)[b"host"] == b"x"


@pytest.mark.parametrize(
    "lines",
    [
        ("POST / HTTP/1.1", "Content-Length: 4", "Transfer-Encoding: chunked"),
        ("POST / HTTP/1.1", "Transfer-Encoding: chunked", "Content-Length: 4"),
        ("POST / HTTP/1.1", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("POST / HTTP/1.1", "Transfer-Encoding: chunked, identity"),
        ("POST / HTTP/1.1", "Transfer-Encoding: identity"),
        ("POST / HTTP/1.1", "Transfer-Encoding: xchunked"),
        ("POST / HTTP/1.1", "Transfer-Encoding : chunked"),
        ("POST / HTTP/1.1", "Transfer-Encoding:\r\n chunked"),
        ("POST / HTTP/1.1", "X: a\r\n\tTransfer-Encoding: chunked"),
        ("POST / HTTP/1.0", "Transfer-Encoding: chunked"),
        ("POST / HTTP/1.1", "Content-Length: 4", "Content-Length: 5"),
        ("POST / HTTP/1.1", "Content-Length: +4"),
        ("POST / HTTP/1.1", "Content-Length: 0x4"),
        ("POST / HTTP/1.1", "Content-Length:"),
        ("POST / HTTP/1.1", " Content-Length: 4"),
        ("POST / HTTP/1.1", "X: a\rContent-Length: 4"),
        ("POST / HTTP/1.1", "X: a\0b"),
        ("GET / HTTP/1.1", "Host: y"),
        ("GET / HTTP/1.2",),
        ("GET / HTTP/2.0",),
        ("GET / HTTP/0.9",),
        ("GET /",),
        ("GET  / HTTP/1.1",),
        ("GET /a b HTTP/1.1",),
        ("GET http://x/ HTTP/1.1",),
        ("CONNECT x:80 HTTP/1.1",),
        ("PRI * HTTP/2.0",),
        ("",),
    ],
)
def test_what_is_read_in_two_ways_is_refused(lines: tuple[str, ...]) -> None:
    """Two lengths, a wrong length, folded lines, odd line ends, other versions and targets are refused."""
    with pytest.raises(Refused) as refused:
        read_head(head(*lines))
    assert refused.value.code == "bad_request"


def test_a_head_without_a_host_is_refused() -> None:
    """An HTTP/1.1 head without a Host is refused."""
    with pytest.raises(Refused, match="Host"):
        read_head(b"GET / HTTP/1.1\r\n\r\n")


UPGRADE = ("Connection: keep-alive, Upgrade", "Upgrade: WebSocket")
SHAKE = ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (("GET /v1/ws HTTP/1.1", *UPGRADE), True),
        (("GET /v1/ws HTTP/1.1", "CONNECTION:upgrade", "UPGRADE:h2c , websocket "), True),
        (("GET /v1/ws HTTP/1.1", UPGRADE[1]), False),
        (("GET /v1/ws HTTP/1.1", UPGRADE[0], "Upgrade: h2c"), False),
        (("GET /v1/ws HTTP/1.1", UPGRADE[0], "X-Upgrade: websocket"), False),
        (("POST /v1/ws HTTP/1.1", *UPGRADE), False),
        (("GET /v1/ws HTTP/1.0", *UPGRADE), False),
        (("GET /v1/ws HTTP/1.1", *UPGRADE, "Content-Length: 5"), False),
    ],
)
def test_who_wants_a_websocket(lines: tuple[str, ...], wanted: bool) -> None:
    """A handshake is a GET of HTTP/1.1 without a body, with Connection and Upgrade in any spelling."""
    assert read_head(head(*lines, *SHAKE)).websocket is wanted


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (SHAKE[:1], "bad_request"),
        (SHAKE[1:], "upgrade_required"),
        (("Sec-WebSocket-Version: 8", SHAKE[1]), "upgrade_required"),
    ],
)
def test_a_handshake_that_is_none(lines: tuple[str, ...], code: str) -> None:
    """A WebSocket of another version, or without a key, is refused with a message."""
    with pytest.raises(Refused) as refused:
        read_head(head("GET /v1/ws HTTP/1.1", *UPGRADE, *lines))
    assert refused.value.code == code
