"""A bad network between a client and a server: slow, split, cut off, or silent.

What goes wrong where is drawn from one generator, so a run can be repeated by its seed, as far as the timing
of real sockets allows it.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import attrs
import trio


@attrs.define
class Weather:
    """What may happen to a connection.

    Attributes:
        life: How many bytes a connection carries at most, both ways; it lives for a random part of them.
        piece: How many bytes are passed on at a time, at most.
        delay: Seconds that a piece may be held back, at most.
        silence: How likely a connection, at its end, falls silent instead of ending.
        refusal: How likely a connection is cut before it carries anything.
    """

    life: int | None = None
    piece: int = 65536
    delay: float = 0.0
    silence: float = 0.0
    refusal: float = 0.0


CALM = Weather()


class Proxy:
    """Passes connections on to a server; `open_proxy` makes one.

    Attributes:
        url: Where it listens, with the path of the server's URL.
        weather: What may happen to a connection from now on.
        connections: How many there have been.
    """

    def __init__(self, target: str, weather: Weather, seed: int) -> None:
        self.url = ""
        self.weather = weather
        self.connections = 0
        self.target = target
        self._random = random.Random(seed)
        self._open: set[trio.CancelScope] = set()
        self._stalled: set[trio.CancelScope] = set()

    def cut(self) -> int:
        """Cut all connections, in the middle of whatever they carry, and return how many there were."""
        for scope in self._open:
            scope.cancel()
        return len(self._open)

    def stall(self) -> None:
        """Pass nothing on any more on the open connections, and end none of them."""
        self._stalled.update(self._open)

    async def pass_on(self, client: trio.SocketStream) -> None:
        """Carry one connection, for as long as it lives."""
        self.connections += 1
        weather = self.weather
        parts = urlsplit(self.target)
        with trio.CancelScope() as scope:
            self._open.add(scope)
            try:
                if self._random.random() >= weather.refusal:
                    server = await trio.open_tcp_stream(str(parts.hostname), parts.port or 80)
                    left = [self._random.randrange(weather.life)] if weather.life else [2**62]
                    async with server, trio.open_nursery() as nursery:
                        for one, other in ((client, server), (server, client)):
                            nursery.start_soon(self._carry, one, other, weather, left, scope)
            except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # that is what it is for
            finally:
                self._open.discard(scope)
        await trio.aclose_forcefully(client)

    async def _carry(
        self,
        source: trio.SocketStream,
        sink: trio.SocketStream,
        weather: Weather,
        left: list[int],
        scope: trio.CancelScope,
    ) -> None:
        """Carry bytes one way; at the end of the connection's life, cut it within a part."""
        async for data in source:
            if scope in self._stalled:
                await trio.sleep_forever()
            at = 0
            while at < len(data):
                size = min(self._random.randint(1, weather.piece), left[0], len(data) - at)
                left[0] -= size
                if weather.delay:
                    await trio.sleep(self._random.random() * weather.delay)
                await sink.send_all(data[at : at + size])
                at += size
                if not left[0]:
                    if self._random.random() < weather.silence:
                        await trio.sleep_forever()
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
        scope.cancel()


@asynccontextmanager
async def open_proxy(
    target: str, weather: Weather = CALM, *, seed: int | None = None
) -> AsyncGenerator[Proxy]:
    """Yield a proxy for the server at a URL."""
    proxy = Proxy(target, weather, random.getrandbits(32) if seed is None else seed)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    proxy.url = target.replace(urlsplit(target).netloc, f"127.0.0.1:{port}")
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, proxy.pass_on, listeners)
        yield proxy
        nursery.cancel_scope.cancel()
