"""The options of a server, and its callers."""

from __future__ import annotations

import ipaddress
import math
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

import attrs

from .._common.validate import at_least
from .limits import DEFAULT, Limits


@attrs.frozen
class Caller:
    """The caller of a request.

    Attributes:
        owner: The owner of the jobs that the caller sees, and of those that it submits; None sees all jobs.
        expires: Seconds for which this holds; then a connection is closed. None: as long as it lasts.
    """

    owner: str | None
    expires: float | None = None


ANYBODY: Final = Caller(None)

Authenticate: TypeAlias = Callable[[Mapping[str, str]], Awaitable[Caller | None]]


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server that is bound to that host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _no_text(_: object, field: attrs.Attribute[Any], given: object) -> None:
    if isinstance(given, str):
        raise TypeError(f"{field.name} takes a list, as [{given!r}]; got the text {given!r}")


@attrs.frozen(kw_only=True)
class ServerOptions:
    """The options of `serve_http` and `serve_websocket`; those of `http_app` are some of them.

    Attributes:
        host: Where to listen; a host that other machines can reach needs `authenticate`.
        port: The port; 0 picks a free one.
        ssl_context: For TLS; it holds the server's certificate.
        authenticate: Returns the `Caller`, from the headers of the request or the handshake, by lower-case
            names; None if it knows none. Without it, every caller may do everything.
        hosts: Names of the server besides those of this machine; `*` is any.
        origins: Sites whose pages may use it besides its own, as `https://example.org`.
        limits: How much clients may ask for.
        tracebacks: Whether clients see tracebacks, and stacks of stuck jobs, which are for programmers.
        page: Whether there is a live page at `/`.
        grace: Seconds that connections get to end when the server is cancelled.

    Raises:
        TypeError: `hosts` or `origins` is a text, not a list of them.
        ValueError: Other machines could use the server without authentication, or `grace` is out of range.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    ssl_context: ssl.SSLContext | None = None
    authenticate: Authenticate | None = None
    hosts: Iterable[str] = attrs.field(default=(), validator=_no_text)
    origins: Iterable[str] = attrs.field(default=(), validator=_no_text)
    limits: Limits = DEFAULT
    tracebacks: bool = False
    page: bool = True
    grace: float = attrs.field(default=5.0, validator=at_least(0, at_most=math.inf))

    def __attrs_post_init__(self) -> None:
        if self.authenticate is None and not is_loopback(self.host):
            raise ValueError(
                f"{self.host!r} can be reached from other machines, and anybody who does could run jobs: "
                "give authenticate=, or bind to 127.0.0.1"
            )
