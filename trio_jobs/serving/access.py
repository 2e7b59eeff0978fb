"""The checks of a request's head, before anything is done for it.

A server on one's own machine can be reached by every page that its user's browser shows. So the `Host` must
be a name of this server (another site's name that resolves to it is not: DNS rebinding), and a request that
changes something, or opens a WebSocket, must not come from another site. Browsers send `Origin` and
`Sec-Fetch-Site`, which pages cannot forge. Other programs send neither, and need no such check.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final, cast

from .._common.errors import quoted
from .._wire.requests import BEARER
from .limits import Seats
from .options import ANYBODY, Caller, ServerOptions
from .problems import Refused, too_many

_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_ANY: Final = "*"
_IN_ADDRESSES: Final = frozenset("0123456789abcdef:.")
_NOT_IN_NAMES: Final = frozenset("[]:/?#@,")


def name_of(host: str) -> str:
    """Return the name in a `Host`, without its port; if the text is no `Host`, return all of it."""
    text = host.lower()
    name, _, port = text.rpartition(":")
    if port.strip("0123456789"):
        name = text
    inner = name[1:-1]
    if name == f"[{inner}]" and inner and _IN_ADDRESSES.issuperset(inner):
        return inner
    return name if name.split() == [name] and _NOT_IN_NAMES.isdisjoint(name) else text


def check_may_change(caller: Caller, instead: str = "") -> None:
    """Raise `Refused` if a caller may only read; `instead` is what it can do."""
    if caller.may == "read":
        raise Refused("forbidden", f"this caller may read, and change nothing{instead}")


class AccessControl:
    """The checks of a server.

    Args:
        options: The server's: who may come in, and how many.

    Attributes:
        origins: Other sites whose pages may use the server.
        seats: The requests and WebSockets that are open.
    """

    def __init__(self, options: ServerOptions) -> None:
        self._authenticate = options.authenticate
        self._hosts = _LOOPBACK_NAMES | {name_of(host) for host in options.hosts}
        self.origins = frozenset(origin.rstrip("/") for origin in options.origins)
        self._limits = options.limits
        self.seats = Seats()

    # ------------------------------------------------------------ the origin of a request

    def check(self, method: str, headers: Mapping[str, str], *, websocket: bool = False) -> None:
        """Raise `Refused` if a request is not meant for this server, or comes from another site."""
        host = headers.get("host", "")
        if _ANY not in self._hosts and name_of(host) not in self._hosts:
            raise Refused("misdirected", "this server does not go by that name; see hosts=")
        if method in _SAFE and not websocket:
            return
        origin = headers.get("origin")
        if origin is not None:
            if not self._is_ours(origin, host):
                raise Refused("forbidden", "pages of other sites may not do this; see origins=")
        elif headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
            raise Refused("forbidden", "pages of other sites may not do this")

    def _is_ours(self, origin: str, host: str) -> bool:
        return origin in self.origins or origin.partition("://")[2].lower() == host.lower() != ""

    # ------------------------------------------------------------ the caller

    async def caller(self, headers: Mapping[str, str]) -> Caller:
        """Return the caller that a request comes from.

        Raises:
            Refused: `authenticate` does not know the caller.
            RuntimeError: `authenticate` failed; what it raised goes to the log, not to the caller.
        """
        if self._authenticate is None:
            return ANYBODY
        try:
            found = await self._authenticate(_with_bearer(headers))
        except Exception as error:
            raise RuntimeError("authenticate failed") from error
        if not isinstance(cast("object", found), Caller | None):
            got = quoted(found)
            raise RuntimeError(f"authenticate returns a Caller or None; got {got}")  # noqa: TRY004  # not the caller's
        if found is None:
            raise Refused(
                "unauthenticated",
                "say who you are, as with 'Authorization: Bearer …'",
                {"www-authenticate": "Bearer"},
            )
        return found

    # ------------------------------------------------------------ the number of requests

    @contextmanager
    def seat(self, client: str, *, crowded: bool = False) -> Generator[None]:
        """Count one request or WebSocket of a client while the block runs.

        Args:
            client: Its address.
            crowded: Whether its connection is one too many already.

        Raises:
            Refused: The client has, or all clients have, as many as the limits allow.
        """
        if (
            crowded
            or self.seats.by_client[client] >= self._limits.per_client
            or self.seats.total >= self._limits.connections
        ):
            raise too_many()
        with self.seats.held(client):
            yield


def _with_bearer(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return headers in which `authorization` has a token that came as a subprotocol."""
    if "authorization" in headers:
        return headers
    for proposed in headers.get("sec-websocket-protocol", "").split(","):
        if proposed.strip().startswith(BEARER):
            return {**headers, "authorization": f"Bearer {proposed.strip().removeprefix(BEARER)}"}
    return headers
