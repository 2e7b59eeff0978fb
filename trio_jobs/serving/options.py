"""The options of a server, and its callers."""

from __future__ import annotations

import ipaddress
import math
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, Literal, TypeAlias, TypedDict, cast

import attrs

from .._common.errors import quoted
from .._common.validate import at_least, choice
from .._model.handler import is_async
from .._model.job import Job
from .._registry.registry import JobRegistry
from ..telemetry.gauges import exposition
from .limits import DEFAULT, Limits


def _read_or_change(_: object, field: attrs.Attribute[Any], given: object) -> None:
    choice(field.name, given, ("read", "change"))


@attrs.frozen
class Caller:
    """The caller of a request.

    Attributes:
        owner: The owner of the jobs that the caller sees, and of those that it submits; None sees all jobs.
        expires: Seconds for which this holds; then a connection is closed. None: as long as it lasts.
        may: What the caller may do: "change", which is everything, or "read" only. Who reads cannot hold a
            job up either: its streams have the policy "gap".

    Raises:
        ValueError: `may` is neither of these.
    """

    owner: str | None
    expires: float | None = None
    may: Literal["read", "change"] = attrs.field(default="change", validator=_read_or_change)


ANYBODY: Final = Caller(None)

Authenticate: TypeAlias = Callable[[Mapping[str, str]], Awaitable[Caller | None]]
Exposition: TypeAlias = Callable[[JobRegistry], Awaitable[bytes]]
WrapStream: TypeAlias = Callable[[Job], AbstractContextManager[object]]
Front: TypeAlias = Callable[[Any], Iterable[Any]]
"""A protocol that clients speak: returns its Starlette routes, given the `ServerContext`."""


class AccessOptions(TypedDict, total=False):
    """The options of every server; see `ServerOptions`."""

    authenticate: Authenticate | None
    hosts: Iterable[str]
    origins: Iterable[str]
    limits: Limits
    tracebacks: bool
    wrap_stream: WrapStream | None


class AppOptions(AccessOptions, total=False):
    """The options of `http_app`; see `ServerOptions`."""

    page: bool
    access_log: bool
    metrics: Exposition
    fronts: Iterable[Front]


class MetricsOptions(TypedDict, total=False):
    """The options of `serve_metrics`; see `ServerOptions`."""

    host: str
    port: int
    metrics: Exposition
    grace: float


class WebSocketOptions(AccessOptions, total=False):
    """The options of `serve_websocket`; see `ServerOptions`. The usual port is 8001."""

    host: str
    port: int
    ssl_context: ssl.SSLContext | None
    grace: float


class HttpOptions(WebSocketOptions, AppOptions, total=False):
    """The options of `serve_http`; see `ServerOptions`."""


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server that is bound to that host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _no_text(_: object, field: attrs.Attribute[Any], given: object) -> None:
    if isinstance(given, str):
        raise TypeError(f"{field.name} takes a list, as [{given!r}]; got the text {given!r}")


def _async_function(_: object, field: attrs.Attribute[Any], given: object) -> None:
    if not is_async(given):
        raise TypeError(
            f"{field.name} takes an async function, as the exposition of Metrics; got {quoted(given)}"
        )


def _wraps(_: object, field: attrs.Attribute[Any], given: object) -> None:
    if given is not None and (is_async(given) or not callable(given)):
        raise TypeError(
            f"{field.name} takes a plain function of a Job that returns a context manager, such as one with "
            f"@contextlib.contextmanager; got {quoted(given)}"
        )


def _fronts(given: Iterable[Front]) -> tuple[Front, ...]:
    found: tuple[object, ...] = tuple(given) if isinstance(cast("object", given), Iterable) else (None,)
    if not all(callable(one) and not is_async(one) for one in found):
        raise TypeError(f"fronts takes a list of fronts, as [openai_front]; got {quoted(given)}")
    return cast("tuple[Front, ...]", found)


@attrs.frozen(kw_only=True)
class ServerOptions:
    """The options of a server, checked and complete.

    Attributes:
        host: Where to listen, by default 127.0.0.1; a host that other machines can reach needs
            `authenticate`.
        port: The port, by default 8000, or 8001 for `serve_websocket`; 0 picks a free one.
        ssl_context: For TLS; it holds the server's certificate.
        authenticate: Returns the `Caller`, from the headers of the request or the handshake, by lower-case
            names; None if it knows none. Without it, every caller may do everything.
        hosts: Names of the server besides those of this machine; `*` is any.
        origins: Sites whose pages may use it besides its own, as `https://example.org`.
        limits: How much clients may ask for, by default what `Limits` says.
        tracebacks: Whether clients see tracebacks, and stacks of jobs that run or are stuck, which are for
            programmers; by default they do not.
        wrap_stream: Returns a context manager, which is around each stream of a job's log to a client, over
            HTTP or WebSocket, from when it begins until it has ended or the client has left.
        page: Whether there is a live page at `/`, as there is by default.
        access_log: Whether each HTTP request is logged, as `trio_jobs.access` at INFO; by default it is not.
        metrics: An async function of the registry that returns what `/v1/metrics` answers, as the
            `exposition` of `Metrics` does; by default it has gauges only.
        fronts: Other protocols in which clients may use the jobs, such as `openai_front`; by default none.
        grace: Seconds that connections get to end when the server is cancelled, by default 5.

    Raises:
        TypeError: `hosts` or `origins` is a text, not a list of them, `metrics` no async function,
            `wrap_stream` no plain function, or `fronts` no list of fronts.
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
    wrap_stream: WrapStream | None = attrs.field(default=None, validator=_wraps)
    page: bool = True
    access_log: bool = False
    metrics: Exposition = attrs.field(default=exposition, validator=_async_function)
    fronts: Iterable[Front] = attrs.field(default=(), converter=_fronts)
    grace: float = attrs.field(default=5.0, validator=at_least(0, at_most=math.inf))

    @classmethod
    def of(cls, kind: type[Any], given: Mapping[str, Any], **fixed: Any) -> ServerOptions:
        """Return the options that were given as `kind`, such as `HttpOptions`, and what its server fixes.

        Raises:
            TypeError: There is no such option.
        """
        known = sorted(kind.__optional_keys__)
        for name in given:
            if name not in known:
                raise TypeError(f"there is no option {name!r}; there is {', '.join(known)}")
        return cls(**given, **fixed)

    def __attrs_post_init__(self) -> None:
        if self.authenticate is None and not is_loopback(self.host):
            raise ValueError(
                f"{self.host!r} can be reached from other machines, and anybody who does could run jobs: "
                "give authenticate=, or bind to 127.0.0.1"
            )
