"""Who is compared: our servers and the peers, and how a client asks each of them for a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs

from benchmarks.durable.libraries import FAST, Library, install
from benchmarks.durable.programs import Program, python_of, running

from .peers.protocol import HOST, compact

UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
HERE = Library("ours", on_redis=False)
OUR_PROTOCOL = "Sec-WebSocket-Protocol: trio-jobs.v1\r\n"


@attrs.frozen
class Side:
    """A server, and one of the ways to follow a job on it.

    Attributes:
        name: How it is shown.
        module: Its program in `peers`, and what that is told.
        library: Where it is installed; the name is that of the package whose version is shown.
        path: What a client asks for; the id of its job goes into it.
        headers: What it says besides.
        websocket: Whether it is a WebSocket, or server-sent events.
        follows: Whether a client has to say over its WebSocket which job it follows.
        tls: Whether it speaks TLS, under a certificate that no client looks at.
    """

    name: str
    module: Sequence[str]
    library: Library = HERE
    path: str = "/"
    headers: str = ""
    websocket: bool = True
    follows: bool = False
    tls: bool = False

    @property
    def command(self) -> Sequence[str]:
        name, *rest = self.module
        return [python_of(self.library.environment), "-m", f"benchmarks.serving.peers.{name}", *rest]

    def request(self, job: str) -> str:
        upgrade = UPGRADE if self.websocket else "Accept: text/event-stream\r\n"
        path = self.path.format(job=job)
        return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{upgrade}{self.headers}\r\n"

    def hello(self, job: str) -> str | None:
        return compact({"op": "follow", "id": 1, "job": job}) if self.follows and job else None

    @property
    def end(self) -> str:
        """The last bytes of a stream, or nearly so."""
        return '"end":true' if self.websocket else "[DONE]"


@attrs.frozen
class Server:
    """A side whose program is running, ready for orders."""

    side: Side
    program: Program
    port: int


@contextmanager
def serving(side: Side) -> Iterator[Server]:
    """Run a side's program for the length of the block."""
    with running(side.name, side.command) as program:
        yield Server(side, program, json.loads(program.read_line("its start"))["port"])


WEBSOCKET, HTTP, EVENTS = "serve_websocket", "serve_http, WebSocket", "serve_http, SSE"
BARE, LIBRARY, STARLETTE, LOOP = "trio-websocket", "websockets", "starlette", "trio"

OURS: Final = {
    side.name: side
    for side in (
        Side(WEBSOCKET, ["ours", "websocket"], headers=OUR_PROTOCOL, follows=True),
        Side(HTTP, ["ours", "http"], path="/v1/ws", headers=OUR_PROTOCOL, follows=True),
        Side(EVENTS, ["ours", "http"], path="/v1/jobs/{job}/stream?after=0", websocket=False),
    )
}
IN_A_FILE: Final = {
    f"{name}, file": attrs.evolve(side, name=f"{name}, file", module=[*side.module, "file"])
    for name, side in OURS.items()
    if name != HTTP
}
"""The same with jobs in a file; for what followers cost only."""
PEERS: Final = {
    side.name: side
    for side in (
        Side(BARE, ["trio_websocket"], Library(BARE, on_redis=False)),
        Side(LIBRARY, ["websockets"], Library(LIBRARY, [LIBRARY, *FAST[:1]], on_redis=False)),
        Side(
            STARLETTE,
            ["starlette"],
            Library(STARLETTE, [STARLETTE, "uvicorn[standard]"], on_redis=False),
            websocket=False,
        ),
        Side(LOOP, ["bare_trio"], Library(LOOP, on_redis=False), websocket=False),
    )
}


def install_side(peer: Side, cache: Path) -> Side | str:
    """Return a peer in its environment, or why it cannot be had. What our own servers use is here already."""
    if not peer.library.requirements:
        return peer
    library = install(peer.library, cache)
    return library if isinstance(library, str) else attrs.evolve(peer, library=library)
