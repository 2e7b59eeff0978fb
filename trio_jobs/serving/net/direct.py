"""An ASGI extension: an endpoint sends the body of a response past the layers of its application.

Each of the five layers between an endpoint and the server costs a task step for each piece. Streams that send
often, or to many, save them here. Only our own server offers the extension.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import attrs
import trio

from ..sse import chunk
from .outgoing import Outgoing

Scope: TypeAlias = Mapping[str, Any]
"""The scope of an ASGI request; not Starlette's type, as WebSockets are served without Starlette."""

EXTENSION: Final = "trio_jobs.direct"
CROWDED: Final = "trio_jobs.crowded"


@attrs.frozen
class DirectBody:
    """Sends the pieces of a body; the response is begun and ended as ASGI has it.

    Attributes:
        outgoing: The sending side of the connection.
        chunked: Whether each piece is to be a chunk of HTTP/1.1.
    """

    outgoing: Outgoing
    chunked: bool

    async def send(self, data: bytes) -> None:
        """Send a piece that is not empty to its end, even if the caller is cancelled; a checkpoint.

        Raises:
            PeerGone: The peer has left, or reads nothing.
        """
        await self.outgoing.send_whole(chunk(data) if self.chunked else data)
        await trio.lowlevel.checkpoint()


def is_crowded(scope: Scope) -> bool:
    """Return whether a request came on a connection that is one too many."""
    found: bool = scope.get("extensions", {}).get(CROWDED, False)
    return found


def direct_body(scope: Scope) -> DirectBody | None:
    """Return the direct way for the body of a response; None if the server has none."""
    found: DirectBody | None = scope.get("extensions", {}).get(EXTENSION)
    return found
