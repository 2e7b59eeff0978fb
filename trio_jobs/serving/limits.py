"""How much one client, and all of them together, may ask of a server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import attrs

from .._common.validate import at_least, finite


@attrs.frozen(kw_only=True)
class Limits:
    """What a server accepts, at most. The defaults are for a server that strangers can reach.

    Attributes:
        message: Bytes in one message, or in the body of one request.
        depth: How deep lists and objects may lie in each other.
        header: Seconds for the head of a request, or for a WebSocket's handshake.
        body: Seconds for the body of a request.
        idle: Seconds without a sign of life, and for a peer to take what it is sent.
        ping: Seconds between pings; on an event stream, three quarters of it.
        connections: Requests and WebSockets at once.
        per_client: Those of one address. Behind a proxy that is everybody: raise it there.
        calls: Requests of one WebSocket that are not answered yet.
        unsent: Bytes of answers to one WebSocket that are made and not sent; what else it asks for waits.
        all_unsent: The same for all together.
        follows: Jobs that one WebSocket may follow, or wait for, at once.
        queued: Jobs of one owner that may wait in the queue.
        linger: Seconds that a follower may wait, so that one frame carries several events. The first event
            after a pause of that length never waits. It is longer where it takes long to send to all
            followers: that takes half of the time at most, and a sixth where handlers need the rest.
        kept: Bytes of events of all jobs that are kept in memory for followers that are a little behind.
    """

    message: int = attrs.field(default=256 * 1024, validator=at_least(1024))
    depth: int = attrs.field(default=32, validator=at_least(4))
    header: float = attrs.field(default=5.0, validator=finite)
    body: float = attrs.field(default=10.0, validator=finite)
    idle: float = attrs.field(default=60.0, validator=finite)
    ping: float = attrs.field(default=20.0, validator=finite)
    connections: int = attrs.field(default=1000, validator=at_least(1))
    per_client: int = attrs.field(default=50, validator=at_least(1))
    calls: int = attrs.field(default=32, validator=at_least(1))
    unsent: int = attrs.field(default=4 * 2**20, validator=at_least(2**20))
    all_unsent: int = attrs.field(default=256 * 2**20, validator=at_least(2**20))
    follows: int = attrs.field(default=100, validator=at_least(1))
    queued: int = attrs.field(default=1000, validator=at_least(1))
    linger: float = attrs.field(default=0.01, validator=finite)
    kept: int = attrs.field(default=64 * 1024 * 1024, validator=at_least(0))


DEFAULT: Final = Limits()


class Seats:
    """Counts requests or connections: those of each client, by its address, and all of them.

    Attributes:
        total: How many there are.
        by_client: How many each client has that has any.
    """

    def __init__(self) -> None:
        self.total = 0
        self.by_client: Counter[str] = Counter()

    @contextmanager
    def held(self, client: str) -> Generator[None]:
        """Count one of a client while a block runs."""
        self.total += 1
        self.by_client[client] += 1
        try:
            yield
        finally:
            self.total -= 1
            self.by_client[client] -= 1
            if not self.by_client[client]:
                del self.by_client[client]
