"""Addresses of servers: every spelling, and those that are refused."""

from __future__ import annotations

import ssl

import pytest

from trio_jobs.client.address import Address, address_of


def read(url: str, token: str | None = None, headers: dict[str, str] | None = None) -> Address:
    """Return the address that a URL names."""
    return address_of(url, token, headers, None)


@pytest.mark.parametrize(
    ("url", "host", "port", "authority", "path", "secure"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1", 8000, "127.0.0.1:8000", "/v1/ws", False),
        ("http://127.0.0.1:8000/", "127.0.0.1", 8000, "127.0.0.1:8000", "/v1/ws", False),
        ("http://example.org/jobs/", "example.org", 80, "example.org", "/jobs/v1/ws", False),
        ("HTTPS://Example.org", "example.org", 443, "example.org", "/v1/ws", True),
        ("https://example.org:443", "example.org", 443, "example.org", "/v1/ws", True),
        ("ws://[::1]:8001", "::1", 8001, "[::1]:8001", "/v1/ws", False),
        ("ws://localhost:8001/any", "localhost", 8001, "localhost:8001", "/any", False),
        ("wss://example.org/v1/ws", "example.org", 443, "example.org", "/v1/ws", True),
    ],
)
def test_urls(url: str, host: str, port: int, authority: str, path: str, secure: bool) -> None:
    """The URL of a server gives that of its WebSocket; the URL of a WebSocket is used unchanged."""
    address = read(url)
    assert (address.host, address.port, address.authority, address.path) == (host, port, authority, path)
    assert isinstance(address.tls, ssl.SSLContext) is secure
    assert address.url == f"{'wss' if secure else 'ws'}://{authority}{path}"


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "takes a URL"),
        ("127.0.0.1:8000", "takes a URL"),
        ("ftp://example.org", "takes a URL"),
        ("http://", "takes a URL"),
        ("http://example.org:port", "is no URL"),
        ("http://[::1", "is no URL"),
        ("http://me@example.org", "names no server"),
        ("http://example.org?token=1", "names no server"),
        ("http://example.org#here", "names no server"),
    ],
)
def test_what_is_none(url: str, complaint: str) -> None:
    """A wrong URL is refused, with an example of a right one."""
    with pytest.raises(ValueError, match=complaint):
        read(url)


def test_a_url_is_text() -> None:
    """A value that is no text is a TypeError."""
    with pytest.raises(TypeError, match="takes a URL"):
        read(8000)  # type: ignore[arg-type]


def test_a_token_is_sent_and_not_shown() -> None:
    """A token goes into a header, beside other headers, and into no repr."""
    address = read("https://example.org", "s3cret", {"X-Request-Id": "7"})
    assert address.headers == ((b"X-Request-Id", b"7"), (b"Authorization", b"Bearer s3cret"))
    assert "s3cret" not in repr(address)


@pytest.mark.parametrize("bad", ["a\nb", "a\r\nX: y", "é", "\0"])
def test_a_header_that_cannot_be_sent_is_refused(bad: str) -> None:
    """A header with a line end, or one that is not ASCII, is refused; and the token in it is not shown."""
    with pytest.raises(ValueError, match="HTTP cannot carry") as caught:
        read("http://example.org", f"s3cret{bad}")
    assert "s3cret" not in str(caught.value)


def test_tls_is_for_those_who_speak_it() -> None:
    """A TLS context is used with a secure address, and refused with another, where it has no effect."""
    context = ssl.create_default_context()
    assert address_of("https://example.org", None, None, context).tls is context
    with pytest.raises(ValueError, match="ssl_context"):
        address_of("http://example.org", None, None, context)
