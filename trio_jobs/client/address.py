"""Parse the URL of a server."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final, cast
from urllib.parse import urlsplit

import attrs

from .._common.errors import quoted

_SCHEMES: Final[Mapping[str, tuple[bool, int]]] = {
    "http": (False, 80),
    "ws": (False, 80),
    "https": (True, 443),
    "wss": (True, 443),
}
_PATH: Final = "/v1/ws"


@attrs.frozen
class Address:
    """Where a server is, and the headers to send to it.

    Attributes:
        url: The URL of its WebSocket.
        host: Its name, or its IP address.
        port: Its port.
        authority: The two as HTTP names them.
        path: The path of its WebSocket.
        tls: How to speak TLS; None for none.
        headers: The headers of the handshake; not in the repr, as they may hold a token.
    """

    url: str
    host: str
    port: int
    authority: str
    path: str
    tls: ssl.SSLContext | None = attrs.field(repr=False)
    headers: tuple[tuple[bytes, bytes], ...] = attrs.field(repr=False)


def address_of(
    url: str, token: str | None, headers: Mapping[str, str] | None, ssl_context: ssl.SSLContext | None
) -> Address:
    """Return the address that a URL names.

    Raises:
        TypeError: The URL is no text.
        ValueError: The URL is not that of a server, or a header cannot be sent.
    """
    if not isinstance(cast("object", url), str):
        raise TypeError(f"connect takes a URL such as 'http://127.0.0.1:8000'; got {quoted(url)}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{quoted(url)} is no URL: {error}") from None
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise ValueError(f"connect takes a URL such as 'http://127.0.0.1:8000'; got {quoted(url)}")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("a URL with a user, a query or a fragment names no server; use token= or headers=")
    secure, usual = _SCHEMES[parts.scheme]
    if ssl_context is not None and not secure:
        raise ValueError(f"ssl_context is for https:// and wss://; got {quoted(url)}")
    path = parts.path.rstrip("/")
    if parts.scheme.startswith("http") or not path:
        path += _PATH
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    authority = host if port in {None, usual} else f"{host}:{port}"
    return Address(
        url=f"{'wss' if secure else 'ws'}://{authority}{path}",
        host=parts.hostname,
        port=usual if port is None else port,
        authority=authority,
        path=path,
        tls=(ssl_context or ssl.create_default_context()) if secure else None,
        headers=_headers(token, headers or {}),
    )


def _headers(token: str | None, headers: Mapping[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    given = dict(headers)
    if token is not None:
        given["Authorization"] = f"Bearer {token}"
    for name, value in given.items():
        if not (name + value).isprintable() or not (name + value).isascii():  # its value may be secret
            raise ValueError(f"the header {quoted(name)} holds what HTTP cannot carry")
    return tuple((name.encode(), value.encode()) for name, value in given.items())
