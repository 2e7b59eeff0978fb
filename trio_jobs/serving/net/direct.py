"""The body of a response past the layers of an ASGI application: for streams that send often, or to many.

Each layer between an application and its server is a task step for each piece; ours are five. So our server
offers this beside them, as an extension of ASGI. Other servers do not, and the layers are the only way there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import attrs
import trio

from ..net.outgoing import Outgoing
from ..sse import chunk

Scope: TypeAlias = Mapping[str, Any]
"""What ASGI says of a request. Starlette has a name for it, but WebSockets are served without Starlette."""

EXTENSION: Final = "trio_jobs.direct"
CROWDED: Final = "trio_jobs.crowded"


@attrs.frozen
class DirectBody:
    """Where a body goes, once its response was begun as ASGI has it; it is ended in that way, too.

    Attributes:
        outgoing: The way out; what is sent there is framed, and whole.
        chunked: Whether each piece is a chunk of HTTP/1.1.
    """

    outgoing: Outgoing
    chunked: bool

    async def send(self, data: bytes) -> None:
        """Send a piece, never an empty one, to its end, whoever is cancelled; a checkpoint.

        Raises:
            PeerGone: The peer has left, or takes nothing.
        """
        with trio.CancelScope(shield=True):  # it has a deadline of its own
            await self.outgoing.send(chunk(data) if self.chunked else data)
        await trio.lowlevel.checkpoint()


def is_crowded(scope: Scope) -> bool:
    """Return whether there is no place for the connection that a request came on."""
    found: bool = scope.get("extensions", {}).get(CROWDED, False)
    return found


def direct_body(scope: Scope) -> DirectBody | None:
    """Return the direct way for a request, where there is one."""
    found: DirectBody | None = scope.get("extensions", {}).get(EXTENSION)
    return found
